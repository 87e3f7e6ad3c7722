"""A search that adds edit after edit to queries: each round takes the candidate that harms most, if any harms at all.

Because a round only ever adds an edit that makes the rank worse, the attack within a smaller budget is the beginning of
the attack within a larger one, and more edits never help the search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kivuko.attacks.text.goal import EncodeTexts, Standing, TextGoal
from kivuko.attacks.text.result import AttackedText, Progress, UnderWay
from kivuko.edits import Edit, apply_edit
from kivuko.errors import UsageError

# (the queries that are still under attack, their rows) -> candidate edits of each
Candidates = Callable[[Sequence[UnderWay], Sequence[int]], list[list[Edit]]]
Tried = list[tuple[int, Edit, str]]  # row of the query, the edit, what the query then is
_AT_ONCE = 8_192  # candidate texts that are encoded together


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
        DataError: the encoder gives numbers that are not finite, or vectors that do not fit the gallery.
    """
    if edits < 0:
        raise UsageError(f"an attack with {edits} edits: give 0 or more.")
    if not len(texts) == len(languages) == len(goal.own):
        raise UsageError(f"{len(texts)} texts, {len(languages)} languages and {len(goal.own)} pictures: give one each.")
    if not texts:
        return []
    clean = standing(encode, goal, texts, np.arange(len(texts)))
    states = [
        UnderWay(text, text, language, badness, [rank], [margin])
        for text, language, badness, rank, margin in zip(
            texts, languages, clean.badness().tolist(), clean.ranks.tolist(), clean.margins.tolist(), strict=True
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


def standing(encode: EncodeTexts, goal: TextGoal, texts: Sequence[str], rows: Sequence[int] | np.ndarray) -> Standing:
    """Return where the own pictures stand for texts of these queries; equal texts are encoded once."""
    place = {text: n for n, text in enumerate(dict.fromkeys(texts))}
    vectors = encode(list(place))
    if len(place) < len(texts):
        vectors = vectors[[place[text] for text in texts]]
    return goal.standing(vectors, np.asarray(rows, dtype=np.int64))


def _round(
    encode: EncodeTexts, goal: TextGoal, states: list[UnderWay], rows: list[int], proposed: list[list[Edit]]
) -> None:
    """Try every candidate and let each query take its worst."""
    for row in rows:
        states[row].calls.append(0)
        states[row].stuck = True  # until a candidate harms
    for tried in _portions(states, rows, proposed):
        found = standing(encode, goal, [text for _, _, text in tried], [row for row, _, _ in tried])
        badness = found.badness()
        row_of = np.array([row for row, _, _ in tried])
        order = np.lexsort((-badness, row_of))  # stable: of equals the first
        first = np.flatnonzero(np.diff(row_of[order], prepend=-1))
        asked = np.diff(first, append=len(order))
        for best, calls in zip(order[first].tolist(), asked.tolist(), strict=True):
            row, edit, text = tried[best]
            state = states[row]
            state.calls[-1] = calls
            if badness[best] > state.badness:
                state.badness, state.text, state.stuck = float(badness[best]), text, False
                state.ranks.append(int(found.ranks[best]))
                state.margins.append(float(found.margins[best]))
                state.edits.append(edit)


def _portions(states: list[UnderWay], rows: list[int], proposed: list[list[Edit]]) -> Iterator[Tried]:
    """Yield candidates in portions that hold all candidates of a query or none; one that leaves no text is skipped."""
    portion: Tried = []
    for row, own in zip(rows, proposed, strict=True):
        made = ((row, edit, apply_edit(states[row].text, edit)) for edit in own)
        portion += [one for one in made if one[2].strip()]
        if len(portion) >= _AT_ONCE:
            yield portion
            portion = []
    if portion:
        yield portion
