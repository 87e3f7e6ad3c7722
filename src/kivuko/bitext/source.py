"""What every reader of parallel text is: a stream of pairs that knows where each of them stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from kivuko.bitext.raw_pair import RawPair


class PairSource(Protocol):
    """Parallel text in one language and English, read from its start to its end in bounded memory.

    Each ``iter`` begins anew, except that standard input can be read once only. Iterating raises ``DataError`` where
    the file cannot be read, is damaged, or is not what its format asks for; the pairs before that place come first.

    Attributes:
        name: the path as it was given, or ``standard input``.
        language: normalised BCP 47 code of the side that is not English.
        format: ``tsv``, ``moses``, ``tmx``, ``jsonl``, ``parquet`` or ``datasets``.
        size: bytes of the file or files as they are stored, None where that is not known.
    """

    name: str
    language: str
    format: str
    size: int | None

    def __iter__(self) -> Iterator[RawPair]:
        """Yield what stands there, one after the other; lines that give no pair come too, with the reason."""
        ...

    def place(self, number: int) -> str:
        """Return where something read so far stands: ``path:number``, counted within its file."""
        ...

    def bytes_read(self) -> int:
        """Return how many of the ``size`` bytes were read so far, decompressed or not."""
        ...
