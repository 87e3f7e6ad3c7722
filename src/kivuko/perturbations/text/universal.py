"""One misspelling for all queries of a language, learned on some of them and tried on others.

The patterns, each at most one edit per query: a letter put before or after the query, the first x left out, the first x
written as y. A pattern that would tear or join grapheme clusters leaves the query as it is. The one under which the
right images do worst, by mean reciprocal rank, is taken; with a larger budget the next is added to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError, UsageError
from kivuko.perturbations import Edit, Perturbed, apply_edit, graphemes
from kivuko.perturbations.graphemes import is_letter, letters_for, offsets, stay_apart
from kivuko.perturbations.text.goal import EncodeTexts, TextGoal, rank_texts

_KIND = "universal"
_UNITS = 40  # characters that are left out or written otherwise: those that most queries hold
_SIFTED_ON = 64  # queries that all patterns are tried on; a quarter of the patterns on twice as many, and so on
_AT_ONCE = 8_192  # texts that are encoded together


@dataclass(frozen=True, slots=True)
class Pattern:
    """Put ``new`` "before" or "after" a query, or in the place of its "first" ``old``."""

    where: Literal["before", "after", "first"]
    old: str
    new: str

    def edit(self, text: str) -> Edit | None:
        """Return its edit of a text; None if there is none, or if nothing would be left."""
        if not text.strip():
            return None
        units = graphemes(text)
        place = {"before": 0, "after": len(units)}.get(self.where)
        if place is None:
            place = next((n for n, unit in enumerate(units) if unit == self.old), None)
        if place is None:
            return None
        end = place + (self.where == "first")
        left, right = units[:place], units[end:]
        if not (self.new or "".join([*left, *right]).strip()):
            return None
        if not stay_apart("".join(left[-1:]), self.new, "".join(right[:1])):
            return None
        starts = offsets(units)
        return Edit(_KIND, starts[place], starts[end], self.new)


def apply_patterns(text: str, patterns: Sequence[Pattern]) -> Perturbed:
    """Apply patterns one after another."""
    now, edits = text, []
    for pattern in patterns:
        edit = pattern.edit(now)
        if edit is not None:
            now = apply_edit(now, edit)
            edits.append(edit)
    return Perturbed(text, now, tuple(edits))


def universal_edit(
    encode: EncodeTexts,
    texts: Sequence[str],  # queries to learn on, in the goal's order
    language: str,
    goal: TextGoal,
    *,
    edits: int = 1,  # budget per query, at least 0
    seed: int = 0,  # which queries the patterns are sifted on
    progress: Callable[[int, int], None] | None = None,
) -> list[Pattern]:
    """Find the patterns that harm the queries of one language most; one pattern per edit of the budget.

    All patterns are tried on some of the queries, the worst quarter of them on twice as many, and so on up to all
    (successive halving, Karnin et al. 2013, in steps of four). A smaller budget's patterns are the first of a larger
    one's.
    """
    if edits < 0:
        raise UsageError(f"an attack with {edits} edits: give 0 or more.")
    if not texts:
        raise DataError("no query to learn a universal edit on: give at least one.")
    if len(texts) != len(goal.own):
        raise UsageError(f"{len(texts)} texts and {len(goal.own)} images: give one each.")
    order = np.random.default_rng(seed).permutation(len(texts))
    now, chosen = list(texts), list[Pattern]()
    for done in range(edits):
        pool, tried_on = _patterns(now, language), _SIFTED_ON
        while tried_on < len(texts):
            means = _mean_reciprocal_ranks(encode, now, goal, pool, order[:tried_on])[1:]
            pool = [pool[n] for n in np.argsort(means, kind="stable")[: -(-len(pool) // 4)].tolist()]
            tried_on *= 2
        means = _mean_reciprocal_ranks(encode, now, goal, pool, order)
        worst = int(means.argmin())
        if worst == 0:  # no pattern harms
            break
        chosen.append(pool[worst - 1])
        now = [apply_patterns(text, chosen[-1:]).text for text in now]
        if progress:
            progress(done + 1, edits)
    return chosen


def _patterns(texts: Sequence[str], language: str) -> list[Pattern]:
    """Return all patterns over the letters that most texts hold and those of the alphabet."""
    held = Counter(unit for text in texts for unit in set(graphemes(text)) if is_letter(unit))
    used = [unit for unit, _ in sorted(held.items(), key=lambda one: (-one[1], one[0]))][:_UNITS]
    alphabet = sorted({letter for unit in used for letter in letters_for(unit, language)})
    put = [Pattern(where, "", letter) for where in ("before", "after") for letter in alphabet]
    dropped = [Pattern("first", unit, "") for unit in used]
    written = [Pattern("first", unit, letter) for unit in used for letter in alphabet if letter != unit.lower()]
    return [*put, *dropped, *written]


def _mean_reciprocal_ranks(
    encode: EncodeTexts, texts: Sequence[str], goal: TextGoal, pool: Sequence[Pattern], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean reciprocal ranks, float [1 + patterns], of the texts as they are and under each pattern.

    Only texts that a pattern changes are encoded again.
    """
    before = 1 / rank_texts(encode, goal, [texts[row] for row in rows], rows).ranks
    lost = np.zeros(1 + len(pool))
    portion: list[tuple[int, int, str]] = []  # number of the pattern, from 1; place in rows; text

    def settle() -> None:
        places = np.array([place for _, place, _ in portion])
        ranks = rank_texts(encode, goal, [text for _, _, text in portion], rows[places]).ranks
        np.add.at(lost, [number for number, _, _ in portion], before[places] - 1 / ranks)
        portion.clear()

    for number, pattern in enumerate(pool, 1):
        for place, row in enumerate(rows.tolist()):
            edit = pattern.edit(texts[row])
            if edit is not None:
                portion.append((number, place, apply_edit(texts[row], edit)))
        if len(portion) >= _AT_ONCE:
            settle()
    if portion:
        settle()
    means: NDArray[np.float64] = before.mean() - lost / len(rows)
    return means
