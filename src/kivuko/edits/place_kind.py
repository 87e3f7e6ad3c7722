"""A kind of edit that is told place by place: what may be done at the n-th grapheme cluster of a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kivuko.edits.edit import Edit
from kivuko.edits.graphemes import graphemes, offsets

Change = tuple[int, int, str]  # (first cluster, one past the last, what takes their place)
Options = Callable[[Sequence[str], int, str], Sequence[Change]]  # (clusters, place, language) -> what may be done there
_TRIES = 8  # draws of a place before all places are looked at


@dataclass(frozen=True)
class PlaceKind:
    """A named kind of edit.

    Attributes:
        name: as in ``Edit.kind``.
        description: half a sentence for a list.
        options: what may be done at a place, 0 to the number of clusters; each changes the text and leaves some.
    """

    name: str
    description: str
    options: Options

    def all(self, text: str, language: str) -> list[Edit]:
        """Return every edit of this kind, from left to right; of those with the same result the first."""
        units = graphemes(text)
        starts = offsets(units)
        found: dict[str, Edit] = {}
        for place in range(len(units) + 1):
            for first, last, new in self.options(units, place, language):
                edit = Edit(self.name, starts[first], starts[last], new)
                found.setdefault(text[: edit.start] + new + text[edit.end :], edit)
        found.pop(text, None)
        return list(found.values())

    def sample(self, text: str, language: str, rng: np.random.Generator) -> Edit | None:
        """Return an edit at a place drawn at random; None if no place allows one."""
        units = graphemes(text)
        for _ in range(_TRIES):
            place = int(rng.random() * (len(units) + 1))
            if options := self.options(units, place, language):
                first, last, new = options[int(rng.random() * len(options))]
                start = sum(map(len, units[:first]))
                return Edit(self.name, start, start + sum(map(len, units[first:last])), new)
        every = self.all(text, language)
        return every[int(rng.random() * len(every))] if every else None
