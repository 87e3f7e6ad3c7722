"""Bitext from TMX, the exchange format of translation memories, which OPUS also gives out."""

import html.entities
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from xml.parsers import expat

from kivuko.bitext.columns import code_of, fit
from kivuko.bitext.formats import FileSource
from kivuko.bitext.pairs import MAX_SIDE_BYTES, MISSING_LANGUAGE, TOO_LONG, TOO_MANY_VARIANTS, RawPair
from kivuko.errors import DataError, at
from kivuko.streams import utf8_blocks
from kivuko.text import separates_words

# TMX 1.4b (LISA OSCAR, 2005). Expat parses; nothing outside the file is ever read, and a document that declares
# entities is refused, so neither external entities nor exponential ones can do harm.

MAX_VARIANTS = 32  # of one unit, in the languages wanted

_BLOCK = 1 << 16
_LONGEST_TOKEN = 4 << 20  # bytes of one tag, comment or attribute, which Expat holds whole
_DEEPEST = 1000  # elements within one another, which Expat holds too
CODES = frozenset({"bpt", "ept", "it", "ph", "ut", "x", "bx", "ex"})  # their content is formatting, not text
_ALONE = frozenset({"ph", "ut", "x"})  # these are not one end of a pair of codes, such as those of bold letters
_LINE_BREAKS = frozenset({"lb", "pb"})  # types of formatting that part words
MAYBE = "\0"  # where a code is, between two parts of a segment; XML has no such character
_BETWEEN_WORDS = re.compile(f"(?<=\\w){MAYBE}+(?=\\w)")
_RTF_BREAK = re.compile(r"\\(?:line|par|tab|page|sect|cell|row)\b|[\n\t]")


class Unit:
    """One translation unit."""

    __slots__ = ("length", "line", "name", "variants")

    def __init__(self, line: int, name: str) -> None:
        self.line = line  # of its beginning, from 1
        self.name = name  # its ``tuid``; empty where it has none
        self.length = 0  # characters so far
        # In the languages wanted: how well it fits the language, and whether it is English; text, None if too long.
        self.variants: list[tuple[Fits, str | None]] = []

    def sides(self) -> tuple[list[str | None], list[str | None]]:
        """Return the different texts in the variety of the language that fits best, and in English."""
        ours: dict[str | None, None] = {}
        theirs: dict[str | None, None] = {}
        best = None
        for (how, is_english), text in self.variants:
            if is_english:
                theirs[text] = None
            if how is not None:
                if best is None or how < best:
                    best, ours = how, {}
                if how == best:
                    ours[text] = None
        return list(ours), list(theirs)


Fits = tuple[int | None, bool]  # how well a tag fits the language (lower is better), and whether it is English
_NEITHER: Fits = (None, False)


class TmxSource(FileSource):
    """The translation units of a TMX file; see ``PairSource``. Numbers are the lines where units begin.

    Languages are read from ``xml:lang`` or ``lang``; ``EN-GB`` is English, ``sw-KE`` Swahili. A unit with several
    variants gives every combination that differs. Formatting codes within a segment are left out; one that parts words
    becomes a space. ``unit`` is the ``tuid`` of the unit that the latest pair came from.
    """

    format = "tmx"
    unit = ""

    def __iter__(self) -> Iterator[RawPair]:
        # Whatever the document declares, its bytes come as UTF-8.
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        reader = _Reader(parser, self.name, self.language)
        fed, block = 0, b""
        try:
            with self._source.opened() as stream:
                for block in utf8_blocks(stream, self.name, _BLOCK, lambda: parser.CurrentLineNumber):
                    fed += len(block)
                    parser.Parse(block, False)
                    for self.unit, pair in reader.pairs():
                        yield pair
                    reader.limit()
                    if fed - max(0, parser.CurrentByteIndex) > _LONGEST_TOKEN:
                        raise DataError(
                            f"{at(self.name, parser.CurrentLineNumber)}: a tag or comment of over "
                            f"{_LONGEST_TOKEN >> 20} MiB begins here; probably its end is missing: mend it"
                        )
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            for self.unit, pair in reader.pairs():
                yield pair
            start = max(0, parser.ErrorByteIndex - fed + len(block) - 1)
            raise _malformed(error, self.name, block[start : start + 2]) from None
        for self.unit, pair in reader.pairs():
            yield pair
        reader.check_languages()


_LISTED = 12  # other languages that a message names


class _Reader:
    """Collects units from Expat's events; Expat itself appends the text of wanted segments."""

    def __init__(self, parser: expat.XMLParserType, name: str, language: str) -> None:
        self._parser, self._name, self._language = parser, name, language
        self._units: list[Unit] = []
        self._count = self._empty_variants = 0
        self._present: set[str] = set()
        self._others: dict[str, None] = {}  # tags of other languages
        self._unit: Unit | None = None
        self._fits = _NEITHER  # of a variant's tag
        self._has_segment = False  # of the variant
        self._parts: list[str] | None = None  # of the segment that is open
        self._depth = self._within_code = 0  # how many elements deep
        self._code: list[str] = []  # content of the outermost formatting element
        self._code_name = ""
        parser.StartElementHandler = self._root
        parser.EndElementHandler = self._end
        parser.EntityDeclHandler = self._entity_declared
        parser.SkippedEntityHandler = self._entity_skipped

    def pairs(self) -> Iterator[tuple[str, RawPair]]:
        """Yield the pairs of the units that ended since the last call, each with the name of its unit."""
        units, self._units = self._units, []
        for unit in units:
            self._count += 1
            texts, english = unit.sides()
            overflowed = len(unit.variants) > MAX_VARIANTS
            if texts or overflowed:
                self._present.add(self._language)
            if english or overflowed:
                self._present.add("en")
            if overflowed:
                yield unit.name, RawPair(unit.line, None, None, TOO_MANY_VARIANTS)
            elif not texts or not english:
                sides = next(iter(texts), None), next(iter(english), None)
                yield unit.name, RawPair(unit.line, *sides, MISSING_LANGUAGE)
            elif None in texts or None in english:
                yield unit.name, RawPair(unit.line, None, None, TOO_LONG)
            else:
                for text, other in product(texts, english):
                    yield unit.name, RawPair(unit.line, text, other)

    def check_languages(self) -> None:
        """Raise DataError if no unit, or none in both languages, was read."""
        if not self._count:
            raise DataError(f"{self._name}: holds no translation unit; give a TMX file with <tu> elements")
        missing = [code for code in (self._language, "en") if code not in self._present]
        if missing and self._empty_variants:
            raise DataError(
                f"{self._name}: {self._empty_variants:,} <tuv> elements in {' or '.join(missing)} hold no <seg>, which "
                f"TMX wants around the sentence; write <seg> around it"
            )
        if missing:
            listed = ", ".join([*sorted(self._present), *self._others]) or "nothing"
            raise DataError(
                f"{self._name}: none of its {self._count:,} units is in {' or '.join(missing)}; it holds: {listed}"
            )

    def limit(self) -> None:
        """Drop the text of an open segment that is too long; to be called after every block."""
        for parts in (self._parts, self._code):
            if parts and (length := sum(map(len, parts))) > MAX_SIDE_BYTES:
                parts.clear()
                if self._unit is not None:
                    self._unit.length += length

    def _root(self, name: str, attributes: dict[str, str]) -> None:
        if _local(name).lower() != "tmx":
            raise DataError(
                f"{at(self._name, self._parser.CurrentLineNumber)}: the document is <{name[:40]}>, not <tmx>; "
                f"give a TMX file"
            )
        self._parser.StartElementHandler = self._start

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise DataError(
                f"{at(self._name, self._parser.CurrentLineNumber)}: over {_DEEPEST:,} tags within one another, which "
                f"no TMX file has; probably their ends are missing: mend it"
            )
        if ":" in name:
            name = _local(name)
        if self._parts is not None:
            self._start_within_segment(self._parts, name, attributes)
        elif name == "seg":
            self._has_segment = True
            if self._fits is not _NEITHER:
                self._parts, self._within_code = [], 0
                self._parser.CharacterDataHandler = self._parts.append
        elif name == "tuv":
            tag = attributes.get("xml:lang") or attributes.get("lang") or ""
            self._fits = tag_fits(tag, self._language) if self._unit is not None else _NEITHER
            self._has_segment = False
            if self._fits is _NEITHER and len(self._others) < _LISTED:
                self._others[tag.strip()[:40] or "(none)"] = None
        elif name == "tu":
            self._unit = Unit(self._parser.CurrentLineNumber, attributes.get("tuid", ""))

    def _end(self, name: str) -> None:
        self._depth -= 1
        if ":" in name:
            name = _local(name)
        if self._parts is not None:
            if name == "seg":
                self._end_segment(self._parts)
            elif self._within_code:
                self._within_code -= 1
                if not self._within_code:
                    self._end_code(self._parts)
            elif separates_words(name):
                self._parts.append(" ")
        elif name == "tuv":
            if not self._has_segment and self._fits is not _NEITHER:
                self._empty_variants += 1
            self._fits = _NEITHER
        elif name == "tu" and self._unit is not None:
            self._units.append(self._unit)
            self._unit = None

    def _start_within_segment(self, parts: list[str], name: str, attributes: dict[str, str]) -> None:
        if self._within_code or name in CODES:
            if not self._within_code:
                self._code_name, self._code = name, []
                self._parser.CharacterDataHandler = self._code.append
            self._within_code += 1
            if attributes.get("type") in _LINE_BREAKS:
                self._code.append("\n")
        elif separates_words(name):
            parts.append(" ")

    def _end_code(self, parts: list[str]) -> None:
        self._parser.CharacterDataHandler = parts.append
        parts.append(text_of_code(self._code_name, "".join(self._code)))

    def _end_segment(self, parts: list[str]) -> None:
        self._parser.CharacterDataHandler = None
        unit, self._parts = self._unit, None
        if unit is None:
            return
        text = _joined(parts)
        unit.length += len(text)
        if len(unit.variants) <= MAX_VARIANTS:
            unit.variants.append((self._fits, text if unit.length <= MAX_SIDE_BYTES else None))

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


def text_of_code(name: str, code: str) -> str:
    """Return what is in a segment in place of a formatting element: a space, ``MAYBE``, or nothing."""
    if _RTF_BREAK.search(code) or separates_words(code):
        return " "
    return MAYBE if name in _ALONE and not code.startswith(("<", "\\", "{\\", "}")) else ""


def _joined(parts: list[str]) -> str:
    """Return the text of a segment from its parts; ``MAYBE`` is a space where it parts words."""
    text = "".join(parts)
    return _BETWEEN_WORDS.sub(" ", text).replace(MAYBE, "") if MAYBE in text else text


def _local(name: str) -> str:
    return name.rpartition(":")[2] if ":" in name else name


@lru_cache(maxsize=4096)
def tag_fits(tag: str, language: str) -> Fits:
    """Return how well a tag such as ``sw-KE`` fits a language, and whether it is English."""
    code = code_of(tag)
    fits = fit(language, code), fit("en", code) is not None
    return _NEITHER if fits == _NEITHER else fits


def _malformed(error: expat.ExpatError, name: str, context: bytes) -> DataError:
    words = expat.ErrorString(error.code) or "not well-formed"
    codes = expat.errors.codes
    remedy = "mend that line, or try xmllint --recover"
    if error.code == codes[expat.errors.XML_ERROR_NO_ELEMENTS] or words.startswith("unclosed"):
        remedy = "the file is empty or cut short: fetch it again"
    elif error.lineno == 1 and not error.offset:
        remedy = "the file does not begin as XML does: name its format, such as --format tsv"
    elif b"&" in context and error.code != codes[expat.errors.XML_ERROR_BAD_CHAR_REF]:
        remedy = "an & that begins no entity: write &amp;"
    elif b"<" in context:
        remedy = "a < that begins no tag: write &lt;"
    elif error.code in (codes[expat.errors.XML_ERROR_INVALID_TOKEN], codes[expat.errors.XML_ERROR_BAD_CHAR_REF]):
        remedy = (
            "there is a character that XML does not allow, or bytes in another encoding than the one declared: mend "
            "that line, or try xmllint --recover"
        )
    return DataError(f"{at(name, error.lineno)}: not well-formed XML ({words}, column {error.offset + 1}); {remedy}")
