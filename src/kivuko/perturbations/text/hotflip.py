"""Attacks that choose by gradients: HotFlip over the vocabulary, and edits of characters where the gradient points.

Ebrahimi et al. 2018, "HotFlip: White-Box Adversarial Examples for Text Classification" (arXiv 1712.06751): to first
order, looking another subword up at a place changes the loss by the gradient there times the difference of the vectors.
Its proposals are put into the text, tokenized again, and kept only if they really harm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kivuko.perturbations import Edit, EditKind, apply_edit, edit_kinds, graphemes
from kivuko.perturbations.graphemes import offsets, stay_apart
from kivuko.perturbations.text.goal import AttackedText, AttackState, Progress, TextGoal, search
from kivuko.perturbations.text.gradient import GradientEncoder, TokenGradients
from kivuko.perturbations.text.greedy import check_candidates, draws_of, sampled

_WORD_STARTS = ("▁", "Ġ")
_ROWS = 128  # places that are scored against the whole vocabulary at once
Slot = tuple[int, int, list[int]]  # start and end, in code points; the subwords there


class Flips:
    """All subwords of a vocabulary that may take the place of others."""

    def __init__(self, encoder: GradientEncoder) -> None:
        usable = [n for n, spelling in enumerate(encoder.spellings) if spelling]
        self._vectors, self._usable = encoder.vectors, encoder.vectors[usable]
        self._spellings = [encoder.spellings[n] for n in usable]
        marked = any(piece.startswith(_WORD_STARTS) for piece in encoder.pieces)
        self._begins = [
            encoder.pieces[n].startswith(_WORD_STARTS) if marked else not encoder.pieces[n].startswith("##")
            for n in usable
        ]

    def best(self, texts: Sequence[str], tokens: Sequence[TokenGradients], count: int) -> list[list[Edit]]:
        """Return for each text the exchanges that to first order raise the loss most, at most half at one place."""
        slots = [_slots(text, own.spans) for text, own in zip(texts, tokens, strict=True)]
        slopes = [own.gradients.new_zeros(0, self._vectors.shape[1]) if not places else
                  torch.stack([own.gradients[inside].mean(0) for _, _, inside in places])
                  for places, own in zip(slots, tokens, strict=True)]  # fmt: skip
        tops = self._tops(slopes, min(2 * count, len(self._spellings)))
        return [
            self._of_text(text, places, own, top, count)
            for text, places, own, top in zip(texts, slots, tokens, tops, strict=True)
        ]

    def _tops(self, slopes: Sequence[Tensor], count: int) -> list[tuple[Tensor, Tensor]]:
        """Return the best products with the vocabulary, and the subwords, each [places, count], for every text.

        In a static encoder all places of a text have the same gradient, which is then multiplied once.
        """
        once = [own[:1] if len(own) and bool((own == own[:1]).all()) else own for own in slopes]
        rows = torch.cat([self._usable[:0], *once])
        parts = [(part @ self._usable.T).topk(count) for part in rows.split(_ROWS)] if len(rows) else []
        sizes = [len(own) for own in once]
        values = torch.cat([rows.new_zeros(0, count), *(part.values for part in parts)]).split(sizes)
        pieces = torch.cat([torch.zeros(0, count).long(), *(part.indices for part in parts)]).split(sizes)
        return [
            (value.expand(len(own), -1), piece.expand(len(own), -1))
            for value, piece, own in zip(values, pieces, slopes, strict=True)
        ]

    def _of_text(
        self, text: str, slots: Sequence[Slot], tokens: TokenGradients, top: tuple[Tensor, Tensor], count: int
    ) -> list[Edit]:
        per_slot = max(1, count // 2) if len(slots) > 1 else count
        products = (tokens.gradients * self._vectors[tokens.ids]).sum(1).tolist()  # of the present subwords
        ranked: list[tuple[float, Edit]] = []
        for slot, values, pieces in zip(slots, top[0].tolist(), top[1].tolist(), strict=True):
            lost = sum(products[n] for n in slot[2])
            edits = ((value - lost, self._edit(text, slot, piece)) for value, piece in zip(values, pieces, strict=True))
            ranked += [(gain, edit) for gain, edit in edits if edit is not None][:per_slot]
        ranked.sort(key=lambda one: -one[0])
        return [edit for _, edit in ranked[:count]]

    def _edit(self, text: str, slot: Slot, piece: int) -> Edit | None:
        """Return the exchange; None if it changes nothing, or changes a neighboring grapheme cluster.

        A subword that begins a word gets a space before it inside of another word.
        """
        start, end, _ = slot
        inside = start > 0 and not text[start - 1].isspace()
        new = " " + self._spellings[piece] if inside and self._begins[piece] else self._spellings[piece]
        before, after = graphemes(text[:start])[-1:], graphemes(text[end:])[:1]
        if new == text[start:end] or not stay_apart("".join(before), new, "".join(after)):
            return None
        return Edit("subword", start, end, new)


def _slots(text: str, spans: Sequence[tuple[int, int]]) -> list[Slot]:
    """Return the places for an exchange: each subword, widened to whole grapheme clusters, without spaces around it."""
    starts = offsets(graphemes(text))
    cluster = [n for n, (start, end) in enumerate(pairwise(starts)) for _ in range(start, end)]
    places: dict[tuple[int, int], None] = {}
    for start, end in spans:
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        if start < end:
            places[starts[cluster[start]], starts[cluster[end - 1] + 1]] = None
    return [(start, end, [n for n, (a, b) in enumerate(spans) if a < end and start < b]) for start, end in places]


def gains(tokens: TokenGradients, vectors: Tensor, readings: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Return by how much the loss would rise, float [readings], if the text were read as other subwords.

    The subwords that differ between a reading and the text's own are exchanged: the sum of the new vectors less that of
    the old, times the mean gradient of the old ones (of the two neighbors, if none is removed). For one subword against
    another this is HotFlip's estimate.
    """
    own = tokens.ids.tolist()
    if not own or not readings:
        return np.zeros(len(readings), dtype=np.float32)
    spans = [_changed(own, reading) for reading in readings]
    added = [reading[first : len(reading) - tail] for reading, (first, tail) in zip(readings, spans, strict=True)]
    gone = [own[first : len(own) - tail] for first, tail in spans]
    used, columns = np.unique([*(n for part in (*added, *gone) for n in part), own[0]], return_inverse=True)
    effects = (tokens.gradients @ vectors[used].T).numpy()  # [tokens, used]
    below = np.concatenate([np.zeros_like(effects[:1]), effects.cumsum(0)])  # so that means over places are cheap
    starts = np.array([first if old else max(0, first - 1) for (first, _), old in zip(spans, gone, strict=True)])
    ends = np.array([len(own) - tail if old else min(len(own), first + 1)
                     for (first, tail), old in zip(spans, gone, strict=True)])  # fmt: skip
    sizes = [*map(len, added), *map(len, gone)]
    which = np.repeat(np.tile(np.arange(len(readings)), 2), sizes)
    sign = np.repeat([1.0, -1.0], [sum(map(len, added)), sum(map(len, gone))])
    columns = columns[:-1]
    mean = (below[ends[which], columns] - below[starts[which], columns]) / (ends - starts)[which]
    return np.bincount(which, weights=sign * mean, minlength=len(readings)).astype(np.float32)


def _changed(own: Sequence[int], reading: Sequence[int]) -> tuple[int, int]:
    """Return how many subwords two readings share at the beginning, and after that at the end."""
    most = min(len(own), len(reading))
    first = next((n for n in range(most) if own[n] != reading[n]), most)
    tail = next((n for n in range(most - first) if own[-1 - n] != reading[-1 - n]), most - first)
    return first, tail


_POOL = 16  # character edits that are estimated for each one that the model is called for
_PER_PLACE = 2  # of these at one place: edits there are often read as the same subwords


def hotflip(
    encoder: GradientEncoder,
    texts: Sequence[str],  # of each query, in the goal's order
    languages: Sequence[str],
    goal: TextGoal,
    *,
    edits: int = 1,  # budget per query, at least 0
    candidates: int = 16,  # exchanges that are tried per query and round, at least 1
    progress: Progress | None = None,
) -> list[AttackedText]:
    """Exchange whole subwords for others of the vocabulary; one exchange is one edit of kind "subword"."""
    check_candidates(candidates)
    flips = Flips(encoder)

    def propose(states: Sequence[AttackState], rows: Sequence[int]) -> list[list[Edit]]:
        tokens = encoder.gradients([state.text for state in states], goal, rows)
        return flips.best([state.text for state in states], tokens, candidates)

    return search(encoder.encode, texts, languages, goal, propose, edits=edits, progress=progress)


def char_gradient(
    encoder: GradientEncoder,
    texts: Sequence[str],
    languages: Sequence[str],
    goal: TextGoal,
    *,
    kinds: Sequence[str | EditKind] = ("typo",),
    edits: int = 1,
    candidates: int = 8,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[AttackedText]:
    """Edit characters as ``greedy_search`` does, but try only those that the gradient points to.

    Of many random edits, each read by the tokenizer again, those are tried that to first order raise the loss most.
    Arguments and errors as ``greedy_search``.
    """
    check_candidates(candidates)
    chosen = edit_kinds(kinds)

    def propose(states: Sequence[AttackState], rows: Sequence[int]) -> list[list[Edit]]:
        tokens = encoder.gradients([state.text for state in states], goal, rows)
        proposed = []
        for state, own in zip(states, tokens, strict=True):
            drawn = sampled(state.text, state.language, chosen, _POOL * candidates, draws_of(state, seed))
            readings = encoder.tokenize([apply_edit(state.text, edit) for edit in drawn]) if drawn else []
            order = np.argsort(-gains(own, encoder.vectors, readings), kind="stable")
            proposed.append(_spread([drawn[n] for n in order.tolist()], candidates))
        return proposed

    return search(encoder.encode, texts, languages, goal, propose, edits=edits, progress=progress)


def _spread(ranked: Sequence[Edit], count: int) -> list[Edit]:
    """Return the first ``count`` edits, few at one place; the others after them where there are not enough."""
    at = Counter[int]()
    near: list[Edit] = []
    spread: list[Edit] = []
    for edit in ranked:
        at[edit.start] += 1
        (spread if at[edit.start] <= _PER_PLACE else near).append(edit)
        if len(spread) == count:
            return spread
    return [*spread, *near][:count]
