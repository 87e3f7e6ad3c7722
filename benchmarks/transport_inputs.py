"""The problems that the transport benchmark is run on: costs between real token vectors, and random ones."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

KINDS = {
    "centered": "cosine costs of token vectors taken relative to their mean, as the optical recipe trains with",
    "cosine": "cosine costs of raw token vectors",
    "random": "costs drawn uniformly from [0, 1]",
    "ragged": "centered cosine costs, each problem of the token counts of one sentence pair",
}
LANGUAGE = "sw"  # the other side of the sentence pairs that ragged lengths are taken from
SEED = 0
_CHUNK = 256  # problems whose token vectors are held at a time


@dataclass(frozen=True)
class Inputs:
    """A batch of problems with uniform marginals. Masks are None where all problems are of one size.

    Shapes: cost [batch, n, m]; row_marginal [batch, n], col_marginal [batch, m], 0 where masked; masks alike, bool.
    """

    cost: torch.Tensor
    row_marginal: torch.Tensor
    col_marginal: torch.Tensor
    row_mask: torch.Tensor | None = None
    col_mask: torch.Tensor | None = None

    def first(self, count: int) -> Inputs:
        """Return the first problems of the batch, as they are."""
        pieces = (self.cost, self.row_marginal, self.col_marginal, self.row_mask, self.col_mask)
        return Inputs(*(None if piece is None else piece[:count].clone() for piece in pieces))  # type: ignore[arg-type]

    @property
    def lengths(self) -> torch.Tensor:
        """Return int64 [batch, 2]: how many rows and columns of each problem hold mass."""
        return torch.stack([(self.row_marginal > 0).sum(1), (self.col_marginal > 0).sum(1)], dim=1)


@dataclass(frozen=True)
class TokenBank:
    """Real text as one stream of token vectors, and the token counts of real sentence pairs.

    ``vectors``: float32 [tokens, dim], content tokens of English sentences as all-MiniLM-L6-v2 gives them, sentence
    after sentence. ``pair_lengths``: int64 [pairs, 2], subwords of the other language's side, tokens of the English.
    """

    vectors: torch.Tensor
    pair_lengths: torch.Tensor


@functools.cache
def token_bank() -> TokenBank:
    """Encode the English side of the emoji world's training sentences (some tens of seconds, once a process)."""
    from kivuko.datasets.emoji.world import emoji_world
    from kivuko.encoders.teacher import load_teacher
    from kivuko.encoders.vocabulary import train_vocabulary

    pairs = emoji_world([LANGUAGE]).bitext([LANGUAGE], "train").pairs
    vocabulary = train_vocabulary(pair.text for pair in pairs)
    subwords = [len(vocabulary.encode(pair.text).ids) for pair in pairs]
    teacher, vectors, tokens = load_teacher(), [], []
    for start in range(0, len(pairs), 64):
        batch = teacher.encode_tokens([pair.english for pair in pairs[start : start + 64]])
        vectors.append(batch.tokens[batch.mask])
        tokens.extend(batch.mask.sum(dim=1).tolist())
    lengths = torch.tensor([pair for pair in zip(subwords, tokens, strict=True) if min(pair) > 0])
    return TokenBank(torch.cat(vectors), lengths)


def build(kind: str, batch: int, n: int, m: int, bank: TokenBank | None = None) -> Inputs:
    """Return a batch of problems; the same arguments give the same ones.

    Args:
        kind: one of ``KINDS``. The "ragged" kind takes its sizes from sentence pairs, not from ``n`` and ``m``.
        batch: how many problems.
        n: rows of each.
        m: columns of each.
        bank: where token vectors come from; None: ``token_bank()``. The "random" kind needs none.
    """
    generator = torch.Generator().manual_seed(SEED)
    if kind == "random":
        return _dense(torch.rand(batch, n, m, generator=generator))
    bank = bank or token_bank()
    vectors = bank.vectors if kind == "cosine" else bank.vectors - bank.vectors.mean(dim=0)
    vectors = torch.nn.functional.normalize(vectors, dim=-1)
    lengths = None
    if kind == "ragged":
        chosen = torch.randint(len(bank.pair_lengths), (batch,), generator=generator)
        lengths = bank.pair_lengths[chosen]
        n, m = lengths.amax(dim=0).tolist()
    cost = _text_costs(vectors, batch, n, m, generator)
    return _dense(cost) if lengths is None else _ragged(cost, lengths)


def _text_costs(vectors: torch.Tensor, batch: int, n: int, m: int, generator: torch.Generator) -> torch.Tensor:
    """Return cosine costs [batch, n, m] between n tokens of running text and the m tokens that follow them."""
    starts = torch.randint(len(vectors) - n - m, (batch,), generator=generator)
    cost = torch.empty(batch, n, m)
    for first in range(0, batch, _CHUNK):
        start = starts[first : first + _CHUNK, None]
        rows, cols = vectors[start + torch.arange(n)], vectors[start + n + torch.arange(m)]
        cost[first : first + _CHUNK] = (1 - rows @ cols.transpose(1, 2)).clamp(0, 2)
    return cost


def _dense(cost: torch.Tensor) -> Inputs:
    batch, n, m = cost.shape
    return Inputs(cost, torch.full((batch, n), 1 / n), torch.full((batch, m), 1 / m))


def _ragged(cost: torch.Tensor, lengths: torch.Tensor) -> Inputs:
    rows, cols = (torch.arange(cost.shape[dim]) < lengths[:, dim - 1, None] for dim in (1, 2))
    cost = cost.masked_fill(~(rows[:, :, None] & cols[:, None, :]), 0.0)
    return Inputs(cost, rows / lengths[:, :1], cols / lengths[:, 1:], rows, cols)
