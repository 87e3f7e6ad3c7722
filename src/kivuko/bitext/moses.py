"""Bitext from Moses pairs: two files whose lines translate one another, as OPUS gives them out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from kivuko.bitext.byte_input import COMPRESSED, ByteInput, plain_name
from kivuko.bitext.lines import read_texts
from kivuko.bitext.raw_pair import BLANK_LINE, TOO_LONG, RawPair
from kivuko.bitext.tags import code_of, fitting
from kivuko.errors import DataError, at


class MosesSource:
    """Two files with a sentence per line, the same number in both; see ``PairSource``.

    Args:
        text, english: the files, each compressed or not.
        language: normalised BCP 47 code.
    """

    format = "moses"

    def __init__(self, text: ByteInput, english: ByteInput, language: str) -> None:
        self.name, self.language = f"{text.name},{english.name}", language
        self.size = text.size + english.size if text.size is not None and english.size is not None else None
        self._text, self._english = text, english

    def __iter__(self) -> Iterator[RawPair]:
        new = tuple.__new__
        number = 0
        ended = object()
        for text, english in zip_longest(read_texts(self._text), read_texts(self._english), fillvalue=ended):
            number += 1
            if text is ended or english is ended:
                raise self._uneven(number, self._text if text is ended else self._english)
            if text is None or english is None:
                yield RawPair(number, None, None, TOO_LONG)
            elif text or english:
                yield new(RawPair, (number, text, english, None))
            else:
                yield RawPair(number, None, None, BLANK_LINE)
        if not number:
            raise DataError(f"{self.name}: both are empty; give two files with one sentence per line")

    def place(self, number: int) -> str:
        return at(self._text.name, number)

    def bytes_read(self) -> int:
        return self._text.bytes_read() + self._english.bytes_read()

    def _uneven(self, number: int, shorter: ByteInput) -> DataError:
        longer = self._english if shorter is self._text else self._text
        return DataError(
            f"{at(shorter.name, number)}: ends before this line while {longer.name} goes on, so their lines do not "
            f"translate one another; fetch both files of the same release again"
        )


def moses_files(prefix: Path, language: str) -> tuple[Path, Path] | None:
    """Find the two files that begin like ``corpus.en-sw``: (``corpus.en-sw.sw``, ``corpus.en-sw.en``), or compressed.

    Returns:
        The language's file and English's; None where no file begins so.

    Raises:
        DataError: there are such files, but not for both sides.
    """
    try:
        names = sorted(one.name for one in prefix.parent.iterdir() if one.name.startswith(f"{prefix.name}."))
    except (OSError, ValueError):
        return None
    # An uncompressed file comes before its compressed copy.
    names.sort(key=lambda name: name.lower().endswith(COMPRESSED))
    tags = {name: plain_name(name)[len(prefix.name) + 1 :] for name in names}
    sides = {name: code for name, tag in tags.items() if (code := code_of(tag)) is not None}
    if not sides:
        return None
    found = [fitting(wanted, list(sides.values())) for wanted in (language, "en")]
    if None in found:
        raise DataError(
            f"{prefix}: there is {', '.join(list(sides)[:10])}, but no {prefix.name}."
            f"{language if found[0] is None else 'en'}; give both files of the pair, as FILE,ENGLISH_FILE"
        )
    text, english = (prefix.with_name(list(sides)[index or 0]) for index in found)
    return text, english
