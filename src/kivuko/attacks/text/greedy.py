"""Greedy search by queries: the model is asked about candidate edits and nothing is known of its insides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kivuko.attacks.text.goal import EncodeTexts, TextGoal
from kivuko.attacks.text.result import AttackedText, Progress, UnderWay
from kivuko.attacks.text.search import search
from kivuko.edits import Edit, EditKind, apply_edit, edit_kinds
from kivuko.errors import UsageError

_DRAWS = 2  # for each candidate wanted, so that doubles can be left out


def greedy_search(
    encode: EncodeTexts,
    texts: Sequence[str],
    languages: Sequence[str],
    goal: TextGoal,
    *,
    kinds: Sequence[str | EditKind] = ("typo",),
    edits: int = 1,
    candidates: int = 64,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[AttackedText]:
    """Attack queries with the worst of random edits, one after another.

    Args:
        encode: texts -> unit vectors; asked in large batches, equal texts once.
        texts, languages: of each query, in the goal's order.
        kinds: of edit, see ``kivuko.edits``.
        edits: budget per query, at least 0.
        candidates: edits that are tried per query and round, at least 1.

    Raises:
        UsageError: a budget below 0, no candidate, or an unknown kind.
    """
    if candidates < 1:
        raise UsageError(f"a search with {candidates} candidates: give at least 1.")
    chosen, rng = edit_kinds(kinds), np.random.default_rng(seed)

    def propose(states: Sequence[UnderWay], _rows: Sequence[int]) -> list[list[Edit]]:
        return [sampled(state.text, state.language, chosen, candidates, rng) for state in states]

    return search(encode, texts, languages, goal, propose, edits=edits, progress=progress)


def sampled(text: str, language: str, kinds: tuple[EditKind, ...], count: int, rng: np.random.Generator) -> list[Edit]:
    """Return up to ``count`` random edits of a text, no two with the same result."""
    found: dict[str, Edit] = {}
    for _ in range(_DRAWS * count):
        edit = kinds[int(rng.random() * len(kinds))].sample(text, language, rng)
        if edit is not None:
            found.setdefault(apply_edit(text, edit), edit)
            if len(found) == count:
                break
    return list(found.values())
