"""What an attack on a query came to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kivuko.edits import Edit, Perturbed, apply_edit

Progress = Callable[[int, int], None]  # (rounds done, rounds)


@dataclass(frozen=True, slots=True)
class AttackedText:
    """A query under attack, after each of its edits.

    Attributes:
        perturbed: the text before and after all edits.
        ranks: of the right picture, from 1, before the first edit and after each: never falling.
        margins: score of the right picture less the best other's, before the first edit and after each.
        calls_per_round: how often the model was asked about this query in each round; the clean query is not counted.
            There is one round more than edits where the last found none that harms.
    """

    perturbed: Perturbed
    ranks: tuple[int, ...]
    margins: tuple[float, ...]
    calls_per_round: tuple[int, ...]

    @property
    def rank_before(self) -> int:
        """Rank of the right picture for the clean query."""
        return self.ranks[0]

    @property
    def rank_after(self) -> int:
        """Rank after all edits."""
        return self.ranks[-1]

    @property
    def calls(self) -> int:
        """How often the model was asked about this query."""
        return sum(self.calls_per_round)

    def within(self, budget: int) -> AttackedText:
        """Return what the attack with a smaller budget comes to: this one stopped after ``budget`` edits."""
        edits = self.perturbed.edits[:budget]
        text = self.perturbed.original
        for edit in edits:
            text = apply_edit(text, edit)
        kept = len(edits) + 1
        return AttackedText(
            Perturbed(self.perturbed.original, text, edits),
            self.ranks[:kept],
            self.margins[:kept],
            self.calls_per_round[:budget],
        )


@dataclass(slots=True)
class UnderWay:
    """The state of one query in a search that adds edit after edit; ``stuck`` once a round found nothing."""

    original: str
    text: str
    language: str
    badness: float
    ranks: list[int]
    margins: list[float]
    edits: list[Edit] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)  # of each round
    stuck: bool = False

    def outcome(self) -> AttackedText:
        """Return what it has come to."""
        perturbed = Perturbed(self.original, self.text, tuple(self.edits))
        return AttackedText(perturbed, tuple(self.ranks), tuple(self.margins), tuple(self.calls))
