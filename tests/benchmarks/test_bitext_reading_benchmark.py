"""The benchmark of reading: what it writes is read whole, and its page says what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.bitext import FORMATS, read_once, report, write_bitext

from kivuko.bitext.reading import open_source


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_written_is_read(tmp_path: Path, kind: str) -> None:
    spec = write_bitext(tmp_path / "small", kind, 30)
    assert read_once(spec)["pairs"] == 30
    first = next(iter(open_source(spec, "sw")))
    assert first.english is not None
    assert first.english.endswith(" & 0.")


def test_the_page_names_what_misses_the_aim() -> None:
    def row(kind: str, seconds: float) -> dict[str, Any]:
        measured = {"pairs": 300_000, "wall": seconds, "cpu": seconds / 2, "peak_mib": 40.0}
        return {"format": kind, "rounds": [measured, measured | {"wall": 9.0}], "grown": measured, "others": 0.25}

    results = {"machine": {"processor": "P"}, "date": "2026-01-01", "pairs": 300_000, "growth": 10}
    met = report(results | {"rows": [row("tsv", 0.5), row("tmx", 5.0)]})
    assert "| tsv | 600,000 | 1,200,000 | 40 | 40 | 25% |" in met
    assert "3,000,000 pairs" in met
    assert "is **met**" in met
    assert "is **not met by tsv**" in report(results | {"rows": [row("tsv", 2.0)]})
