"""Writing pairs to a file, compressed according to its suffix, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kivuko.files import atomic_path, refuse_unwritable
from kivuko.streams import open_compressed


class PairWriter:
    """Writes pairs as lines of two columns, ``sentence<TAB>English``; ``written`` counts them."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.written = 0

    def write(self, texts: Sequence[str], english: Sequence[str]) -> None:
        """Write a batch of pairs, each side cleaned (``clean_text``): without tab or line end."""
        lines = "".join([f"{text}\t{other}\n" for text, other in zip(texts, english, strict=True)])
        self._stream.write(lines.encode("utf-8"))
        self.written += len(texts)


class RejectedWriter:
    """Writes rejected pairs as lines of four columns: reason, place, sentence, English; after a header."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        stream.write(b"reason\tplace\ttext\tenglish\n")

    def write(self, reason: str, place: str, text: str | None, english: str | None) -> None:
        cells = (reason, place, text or "", english or "")
        line = "\t".join(" ".join(cell.split()) for cell in cells) + "\n"
        self._stream.write(line.encode("utf-8", "backslashreplace"))


@contextmanager
def pair_writer(path: Path, language: str) -> Iterator[PairWriter]:
    """Open a file for pairs under a header that names both languages; it appears when the block succeeds."""
    with text_stream(path) as stream:
        stream.write(f"{language}\ten\n".encode())
        yield PairWriter(stream)


@contextmanager
def text_stream(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for bytes, compressed according to its suffix; it appears when the block succeeds."""
    refuse_unwritable(path)
    with atomic_path(path) as temporary, open_compressed(temporary, path.suffix.lower()) as stream:
        yield stream
