"""One misspelling for all queries of a language, found on some of them and tried on others.

The patterns, each at most one edit per query: a letter put before or after the query, the first x left out, the first x
written as y. All of them are tried (some 700 in a Latin alphabet) and the one under which the right pictures do worst,
by mean reciprocal rank, is taken; with a larger budget the next is found on top of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kivuko.attacks.text.goal import EncodeTexts, TextGoal
from kivuko.edits import Edit, Perturbed, apply_edit, graphemes
from kivuko.edits.graphemes import is_letter, offsets
from kivuko.edits.letters import letters_for
from kivuko.errors import DataError

_KIND = "universal"
_AT_ONCE = 32  # patterns that are tried together


@dataclass(frozen=True, slots=True)
class Pattern:
    """Put ``new`` "before" or "after" a query, or in the place of its "first" ``old``."""

    where: Literal["before", "after", "first"]
    old: str
    new: str

    def edit(self, text: str) -> Edit | None:
        """Return what it does to a text; None if nothing, or if nothing would be left."""
        if not text.strip():
            return None
        if self.where == "before":
            return Edit(_KIND, 0, 0, self.new)
        if self.where == "after":
            return Edit(_KIND, len(text), len(text), self.new)
        units = graphemes(text)
        place = next((n for n, unit in enumerate(units) if unit == self.old), None)
        if place is None or (not self.new and sum(1 for unit in units if unit.strip()) == 1):
            return None
        starts = offsets(units)
        return Edit(_KIND, starts[place], starts[place + 1], self.new)


def apply_patterns(text: str, patterns: Sequence[Pattern]) -> Perturbed:
    """Apply patterns one after another."""
    now, made = text, []
    for pattern in patterns:
        edit = pattern.edit(now)
        if edit is not None:
            now = apply_edit(now, edit)
            made.append(edit)
    return Perturbed(text, now, tuple(made))


def universal_edit(
    encode: EncodeTexts,
    texts: Sequence[str],
    language: str,
    goal: TextGoal,
    *,
    edits: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Pattern]:
    """Find the patterns that harm the queries of one language most; one pattern per edit of the budget.

    Args:
        texts: queries to find them on, in the goal's order.

    Raises:
        DataError: no query to find them on.
    """
    if not texts:
        raise DataError("no query to find a universal edit on: give at least one.")
    now, found = list(texts), list[Pattern]()
    for done in range(edits):
        pool = _patterns(now, language)
        worst = _worst(encode, now, goal, pool)
        if worst is None:
            break
        found.append(worst)
        now = [apply_patterns(text, [worst]).text for text in now]
        if progress:
            progress(done + 1, edits)
    return found


def _patterns(texts: Sequence[str], language: str) -> list[Pattern]:
    """Return all patterns over the letters that occur in the texts and those of the alphabet."""
    used = sorted({unit for text in texts for unit in graphemes(text) if is_letter(unit)})
    alphabet = sorted({letter for unit in used for letter in letters_for(unit, language)})
    put = [Pattern(where, "", letter) for where in ("before", "after") for letter in alphabet]
    dropped = [Pattern("first", unit, "") for unit in used]
    written = [
        Pattern("first", unit, letter) for unit in used if unit in alphabet for letter in alphabet if letter != unit
    ]
    return [*put, *dropped, *written]


def _worst(encode: EncodeTexts, texts: Sequence[str], goal: TextGoal, pool: Sequence[Pattern]) -> Pattern | None:
    """Return the pattern under which the mean reciprocal rank is lowest; None if none lowers it."""
    rows = np.arange(len(texts))
    lowest, best = float((1 / goal.standing(encode(list(texts)), rows).ranks).mean()), None
    for start in range(0, len(pool), _AT_ONCE):
        part = pool[start : start + _AT_ONCE]
        tried = [apply_patterns(text, [pattern]).text for pattern in part for text in texts]
        place = {text: n for n, text in enumerate(dict.fromkeys(tried))}
        vectors = encode(list(place))[[place[text] for text in tried]]
        ranks = goal.standing(vectors, np.tile(rows, len(part))).ranks.reshape(len(part), -1)
        means = (1 / ranks).mean(1)
        if means.min() < lowest:
            lowest, best = float(means.min()), part[int(means.argmin())]
    return best
