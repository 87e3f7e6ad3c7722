"""What an attack on a query came to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kivuko.edits import Edit, Perturbed, apply_edit

Progress = Callable[[int, int], None]  # (rounds done, rounds)


@dataclass(frozen=True, slots=True)
class AttackedText:
    """A query under attack, after each of its edits.

    Attributes:
        perturbed: the text before and after all edits.
        ranks: of the right picture, from 1, before the first edit and after each: never falling.
        calls: how often the model was asked about this query.
    """

    perturbed: Perturbed
    ranks: tuple[int, ...]
    calls: int

    @property
    def rank_before(self) -> int:
        """Rank of the right picture for the clean query."""
        return self.ranks[0]

    @property
    def rank_after(self) -> int:
        """Rank after all edits."""
        return self.ranks[-1]

    def within(self, budget: int) -> AttackedText:
        """Return the same attack stopped after ``budget`` edits."""
        edits = self.perturbed.edits[:budget]
        text = self.perturbed.original
        for edit in edits:
            text = apply_edit(text, edit)
        return AttackedText(Perturbed(self.perturbed.original, text, edits), self.ranks[: len(edits) + 1], self.calls)


@dataclass(slots=True)
class UnderWay:
    """The state of one query in a search that adds edit after edit."""

    original: str
    text: str
    language: str
    badness: float
    ranks: list[int]
    edits: list[Edit]
    calls: int = 1
    stuck: bool = False

    def outcome(self) -> AttackedText:
        """Return what it has come to."""
        return AttackedText(Perturbed(self.original, self.text, tuple(self.edits)), tuple(self.ranks), self.calls)
