"""TokenBatch: what every encoder returns and everything downstream speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """The token vectors and sentence vectors of a batch of texts.

    Shapes: ``tokens`` float [batch, length, dim]; ``mask`` bool [batch, length], True where a token is content
    (padding and special tokens are False); ``pooled`` float [batch, dim], not necessarily of unit length.
    ``packed``: float [content tokens, dim], ``tokens[mask]``, from an encoder that has it at hand: a gradient along it
    need not go through the padding.
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor
    packed: Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def to(self, device: torch.device | str) -> TokenBatch:
        """Return the same batch on another device."""
        packed = None if self.packed is None else self.packed.to(device)
        return TokenBatch(self.tokens.to(device), self.mask.to(device), self.pooled.to(device), packed)

    def content(self) -> Tensor:
        """Return the content tokens end to end, float [content tokens, dim]; differentiable."""
        if self.packed is not None:
            return self.packed
        return self.tokens.flatten(0, 1)[self.mask.flatten()]


class Encoder(Protocol):
    """Anything that turns texts into a TokenBatch of width ``dim``."""

    @property
    def name(self) -> str:
        """A short name for tables and records."""
        ...

    @property
    def dim(self) -> int:
        """Width of token and sentence vectors."""
        ...

    def encode_tokens(self, texts: list[str]) -> TokenBatch:
        """Encode texts; the result has one row per text, in order."""
        ...


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Average tokens [batch, length, dim] over True positions of mask [batch, length] -> [batch, dim].

    A row without a True position gives zeros.
    """
    weights = mask.to(tokens.dtype).unsqueeze(-1)
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1.0)
