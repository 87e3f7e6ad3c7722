"""What a person looks at to judge a machine's translations: a table, and what looks wrong at first sight."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from kivuko.files import write_text

_LEAST = 12  # characters; of shorter texts, length and repetition say nothing
_RATIO = 4.0  # a translation so many times as long as its original, or as short, has lost or invented something


class Checked(StrEnum):
    """Why a translation is in the sample."""

    RANDOM = "random"
    SUSPICIOUS = "suspicious"


class SampleRow(NamedTuple):
    """One translation beside its original."""

    chosen: Checked
    kind: str
    id: str
    original: str
    translation: str
    suspicion: str


def suspicion(original: str, translation: str) -> str | None:
    """Say what looks wrong with a translation, or None: a person decides, nothing is dropped.

    >>> suspicion("the cat is black", "")
    'empty'
    >>> suspicion("the cat is black", "paka paka paka paka paka paka paka paka")
    'repeats itself'
    """
    if not original.strip():
        return None
    if not translation.strip():
        return "empty"
    if translation.casefold() == original.casefold() and any(letter.isalpha() for letter in original):
        return "not translated"
    if min(len(original), len(translation)) < _LEAST:
        return None
    words = Counter(translation.casefold().split())
    if words.total() >= 8 and max(words.values()) > words.total() / 2:
        return "repeats itself"
    ratio = len(translation) / len(original)
    return "much longer or shorter" if not 1 / _RATIO <= ratio <= _RATIO else None


class Sample:
    """A random choice of ``size`` translations of each kind out of a stream, and the first ``size`` of each suspicion.

    The same seed chooses the same ids. ``suspicious`` counts what looked wrong, by what it was.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._seed = size, seed
        self.suspicious: Counter[str] = Counter()
        self._chosen: dict[str, list[tuple[int, str, SampleRow]]] = {}
        self._wrong: list[SampleRow] = []

    def add(self, kind: str, name: str, original: str, translated: str) -> None:
        """Look at one translation; ``name`` is its id."""
        row = SampleRow(Checked.RANDOM, kind, name, original, translated, suspicion(original, translated) or "")
        if row.suspicion:
            self.suspicious[row.suspicion] += 1
            if self.suspicious[row.suspicion] <= self._size:
                self._wrong.append(row._replace(chosen=Checked.SUSPICIOUS))
        digest = hashlib.blake2b(f"{self._seed}:{kind}:{name}".encode(), digest_size=8).digest()
        lots = self._chosen.setdefault(kind, [])
        if len(lots) < self._size:
            heapq.heappush(lots, (-int.from_bytes(digest, "big"), name, row))
        elif lots:
            heapq.heappushpop(lots, (-int.from_bytes(digest, "big"), name, row))

    def rows(self) -> list[SampleRow]:
        """Return the random ones by kind, in the order of their lots, then the suspicious ones."""
        return [row for lots in self._chosen.values() for _, _, row in sorted(lots, reverse=True)] + self._wrong


def write_sample(path: Path, rows: Sequence[SampleRow]) -> None:
    """Write the table, tab-separated, with empty columns for adequacy and fluency (1 to 5) and a remark."""
    headings = ("chosen", "kind", "id", "original", "translation", "suspicion", "adequacy", "fluency", "remark")
    lines = ["\t".join(headings)]
    lines += ["\t".join([*(" ".join(str(cell).split()) for cell in row), "", "", ""]) for row in rows]
    write_text(path, "\n".join(lines) + "\n")
