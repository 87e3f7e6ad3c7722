"""Students that are models of ``sentence-transformers``: LaBSE, multilingual E5 and their kin."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kivuko.encoders.lora import merged
from kivuko.encoders.teacher import special_ids
from kivuko.encoders.token_batch import TokenBatch
from kivuko.errors import ModelError


class SentenceStudent(nn.Module):
    """A text model of ``sentence-transformers``, pooled as it pools; projected if its width is not the teacher's.

    Args:
        modules: the library's own, in order: a Transformer, a Pooling, any number of Dense and Normalize.
        dim: the teacher's width.
        rate_factor: of the recipe's learning rate.

    Its tokens go through what the sentence vector goes through after pooling.
    """

    def __init__(self, modules: list[Any], dim: int, name: str, rate_factor: float = 0.01) -> None:
        super().__init__()
        from sentence_transformers.base.modules import Dense, Normalize

        self.rate_factor, self.name, self.dim = rate_factor, name, dim
        self.route = nn.ModuleList(modules)
        self._after = [place for place, one in enumerate(modules) if isinstance(one, Dense | Normalize)]
        width = next(int(w) for one in reversed(modules) if (w := _width(one)) is not None)
        self.projection = nn.Linear(width, dim) if width != dim else nn.Identity()

    @property
    def model(self) -> Any:
        """The encoder of ``transformers`` inside."""
        encoder: Any = self.route[0]
        return encoder.model

    @model.setter
    def model(self, value: Any) -> None:
        encoder: Any = self.route[0]
        encoder.model = value

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        encoder: Any = self.route[0]
        return encoder.tokenizer

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        place: torch.device = next(self.model.parameters()).device
        return place

    def encode_tokens(self, texts: list[str]) -> TokenBatch:
        """Encode texts; see TokenBatch for the shapes. Special tokens are not in the mask."""
        encoder: Any = self.route[0]
        features = {
            key: value.to(self.device) if isinstance(value, Tensor) else value
            for key, value in encoder.preprocess(texts).items()
        }
        ids, attended = features["input_ids"], features["attention_mask"].bool()
        for module in self.route:
            features = module(features)
        tokens = features["token_embeddings"]
        for place in self._after:
            tokens = self.route[place]({"sentence_embedding": tokens})["sentence_embedding"]
        special = torch.tensor(sorted(special_ids(self.tokenizer)), device=ids.device)
        pooled = self.projection(features["sentence_embedding"])
        return TokenBatch(self.projection(tokens), attended & ~torch.isin(ids, special), pooled)

    def forward(self, texts: list[str]) -> TokenBatch:
        """Same as ``encode_tokens``: lets training wrappers call the module."""
        return self.encode_tokens(texts)

    def tokenize(self, text: str) -> list[str]:
        """Return the subwords of a text, special tokens left out."""
        return list(self.tokenizer.tokenize(text))

    def modules_for_bundle(self) -> list[nn.Module]:
        """Return the model's own modules, Dense where there is a projection, and Normalize."""
        from sentence_transformers.base.modules import Dense, Normalize

        modules = [copy.deepcopy(one) for one in self.route]
        encoder: Any = modules[0]
        encoder.model = merged(encoder.model)
        if isinstance(self.projection, nn.Linear):
            dense = Dense(self.projection.in_features, self.dim, activation_function=nn.Identity())
            dense.linear.load_state_dict(self.projection.state_dict())
            modules.append(dense)
        return [*modules, Normalize()]


def load_sentence_student(folder: str | Path, dim: int) -> SentenceStudent:
    """Load a model of ``sentence-transformers``, by hub id or from a folder, as a student.

    Raises:
        ModelError: it encodes no text token by token, or has modules that a student cannot learn through.
        Exception: whatever the loading library raises where it does not load.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    modules = list(model)
    if not isinstance(modules[0], Transformer) or modules[0].tokenizer is None:
        raise ModelError(f"{folder}: its text goes to {type(modules[0]).__name__}; a student must be a transformer.")
    if strange := [type(one).__name__ for one in modules[1:] if not isinstance(one, Pooling | Dense | Normalize)]:
        raise ModelError(f"{folder}: has a module {strange[0]}, which Kivuko cannot train through.")
    return SentenceStudent(modules, dim, Path(folder).name)


def _width(module: Any) -> int | None:
    found = getattr(module, "get_embedding_dimension", None)
    return int(found()) if callable(found) else None
