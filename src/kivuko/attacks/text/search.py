"""A search that adds edit after edit to queries: each round takes the candidate that harms most, if any harms at all.

Because a round only ever adds an edit that makes the rank worse, the attack within a smaller budget is the beginning of
the attack within a larger one, and more edits never help the search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kivuko.attacks.text.goal import EncodeTexts, TextGoal
from kivuko.attacks.text.result import AttackedText, Progress, UnderWay
from kivuko.edits import Edit, apply_edit
from kivuko.errors import UsageError

# (the queries that are still under attack, their rows) -> candidate edits of each
Candidates = Callable[[Sequence[UnderWay], Sequence[int]], list[list[Edit]]]
_AT_ONCE = 16_384  # candidate texts that are encoded together


def search(
    encode: EncodeTexts,
    texts: Sequence[str],
    languages: Sequence[str],
    goal: TextGoal,
    candidates: Candidates,
    *,
    edits: int,
    progress: Progress | None = None,
) -> list[AttackedText]:
    """Attack every query with up to ``edits`` rounds.

    Args:
        texts, languages: of each query, in the goal's order.
        candidates: proposes edits; see Candidates.

    Raises:
        UsageError: a budget below 0, or lists whose lengths differ.
    """
    if edits < 0:
        raise UsageError(f"an attack with {edits} edits: give 0 or more.")
    if not len(texts) == len(languages) == len(goal.own):
        raise UsageError(f"{len(texts)} texts, {len(languages)} languages and {len(goal.own)} pictures: give one each.")
    if not texts:
        return []
    clean = goal.standing(encode(list(texts)), np.arange(len(texts)))
    states = [
        UnderWay(text, text, language, badness, [rank], [], calls=0)
        for text, language, badness, rank in zip(
            texts, languages, clean.badness().tolist(), clean.ranks.tolist(), strict=True
        )
    ]
    for done in range(edits):
        rows = [row for row, state in enumerate(states) if not state.stuck]
        if not rows:
            break
        _round(encode, goal, states, rows, candidates([states[row] for row in rows], rows))
        if progress:
            progress(done + 1, edits)
    return [state.outcome() for state in states]


def _round(
    encode: EncodeTexts, goal: TextGoal, states: list[UnderWay], rows: list[int], proposed: list[list[Edit]]
) -> None:
    """Try every candidate and let each query take its worst."""
    tried = [
        (row, edit, apply_edit(states[row].text, edit)) for row, own in zip(rows, proposed, strict=True) for edit in own
    ]
    tried = [one for one in tried if one[2].strip()]
    best: dict[int, tuple[float, int, Edit, str]] = {}
    for start in range(0, len(tried), _AT_ONCE):
        part = tried[start : start + _AT_ONCE]
        place = {text: n for n, text in enumerate(dict.fromkeys(text for _, _, text in part))}
        vectors = encode(list(place))[[place[text] for _, _, text in part]]
        found = goal.standing(vectors, np.array([row for row, _, _ in part]))
        for (row, edit, text), badness, rank in zip(part, found.badness().tolist(), found.ranks.tolist(), strict=True):
            states[row].calls += 1
            if row not in best or badness > best[row][0]:
                best[row] = (badness, rank, edit, text)
    for row in rows:
        state = states[row]
        if row not in best or best[row][0] <= state.badness:
            state.stuck = True
            continue
        state.badness, rank, edit, state.text = best[row]
        state.ranks.append(rank)
        state.edits.append(edit)
