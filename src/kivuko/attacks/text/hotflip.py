"""Attacks that choose by gradients: HotFlip over the vocabulary, and character edits where the gradient points.

Ebrahimi et al. 2018, "HotFlip: White-Box Adversarial Examples for Text Classification" (arXiv 1712.06751): to first
order, looking another subword up at a place changes the loss by the gradient there times the difference of the vectors.
What the estimate proposes is put into the text, read by the tokenizer again, and kept only if it really harms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from kivuko.attacks.text.goal import TextGoal
from kivuko.attacks.text.gradient import GradientEncoder, TokenGradients
from kivuko.attacks.text.greedy import sampled
from kivuko.attacks.text.result import AttackedText, Progress, UnderWay
from kivuko.attacks.text.search import search
from kivuko.edits import Edit, EditKind, edit_kinds
from kivuko.edits.graphemes import graphemes, offsets

_WORD_STARTS = ("▁", "Ġ", "##")
_SALIENT = 2  # subwords of a query in which characters are edited


def hotflip(
    encoder: GradientEncoder,
    texts: Sequence[str],
    languages: Sequence[str],
    goal: TextGoal,
    *,
    edits: int = 1,
    candidates: int = 16,
    progress: Progress | None = None,
) -> list[AttackedText]:
    """Exchange whole subwords for others of the vocabulary; one exchange is one edit of kind "subword".

    Args:
        texts, languages: of each query, in the goal's order.
        edits: budget per query, at least 0.
        candidates: exchanges that are tried per query and round.
    """
    spelled = _Spelling(encoder)

    def propose(states: Sequence[UnderWay], rows: Sequence[int]) -> list[list[Edit]]:
        told = encoder.gradients([state.text for state in states], goal, rows)
        return [spelled.flips(state.text, own, candidates) for state, own in zip(states, told, strict=True)]

    return search(encoder.encode, texts, languages, goal, propose, edits=edits, progress=progress)


def char_gradient(
    encoder: GradientEncoder,
    texts: Sequence[str],
    languages: Sequence[str],
    goal: TextGoal,
    *,
    kinds: Sequence[str | EditKind] = ("typo",),
    edits: int = 1,
    candidates: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[AttackedText]:
    """Edit characters in the subwords that the gradient says the query lives by. Arguments as ``greedy_search``."""
    chosen, rng = edit_kinds(kinds), np.random.default_rng(seed)

    def propose(states: Sequence[UnderWay], rows: Sequence[int]) -> list[list[Edit]]:
        told = encoder.gradients([state.text for state in states], goal, rows)
        found = []
        for state, own in zip(states, told, strict=True):
            inside = _salient(encoder, own)
            drawn = sampled(state.text, state.language, chosen, 8 * candidates, rng)
            near = [edit for edit in drawn if any(a <= edit.start <= b for a, b in inside)]
            found.append((near or drawn)[:candidates])
        return found

    return search(encoder.encode, texts, languages, goal, propose, edits=edits, progress=progress)


def _salient(encoder: GradientEncoder, told: TokenGradients) -> list[tuple[int, int]]:
    """Return the spans of the subwords without which the loss would rise most, to first order."""
    without = -(told.gradients * encoder.vectors[told.ids]).sum(1)
    return [told.spans[n] for n in without.argsort(descending=True)[:_SALIENT].tolist()]


class _Spelling:
    """Turns an exchange of subwords into an edit of the text."""

    def __init__(self, encoder: GradientEncoder) -> None:
        self._vectors, self._pieces = encoder.vectors, [_bare(piece) for piece in encoder.pieces]
        self._begins = [piece[:1] in _WORD_STARTS for piece in encoder.pieces]
        usable = [bool(own.strip()) and not piece.startswith(("[", "<")) for own, piece in
                  zip(self._pieces, encoder.pieces, strict=True)]  # fmt: skip
        self._closed = ~torch.tensor(usable)

    def flips(self, text: str, told: TokenGradients, count: int) -> list[Edit]:
        """Return the exchanges that to first order raise the loss most, float scores [tokens, subwords]."""
        if not len(told.ids):
            return []
        gain = told.gradients @ self._vectors.T - (told.gradients * self._vectors[told.ids]).sum(1, keepdim=True)
        gain[:, self._closed] = -torch.inf
        bounds = set(offsets(graphemes(text)))
        best = gain.flatten().topk(min(count * 2, gain.numel())).indices.tolist()
        found: dict[str, Edit] = {}
        for place, piece in (divmod(n, gain.shape[1]) for n in best):
            start, end = told.spans[place]
            if start not in bounds or end not in bounds:  # a subword that cuts a grapheme cluster stays
                continue
            new = self._pieces[piece]
            if (
                self._begins[piece]
                and start
                and not text[start - 1].isspace()
                and not text[start : start + 1].isspace()
            ) or text[start : start + 1].isspace():
                new = f" {new}"
            edit = Edit("subword", start, end, new)
            found.setdefault(text[:start] + new + text[end:], edit)
        found.pop(text, None)
        return list(found.values())[:count]


def _bare(piece: str) -> str:
    for mark in _WORD_STARTS:
        piece = piece.removeprefix(mark)
    return piece
