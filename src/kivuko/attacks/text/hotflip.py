"""Attacks that choose by gradients: HotFlip over the vocabulary, and edits of characters where the gradient points.

Ebrahimi et al. 2018, "HotFlip: White-Box Adversarial Examples for Text Classification" (arXiv 1712.06751): to first
order, looking another subword up at a place changes the loss by the gradient there times the difference of the vectors.
What the estimate proposes is put into the text, read by the tokenizer again, and kept only if it really harms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from kivuko.attacks.text.first_order import gains
from kivuko.attacks.text.flips import Flips
from kivuko.attacks.text.goal import TextGoal
from kivuko.attacks.text.gradient import GradientEncoder
from kivuko.attacks.text.greedy import check_candidates, draws_of, sampled
from kivuko.attacks.text.result import AttackedText, Progress, UnderWay
from kivuko.attacks.text.search import search
from kivuko.edits import Edit, EditKind, apply_edit, edit_kinds

_POOL = 16  # character edits that are estimated for each one that the model is asked about
_PER_PLACE = 2  # of these at one place: edits there are often read as the same subwords


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
        candidates: exchanges that are tried per query and round, at least 1.

    Raises:
        UsageError: a budget below 0, or no candidate.
    """
    check_candidates(candidates)
    flips = Flips(encoder)

    def propose(states: Sequence[UnderWay], rows: Sequence[int]) -> list[list[Edit]]:
        told = encoder.gradients([state.text for state in states], goal, rows)
        return flips.best([state.text for state in states], told, candidates)

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
    """Edit characters as ``greedy_search`` does, but ask the model only about those that the gradient points to.

    Of many random edits, each read by the tokenizer again, those are tried that to first order raise the loss most.
    Arguments and errors as ``greedy_search``.
    """
    check_candidates(candidates)
    chosen = edit_kinds(kinds)

    def propose(states: Sequence[UnderWay], rows: Sequence[int]) -> list[list[Edit]]:
        told = encoder.gradients([state.text for state in states], goal, rows)
        found = []
        for state, own in zip(states, told, strict=True):
            drawn = sampled(state.text, state.language, chosen, _POOL * candidates, draws_of(state, seed))
            readings = encoder.tokenize([apply_edit(state.text, edit) for edit in drawn]) if drawn else []
            order = np.argsort(-gains(own, encoder.vectors, readings), kind="stable")
            found.append(_spread([drawn[n] for n in order.tolist()], candidates))
        return found

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
