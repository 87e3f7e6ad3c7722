"""TokenBatch, the result of every encoder: token vectors, their mask, and sentence vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class TokenBatch:
    """The token vectors and sentence vectors of a batch of texts.

    Shapes: ``tokens`` float [batch, length, dim]; ``mask`` bool [batch, length], True where a token is content
    (padding and special tokens are False); ``pooled`` float [batch, dim], not necessarily of unit length.
    ``packed``: float [content tokens, dim], ``tokens[mask]``, from an encoder that computes it anyway; ``tokens`` is
    then laid out on first use, since most of a batch of texts of different lengths is padding. ``texts``: what was
    encoded, where it is known, for objectives that must see which rows are of the same text.
    """

    __slots__ = ("_tokens", "mask", "packed", "pooled", "texts")

    def __init__(self, tokens: Tensor | None, mask: Tensor, pooled: Tensor, packed: Tensor | None = None) -> None:
        if tokens is None and packed is None:
            raise ValueError("give tokens, packed tokens, or both")
        self._tokens, self.mask, self.pooled, self.packed = tokens, mask, pooled, packed
        self.texts: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def tokens(self) -> Tensor:
        """Token vectors, float [batch, length, dim]; zeros where the mask is False if laid out from packed ones."""
        if self._tokens is None:
            self._tokens = _Unpacked.apply(self.packed, self.mask)  # type: ignore[no-untyped-call]
        tokens: Tensor = self._tokens
        return tokens

    def to(self, device: torch.device | str) -> TokenBatch:
        """Return the same batch on another device."""
        tokens, packed = (None if one is None else one.to(device) for one in (self._tokens, self.packed))
        moved = TokenBatch(tokens, self.mask.to(device), self.pooled.to(device), packed)
        moved.texts = self.texts
        return moved

    def content(self) -> Tensor:
        """Return the content tokens end to end, float [content tokens, dim]; differentiable."""
        if self.packed is not None:
            return self.packed
        return self.tokens.flatten(0, 1)[self.mask.flatten()]


class _Unpacked(torch.autograd.Function):
    """Lay content tokens [content tokens, dim] out as [batch, length, dim], zeros where the mask is False."""

    @staticmethod
    def forward(ctx: Any, packed: Tensor, mask: Tensor) -> Tensor:
        places = mask.flatten().nonzero()[:, 0]
        ctx.save_for_backward(places)
        padded = packed.new_zeros(mask.numel(), packed.shape[1])
        padded[places] = packed
        return padded.view(*mask.shape, packed.shape[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return gradient.flatten(0, 1).index_select(0, places), None


class Encoder(Protocol):
    """Protocol of an encoder of texts into a TokenBatch of width ``dim``, one row per text."""

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def encode_tokens(self, texts: list[str]) -> TokenBatch: ...


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Average tokens [batch, length, dim] over True positions of mask [batch, length]; zeros where there is none."""
    weights = mask.to(tokens.dtype).unsqueeze(-1)
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1.0)
