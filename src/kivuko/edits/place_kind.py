"""A kind of edit that is told place by place: what may be done at the n-th grapheme cluster of a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kivuko.edits.edit import Edit, net_change
from kivuko.edits.graphemes import graphemes, offsets, stay_apart

Change = tuple[int, int, str]  # (first cluster, one past the last, what takes their place)
Options = Callable[[Sequence[str], int, str], Sequence[Change]]  # (clusters, place, language) -> what may be done there
_TRIES = 8  # draws of a place before all places are looked at


@dataclass(frozen=True)
class PlaceKind:
    """A named kind of edit.

    Attributes:
        name: as in ``Edit.kind``.
        description: half a sentence for a list.
        options: what may be done at a place, 0 to the number of clusters; each changes the text and leaves some. A
            change after which a cluster beside it would be another one (a letter left out between a virama and a
            consonant joins them) is passed over.
    """

    name: str
    description: str
    options: Options

    def all(self, text: str, language: str) -> list[Edit]:
        """Return every edit of this kind, from left to right; of those with the same result the first."""
        units = graphemes(text)
        starts = offsets(units)
        found: dict[tuple[int, int, str], Edit] = {}
        for place in range(len(units) + 1):
            for change in self.options(units, place, language):
                if not _keeps_neighbours(units, change):
                    continue
                first, last, new = change
                edit = Edit(self.name, starts[first], starts[last], new)
                found.setdefault(net_change(text, edit), edit)
        found.pop((len(text), len(text), ""), None)  # no change
        return list(found.values())

    def sample(self, text: str, language: str, rng: np.random.Generator) -> Edit | None:
        """Return an edit at a place drawn at random, its result that of one of ``all``; None if no place allows one."""
        units = graphemes(text)
        for _ in range(_TRIES):
            place = int(rng.random() * (len(units) + 1))
            if options := self.options(units, place, language):
                first, last, new = change = options[int(rng.random() * len(options))]
                if not _keeps_neighbours(units, change):
                    continue
                start = sum(map(len, units[:first]))
                return Edit(self.name, start, start + sum(map(len, units[first:last])), new)
        every = self.all(text, language)
        return every[int(rng.random() * len(every))] if every else None


def _keeps_neighbours(units: Sequence[str], change: Change) -> bool:
    first, last, new = change
    before = units[first - 1] if first else ""
    if not before and last == len(units):
        return True
    return stay_apart(before, new, units[last] if last < len(units) else "")
