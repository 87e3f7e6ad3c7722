"""Greedy search by queries: the model scores candidate edits; its gradients are not used.

Candidates are drawn at random over the whole query. Drawing half of them near the places where the other half harmed
most (or where a deletion harms most) was tried and harmed no more for the same number of calls.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from kivuko.errors import UsageError
from kivuko.perturbations import Edit, EditKind, all_edits, apply_edit, edit_kinds
from kivuko.perturbations.text.goal import AttackedText, AttackState, EncodeTexts, Progress, TextGoal, search

_DRAWS = 2  # for each candidate wanted, so that doubles can be left out
_ENOUGH = 0.8  # of the candidates wanted; with fewer, doubles are so many that all edits are listed and drawn from


def greedy_search(
    encode: EncodeTexts,  # texts -> unit vectors; called with large batches, equal texts once
    texts: Sequence[str],  # of each query, in the goal's order
    languages: Sequence[str],
    goal: TextGoal,
    *,
    kinds: Sequence[str | EditKind] = ("typo",),  # of edit, see ``kivuko.perturbations``
    edits: int = 1,  # budget per query, at least 0. ``AttackedText.within`` gives the results for every smaller one.
    candidates: int = 64,  # edits that are tried per query and round, at least 1; all there are if fewer
    seed: int = 0,
    progress: Progress | None = None,
) -> list[AttackedText]:
    """Attack queries with the worst of random edits, one after another; a query's result does not depend on others."""
    check_candidates(candidates)
    chosen = edit_kinds(kinds)

    def propose(states: Sequence[AttackState], _rows: Sequence[int]) -> list[list[Edit]]:
        return [sampled(state.text, state.language, chosen, candidates, draws_of(state, seed)) for state in states]

    return search(encode, texts, languages, goal, propose, edits=edits, progress=progress)


def check_candidates(candidates: int) -> None:
    """Raise UsageError if a search would try nothing."""
    if candidates < 1:
        raise UsageError(f"a search with {candidates} candidates: give at least 1.")


def draws_of(state: AttackState, seed: int) -> np.random.Generator:
    """Return the generator of a query's round: it does not depend on the other queries."""
    return np.random.default_rng([seed, zlib.crc32(state.original.encode()), len(state.edits)])


def sampled(text: str, language: str, kinds: Sequence[EditKind], count: int, rng: np.random.Generator) -> list[Edit]:
    """Return about ``count`` random edits of a text, no two with the same result; all there are if they are fewer."""
    sample: dict[str, Edit] = {}
    open_kinds = list(kinds)
    for _ in range(_DRAWS * count):
        if not open_kinds:
            return []
        kind = open_kinds[int(rng.random() * len(open_kinds))]
        edit = kind.sample(text, language, rng)
        if edit is None:
            open_kinds.remove(kind)
            continue
        sample.setdefault(apply_edit(text, edit), edit)
        if len(sample) == count:
            return list(sample.values())
    if len(sample) > _ENOUGH * count:
        return list(sample.values())
    rest = {apply_edit(text, edit): edit for edit in all_edits(text, language, kinds)}
    left = [edit for result, edit in rest.items() if result not in sample]
    more = rng.permutation(len(left))[: count - len(sample)].tolist()
    return [*sample.values(), *(left[n] for n in more)]
