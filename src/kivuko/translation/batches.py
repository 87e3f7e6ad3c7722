"""Batches of subword numbers for training a translation model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kivuko.bitext import Pair
from kivuko.translation.marian import language_tag

NO_LABEL = -100  # what torch's cross-entropy leaves out by default
_POOL = 2048  # pairs that are sorted by length together: enough to save most padding, few enough to mix well


@dataclass(frozen=True)
class Numbered:
    """Pairs as subword numbers: ``source`` and ``target``, each sequence with the end token.

    ``pad`` and ``unknown`` are the numbers of those tokens; ``tagged`` tells whether sources begin with a language tag.
    """

    source: list[list[int]]
    target: list[list[int]]
    pad: int
    unknown: int
    tagged: bool

    def __len__(self) -> int:
        return len(self.source)

    @property
    def tokens(self) -> int:
        """Subwords of both sides together."""
        return sum(map(len, self.source)) + sum(map(len, self.target))

    def no_longer_than(self, subwords: int) -> Numbered:
        """Return the pairs with at most so many subwords on either side; all of them if none is so short."""
        both = zip(self.source, self.target, strict=True)
        kept = [(source, target) for source, target in both if max(len(source), len(target)) <= subwords]
        if not kept:
            return self
        return replace(self, source=[source for source, _ in kept], target=[target for _, target in kept])


@dataclass(frozen=True)
class Batch:
    """int64 ``source`` [batch, n], bool ``attended`` [batch, n], int64 ``given`` and ``wanted`` [batch, m].

    ``given`` is ``wanted`` moved one to the right, with the padding token as the first, as Marian has it. ``wanted``
    holds ``NO_LABEL`` after the end of a sentence.
    """

    source: Tensor
    attended: Tensor
    given: Tensor
    wanted: Tensor


def number_pairs(pairs: Sequence[Pair], tokenizer: Any, tagged: bool, max_length: int) -> Numbered:
    """Turn pairs into subword numbers; longer sides are cut to ``max_length`` with their end token kept."""
    sources = [tagged_text(pair.text, pair.language if tagged else None) for pair in pairs]
    options = {"truncation": True, "max_length": max_length}
    return Numbered(
        tokenizer(sources, **options)["input_ids"],
        tokenizer([pair.english for pair in pairs], **options)["input_ids"],
        tokenizer.pad_token_id,
        tokenizer.unk_token_id,
        tagged,
    )


def tagged_text(text: str, language: str | None) -> str:
    """Put the language's tag in front of a text; None: the text as it is."""
    return text if language is None else f"{language_tag(language)} {text}"


def to_batch(pairs: Numbered, rows: Sequence[int], word_dropout: float = 0.0) -> Batch:
    """Pad the chosen pairs; ``word_dropout`` of the source subwords (never the tag or the end) become unknown."""
    source = _padded([pairs.source[row] for row in rows], pairs.pad)
    wanted = _padded([pairs.target[row] for row in rows], NO_LABEL)
    attended = source != pairs.pad
    given = torch.full_like(wanted, pairs.pad)
    given[:, 1:] = torch.where(wanted[:, :-1] == NO_LABEL, pairs.pad, wanted[:, :-1])
    if word_dropout > 0:
        hidden = (torch.rand(source.shape) < word_dropout) & attended
        hidden &= torch.cat([attended[:, 1:], torch.zeros(len(rows), 1, dtype=torch.bool)], 1)  # not the end
        hidden[:, : int(pairs.tagged)] = False
        source = torch.where(hidden, pairs.unknown, source)
    return Batch(source, attended, given, wanted)


def batches(pairs: Numbered, tokens: int, steps: int, seed: int) -> Iterator[tuple[int, list[int]]]:
    """Yield (step, rows) for steps 1 to ``steps``: shuffled epochs, each pair once an epoch, like lengths together.

    A batch has as many pairs as fit into ``tokens`` with their padding, at least one. An epoch's batches are a function
    of the seed and the epoch alone.
    """
    step, epoch = 0, 0
    while True:
        generator = torch.Generator().manual_seed(mixed(seed, -1 - epoch))
        order: list[int] = torch.randperm(len(pairs), generator=generator).tolist()
        pools = [order[start : start + _POOL] for start in range(0, len(order), _POOL)]
        cut = [rows for pool in pools for rows in cut_by_length(pairs, pool, tokens)]
        for place in torch.randperm(len(cut), generator=generator).tolist():
            step += 1
            yield step, cut[place]
            if step == steps:
                return
        epoch += 1


def cut_by_length(pairs: Numbered, rows: Iterable[int], tokens: int) -> list[list[int]]:
    """Sort rows by length and cut them into batches."""
    found: list[list[int]] = []
    longest = 0
    for row in sorted(rows, key=lambda row: (len(pairs.target[row]), len(pairs.source[row]))):
        longest = max(longest, len(pairs.source[row]))
        if not found or (len(found[-1]) + 1) * (longest + len(pairs.target[row])) > tokens:
            found.append([])
            longest = len(pairs.source[row])
        found[-1].append(row)
    return found


def mixed(seed: int, number: int) -> int:
    """Return a generator's seed out of the run's seed and a number, the same in every process."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=7).digest(), "big")


def _padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    padded = torch.full((len(rows), max(map(len, rows))), filler, dtype=torch.long)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = torch.tensor(row, dtype=torch.long)
    return padded
