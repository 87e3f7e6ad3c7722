"""Low-rank adapters: a pretrained encoder learns a small matrix beside each of its linear layers, and nothing else.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685), by the library ``peft``.
"""

from __future__ import annotations

import copy
from typing import Any

from kivuko.errors import MissingDependencyError


def add_lora(model: Any, rank: int, *, train_embeddings: bool = False) -> Any:
    """Return a ``transformers`` encoder with adapters of ``rank`` on all its linear layers, its own weights frozen.

    The adapters change nothing before the first step. Their scale is 1 whatever the rank.

    Args:
        train_embeddings: whether the input vectors learn too, as they must where words were added to the vocabulary.

    Raises:
        MissingDependencyError: ``peft`` is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as problem:
        raise MissingDependencyError("lora_rank needs peft. Run: pip install 'kivuko[lora]'") from problem
    adapted = get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear", bias="none"))
    if train_embeddings:
        adapted.get_input_embeddings().weight.requires_grad_(True)
    return adapted


def merged(model: Any) -> Any:
    """Return a copy of an encoder with its adapters added to its weights; an encoder without any as it is."""
    return copy.deepcopy(model).merge_and_unload() if hasattr(model, "merge_and_unload") else model
