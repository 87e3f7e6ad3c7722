"""One line for people on what a bitext leaves out, and one on what in it is not translated."""

from __future__ import annotations

from kivuko.bitext.bitext import Bitext
from kivuko.wording import counted


def report_dropped(bitext: Bitext) -> str | None:
    """Say how many lines were left out and why, the commonest reason first; None where none was.

    For example ``12 of 3,400 lines left out: 9 empty side (first at f.tsv:17), 3 missing column (first at
    f.tsv:20)``. Lines are those that were read: pairs and dropped lines together.
    """
    left_out = bitext.dropped.total()
    if not left_out:
        return None
    reasons = sorted(bitext.dropped.items(), key=lambda item: (-item[1], item[0]))
    parts = [_reason(bitext, reason, count) for reason, count in reasons if count]
    return f"{left_out:,} of {counted(len(bitext) + left_out, 'line')} left out: {', '.join(parts)}"


def report_copied(bitext: Bitext) -> str | None:
    """Say how many pairs have the same text on both sides, per language; None where none has."""
    copied = bitext.copied()
    if not copied:
        return None
    parts = [f"{count:,} in {language}" for language, count in copied.most_common()]
    total = counted(len(bitext), "pair")
    return f"{copied.total():,} of {total} with the same text on both sides: {', '.join(parts)}"


def _reason(bitext: Bitext, reason: str, count: int) -> str:
    first = bitext.first_dropped.get(reason)
    return f"{count:,} {reason}" + (f" (first at {first})" if first else "")
