"""Looking figures up in records, and writing them the way a reader expects."""

from __future__ import annotations

from collections.abc import Iterable

from kivuko.evaluation import Record

Key = tuple[str, str, str, str]  # objective, language, subset, measure


def index_records(records: Iterable[Record]) -> dict[Key, Record]:
    """Return the clean (unattacked) records by (objective, language, subset, measure); later ones win."""
    return {(r.objective, r.language, r.subset, r.measure): r for r in records if r.attack is None}


def with_interval(record: Record | None) -> str:
    """Write ``0.412 [0.380, 0.447]``; a dash where there is no record."""
    return "–" if record is None else f"{record.value:.3f} [{record.low:.3f}, {record.high:.3f}]"


def plain(record: Record | None) -> str:
    """Write ``0.412``; a dash where there is no record."""
    return "–" if record is None else f"{record.value:.3f}"
