"""Bitext from TMX, the exchange format of translation memories, which OPUS also gives out."""

import html.entities
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import BinaryIO
from xml.parsers import expat

from kivuko.bitext.formats import FileSource, code_of, fits
from kivuko.bitext.pairs import MAX_SIDE_BYTES, MISSING_LANGUAGE, TOO_LONG, TOO_MANY_VARIANTS, RawPair
from kivuko.errors import DataError, at
from kivuko.streams import utf8_blocks

# TMX 1.4b (LISA OSCAR, 2005). Expat parses; nothing outside the file is ever read, and a document that declares
# entities is refused, so neither external entities nor exponential ones can do harm.

MAX_VARIANTS = 32  # of one unit, in the languages wanted

_BLOCK = 1 << 16
_LONGEST_TOKEN = 4 << 20  # bytes of one tag, comment or attribute, which Expat holds whole
_CODES = frozenset({"bpt", "ept", "it", "ph", "ut"})  # their content is formatting, not text
_LINE_BREAKS = frozenset({"lb", "pb"})  # types of formatting that part words


@dataclass
class Unit:
    """One translation unit."""

    line: int  # of its beginning, from 1
    # (tag, text) in wanted languages; None where the unit is too long
    variants: list[tuple[str, str | None]] = field(default_factory=list)
    overflowed: bool = False  # there were more than ``MAX_VARIANTS``


def read_units(
    stream: BinaryIO, name: str, wanted: Callable[[str], bool], passed_over: Callable[[str], None]
) -> Iterator[Unit]:
    """Yield the units of a document, with the variants whose language tag is ``wanted``.

    ``passed_over`` is called with the other tags. DataError: it is not well-formed, no TMX, declares entities, or holds
    a tag of over 4 MiB.
    """
    # Whatever the document declares, its bytes come as UTF-8.
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    handler = _Handler(parser, name, wanted, passed_over)
    fed = 0
    try:
        for block in utf8_blocks(stream, name, _BLOCK, lambda: parser.CurrentLineNumber):
            fed += len(block)
            parser.Parse(block, False)
            yield from handler.taken()
            handler.limit()
            if fed - max(0, parser.CurrentByteIndex) > _LONGEST_TOKEN:
                raise DataError(
                    f"{at(name, parser.CurrentLineNumber)}: a tag or comment of over {_LONGEST_TOKEN >> 20} MiB begins "
                    f"here; probably its end is missing: mend it"
                )
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        yield from handler.taken()
        raise _malformed(error, name) from None
    yield from handler.taken()


class _Handler:
    """Collects units from Expat's events; Expat itself appends the text of wanted segments."""

    def __init__(
        self, parser: expat.XMLParserType, name: str, wanted: Callable[[str], bool], passed_over: Callable[[str], None]
    ) -> None:
        self._parser, self._name, self._wanted, self._passed_over = parser, name, wanted, passed_over
        self._units: list[Unit] = []
        self._unit: Unit | None = None
        self._tag: str | None = None  # of a wanted variant
        self._parts: list[str] | None = None  # of the segment that is open
        self._length = 0  # characters of the unit so far, without the open segment
        self._within_code = 0  # how many elements deep
        parser.StartElementHandler = self._root
        parser.EndElementHandler = self._end
        parser.EntityDeclHandler = self._entity_declared
        parser.SkippedEntityHandler = self._entity_skipped

    def taken(self) -> list[Unit]:
        """Return the units that ended since the last call."""
        units, self._units = self._units, []
        return units

    def limit(self) -> None:
        """Drop the text of an open segment that is too long; to be called after every block."""
        if self._parts is not None and (length := sum(map(len, self._parts))) > MAX_SIDE_BYTES:
            self._length += length
            self._parts.clear()

    def _root(self, name: str, attributes: dict[str, str]) -> None:
        if _local(name).lower() != "tmx":
            raise DataError(
                f"{at(self._name, self._parser.CurrentLineNumber)}: the document is <{name[:40]}>, not <tmx>; "
                f"give a TMX file"
            )
        self._parser.StartElementHandler = self._start

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if ":" in name:
            name = _local(name)
        if self._parts is not None:
            self._start_within_segment(self._parts, name, attributes)
        elif name == "seg":
            if self._tag is not None:
                self._parts, self._within_code = [], 0
                self._parser.CharacterDataHandler = self._parts.append
        elif name == "tuv":
            tag = attributes.get("xml:lang") or attributes.get("lang") or ""
            self._tag = tag if self._unit is not None and self._wanted(tag) else None
            if self._tag is None:
                self._passed_over(tag)
        elif name == "tu":
            self._unit, self._length = Unit(self._parser.CurrentLineNumber), 0

    def _end(self, name: str) -> None:
        if ":" in name:
            name = _local(name)
        if self._parts is not None:
            if name == "seg":
                self._end_segment(self._parts)
            elif self._within_code:
                self._within_code -= 1
                if not self._within_code:
                    self._parser.CharacterDataHandler = self._parts.append
        elif name == "tuv":
            self._tag = None
        elif name == "tu" and self._unit is not None:
            self._units.append(self._unit)
            self._unit = None

    def _start_within_segment(self, parts: list[str], name: str, attributes: dict[str, str]) -> None:
        if self._within_code or name in _CODES:
            self._within_code += 1
            self._parser.CharacterDataHandler = None
            if attributes.get("type") in _LINE_BREAKS:
                parts.append(" ")

    def _end_segment(self, parts: list[str]) -> None:
        self._parser.CharacterDataHandler = None
        unit, self._parts = self._unit, None
        if unit is None or self._tag is None:
            return
        text = "".join(parts)
        self._length += len(text)
        if len(unit.variants) >= MAX_VARIANTS:
            unit.overflowed = True
        else:
            unit.variants.append((self._tag, text if self._length <= MAX_SIDE_BYTES else None))

    def _entity_declared(self, entity: str, *_: object) -> None:
        raise DataError(
            f"{at(self._name, self._parser.CurrentLineNumber)}: declares the entity {entity[:40]!r}, and entities are "
            f"not expanded here for safety; take <!ENTITY ...> out of the file's head"
        )

    def _entity_skipped(self, entity: str, is_parameter: bool) -> None:
        # An entity of a document type that is not read: HTML's own are meant.
        known = html.entities.html5.get(f"{entity};")
        if known is not None and not is_parameter:
            if self._parts is not None and not self._within_code:
                self._parts.append(known)
        elif not is_parameter:
            raise DataError(
                f"{at(self._name, self._parser.CurrentLineNumber)}: unknown entity &{entity[:40]};; write the "
                f"character itself"
            )


def _local(name: str) -> str:
    return name.rpartition(":")[2] if ":" in name else name


def _malformed(error: expat.ExpatError, name: str) -> DataError:
    words = expat.ErrorString(error.code) or "not well-formed"
    cut_short = error.code in (expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS],) or words.startswith("unclosed")
    if cut_short:
        remedy = "the file is empty or cut short: fetch it again"
    elif error.code == expat.errors.codes[expat.errors.XML_ERROR_INVALID_TOKEN]:
        remedy = (
            "there is a character that XML does not allow, or bytes in another encoding than the one declared: mend "
            "that line, or try xmllint --recover"
        )
    else:
        remedy = "mend that line, or try xmllint --recover"
    return DataError(f"{at(name, error.lineno)}: not well-formed XML ({words}, column {error.offset + 1}); {remedy}")


_LISTED = 12  # other languages that a message names


class TmxSource(FileSource):
    """The translation units of a TMX file; see ``PairSource``. Numbers are the lines where units begin.

    Languages are read from ``xml:lang`` or ``lang``; ``EN-GB`` is English, ``sw-KE`` Swahili. A unit with several
    variants gives every combination that differs. Formatting codes within a segment are left out.
    """

    format = "tmx"

    def __iter__(self) -> Iterator[RawPair]:
        units = 0
        present: set[str] = set()
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
                    present.add(self.language)
                if english or unit.overflowed:
                    present.add("en")
                yield from _pairs(unit, text, english)
        if not units:
            raise DataError(f"{self.name}: holds no translation unit; give a TMX file with <tu> elements")
        if missing := [code for code in (self.language, "en") if code not in present]:
            listed = ", ".join([*sorted(present), *others]) or "nothing"
            raise DataError(
                f"{self.name}: none of its {units:,} units is in {' or '.join(missing)}; it holds: {listed}"
            )


@lru_cache(maxsize=4096)
def _role(tag: str, language: str) -> tuple[bool, bool, bool]:
    """Return three truths about a tag: it is exactly the language's, it fits the language, it fits English."""
    code = code_of(tag)
    return code == language, fits(language, code), fits("en", code)


def _sides(unit: Unit, language: str) -> tuple[list[str | None], list[str | None]]:
    """Return the different texts of a unit in the language (in exactly that variety, if there are any), and English."""
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
