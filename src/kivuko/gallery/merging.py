"""Many small files of vectors become few larger ones; nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kivuko.gallery.segments import Segment, write_segment
from kivuko.gallery.writer import GalleryWriter

MOST_SMALL = 64
ROWS = 16_384  # of a merged segment: what is held in memory at once
_SMALL = ROWS // 2


def merge_segments(writer: GalleryWriter, dim: int, most_small: int = MOST_SMALL) -> int:
    """Merge small segments if there are more than ``most_small``; return how many were merged.

    Each new file is whole before the transaction that refers to it. The old ones stay until the next run begins, for
    readers that have looked up a place in them.
    """
    small = [
        number
        for number, rows in writer.database.execute("SELECT segment, COUNT(*) FROM contents GROUP BY segment")
        if rows < _SMALL
    ]
    if len(small) <= most_small:
        return 0
    for contents, parts in _filled(writer, dim, small):
        number = writer.take_segment_number()
        write_segment(writer.folder, number, parts)
        writer.place_segments(number, contents)
        writer.commit([], np.empty((0, dim), dtype=np.float32))
    return len(small)


def _filled(writer: GalleryWriter, dim: int, small: list[int]) -> Iterator[tuple[list[int], dict[str, NDArray[Any]]]]:
    """Yield (contents, their rows as stored) for each new segment."""
    contents: list[int] = []
    parts: list[dict[str, NDArray[Any]]] = []
    for number in small:
        rows = writer.database.execute(
            "SELECT id, row FROM contents WHERE segment = ? ORDER BY row", (number,)
        ).fetchall()
        contents += [content for content, _ in rows]
        parts.append(Segment(writer.folder, number, dim).raw([row for _, row in rows]))
        if len(contents) >= _SMALL:
            yield contents, _joined(parts)
            contents, parts = [], []
    if contents:
        yield contents, _joined(parts)


def _joined(parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
