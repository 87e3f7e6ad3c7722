"""How a pretrained student learns: the table ``[fine_tuning]`` of a recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from kivuko.distill.kinds import is_number
from kivuko.encoders.lora import add_lora
from kivuko.errors import ModelError

_LAYER = re.compile(r"\.(?:layer|layers|block|blocks|h)\.(\d+)\.")
_EMBEDDING = re.compile(r"embed|wte|shared")


@dataclass(frozen=True)
class FineTuning:
    """Settings for students that are pretrained transformers; students of other kinds have no use for them.

    Attributes:
        lora_rank: of low-rank adapters, which then are all that learns, with the projection to the teacher's width and,
            where words were added to the vocabulary, the input vectors; 0: all weights learn.
        layer_decay: above 0, at most 1: each layer's learning rate is this times that of the layer above it, the input
            vectors' that of the lowest layer once more (Howard and Ruder 2018, arXiv 1801.06146, section 3.2).
        gradient_checkpointing: whether activations are computed again on the way back: less memory, more time.
    """

    lora_rank: int = 0
    layer_decay: float = 1.0
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        if not is_number(self.lora_rank, whole=True) or self.lora_rank < 0:
            raise ValueError("[fine_tuning] lora_rank must be a whole number of at least 0")
        if not is_number(self.layer_decay) or not 0 < self.layer_decay <= 1:
            raise ValueError("[fine_tuning] layer_decay must be above 0 and at most 1")
        if not isinstance(self.gradient_checkpointing, bool):
            raise ValueError("[fine_tuning] gradient_checkpointing must be true or false")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> FineTuning:
        """Read the table of a recipe; ValueError for a value that an entry cannot have."""
        return cls(**table)

    def prepare(self, student: Any, *, new_words: bool) -> None:
        """Give a student its adapters and let it save memory, in place.

        Args:
            student: with a ``model`` of ``transformers``.
            new_words: whether words were added to its vocabulary.

        Raises:
            MissingDependencyError: adapters are asked for, and ``peft`` is not installed.
            ModelError: the model cannot recompute its activations.
        """
        if self.lora_rank:
            student.model = add_lora(student.model, self.lora_rank, train_embeddings=new_words)
        if self.gradient_checkpointing:
            try:
                student.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            except ValueError as problem:
                raise ModelError(f"{student.name}: cannot recompute its activations; set "
                                 "gradient_checkpointing = false.") from problem  # fmt: skip

    def groups(self, student: nn.Module) -> list[dict[str, Any]]:
        """Return the optimizer's groups of what learns: ``params``, and ``factor`` of the student's learning rate."""
        learning = [(name, one) for name, one in student.named_parameters() if one.requires_grad]
        if self.layer_decay == 1:
            return [{"params": [one for _, one in learning], "factor": 1.0}]
        layers = 1 + max((int(found[1]) for name, _ in learning if (found := _LAYER.search(name))), default=-1)
        depths: dict[int, list[nn.Parameter]] = {}
        for name, one in learning:
            depths.setdefault(_depth(name, layers), []).append(one)
        return [{"params": depths[d], "factor": self.layer_decay**d} for d in sorted(depths)]


def _depth(name: str, layers: int) -> int:
    """Return how many layers lie above a parameter: 0 for what comes after the last one."""
    if found := _LAYER.search(name):
        return layers - 1 - int(found[1])
    return layers if _EMBEDDING.search(name) else 0
