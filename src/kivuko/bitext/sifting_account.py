"""What became of the pairs of a source that was cleaned: counts by reason, places, examples, figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from kivuko.bitext.statistics import Gathering, Statistics
from kivuko.wording import counted

EXAMPLES = 3  # that are kept of each reason


class Example(NamedTuple):
    """A pair that was left out: where it stands, and its sides, cleaned."""

    place: str
    text: str
    english: str


@dataclass
class Account:
    """The account of a cleaning, up to date after every batch of pairs.

    Attributes:
        source: the name of what was read.
        language: BCP 47 code of the side that is not English.
        seen: lines, rows or units read so far.
        kept: pairs kept so far.
        dropped: reason -> how many were left out for it.
        first: reason -> the first of them, as ``path:number``.
        examples: reason -> the first ``EXAMPLES`` of them that had two sides.
        asked: sentences whose language the library was asked for.
        swapped: pairs whose sides were each in the other's language.
        notes: what was not looked at, and why; what may be less exact than promised.
    """

    source: str
    language: str
    gathering: Gathering = field(repr=False)
    seen: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    asked: int = 0
    swapped: int = 0
    notes: list[str] = field(default_factory=list)

    def statistics(self) -> Statistics:
        """Return figures about the pairs kept so far."""
        return self.gathering.statistics()

    def share(self, *reasons: str) -> float:
        """Return the share, 0 to 1, of all that was read that was left out for these reasons."""
        return sum(self.dropped[reason] for reason in reasons) / self.seen if self.seen else 0.0

    def drop(self, reason: str, place: str, text: str | None = None, english: str | None = None) -> None:
        """Count one that is left out."""
        self.dropped[reason] += 1
        self.first.setdefault(reason, place)
        if text and english:
            examples = self.examples.setdefault(reason, [])
            if len(examples) < EXAMPLES:
                examples.append(Example(place, text, english))

    def by_reason(self) -> list[tuple[str, int, str]]:
        """Return reason, count and first place of what was left out, the commonest reason first."""
        return [
            (reason, count, self.first.get(reason, ""))
            for reason, count in sorted(self.dropped.items(), key=lambda item: (-item[1], item[0]))
        ]


def report_account(account: Account) -> str:
    """Say in one line what was kept, and what was left out and why.

    For example ``sw.tsv: 3,388 of 3,400 pairs kept; left out: 9 duplicate (first at sw.tsv:17), ...``.
    """
    line = f"{account.source}: {account.kept:,} of {counted(account.seen, 'pair')} kept"
    parts = [f"{count:,} {reason} (first at {first})" for reason, count, first in account.by_reason()]
    return f"{line}; left out: {', '.join(parts)}" if parts else line
