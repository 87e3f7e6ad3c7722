"""Bitext from TMX, the exchange format of translation memories, which OPUS also gives out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product

from kivuko.bitext.byte_input import ByteInput
from kivuko.bitext.raw_pair import MISSING_LANGUAGE, TOO_LONG, TOO_MANY_VARIANTS, RawPair
from kivuko.bitext.tags import code_of, fits
from kivuko.bitext.tmx_units import Unit, read_units
from kivuko.errors import DataError, at

_LISTED = 12  # other languages that a message names


class TmxSource:
    """The translation units of a TMX file; see ``PairSource``. Numbers are the lines where units begin.

    Languages are told by ``xml:lang`` or ``lang``; ``EN-GB`` is English, ``sw-KE`` Swahili. A unit with several
    variants in a language gives every combination that differs. Formatting codes within a segment are no text; what
    they highlight is.

    Args:
        source: the file, compressed or not, in the encoding that it declares.
        language: normalised BCP 47 code.
    """

    format = "tmx"

    def __init__(self, source: ByteInput, language: str) -> None:
        self.name, self.language, self.size = source.name, language, source.size
        self._source = source

    def __iter__(self) -> Iterator[RawPair]:
        units = 0
        found: set[str] = set()
        others: dict[str, None] = {}

        def wanted(tag: str) -> bool:
            return any(_role(tag, self.language))

        def passed_over(tag: str) -> None:
            if len(others) < _LISTED:
                others[tag.strip()[:40] or "(none)"] = None

        with self._source.opened() as stream:
            for unit in read_units(stream, self.name, wanted, passed_over):
                units += 1
                text, english = _sides(unit, self.language)
                if text or unit.overflowed:
                    found.add(self.language)
                if english or unit.overflowed:
                    found.add("en")
                yield from _pairs(unit, text, english)
        if not units:
            raise DataError(f"{self.name}: holds no translation unit; give a TMX file with <tu> elements")
        if missing := [code for code in (self.language, "en") if code not in found]:
            listed = ", ".join([*sorted(found), *others]) or "nothing"
            raise DataError(
                f"{self.name}: none of its {units:,} units is in {' or '.join(missing)}; it holds: {listed}"
            )

    def place(self, number: int) -> str:
        return at(self.name, number)

    def bytes_read(self) -> int:
        return self._source.bytes_read()


@lru_cache(maxsize=4096)
def _role(tag: str, language: str) -> tuple[bool, bool, bool]:
    """Whether a tag is exactly the language's, whether it fits the language, and whether it fits English."""
    code = code_of(tag)
    return code == language, fits(language, code), fits("en", code)


def _sides(unit: Unit, language: str) -> tuple[list[str | None], list[str | None]]:
    """The different texts of a unit in the language (in exactly that variety, if there are any) and in English."""
    exact: dict[str | None, None] = {}
    ours: dict[str | None, None] = {}
    theirs: dict[str | None, None] = {}
    for tag, text in unit.variants:
        is_exact, fits_ours, fits_english = _role(tag, language)
        if is_exact:
            exact[text] = None
        if fits_ours:
            ours[text] = None
        if fits_english:
            theirs[text] = None
    return list(exact or ours), list(theirs)


def _pairs(unit: Unit, texts: list[str | None], english: list[str | None]) -> Iterator[RawPair]:
    if unit.overflowed:
        yield RawPair(unit.line, None, None, TOO_MANY_VARIANTS)
    elif not texts or not english:
        yield RawPair(unit.line, next(iter(texts), None), next(iter(english), None), MISSING_LANGUAGE)
    elif None in texts or None in english:
        yield RawPair(unit.line, None, None, TOO_LONG)
    else:
        for text, other in product(texts, english):
            yield RawPair(unit.line, text, other)
