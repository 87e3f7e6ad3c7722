"""Sources of pairs line by line: tab-separated, JSON lines, and Moses."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from kivuko.bitext import pairs as reasons
from kivuko.bitext.pairs import Columns, RawPair
from kivuko.errors import DataError, UsageError, at, first_line
from kivuko.languages import known_code
from kivuko.streams import COMPRESSED, ByteInput, parse_json, plain_name, read_lines

# (language's side, English side) pairs of headings that are in use for bitext.
_HEADINGS = (("text", "english"), ("source", "target"), ("non_english", "english"))
_ENGLISH_CODES = ("en", "eng", "english")


class Positions(NamedTuple):
    """The positions of the two sides, counted from 0."""

    text: int
    english: int


def check_columns(columns: Columns) -> None:
    """Raise ``UsageError`` unless two different positions (from 1) or two different headings are given."""
    if len(columns) != 2 or len({type(column) for column in columns}) != 1 or columns[0] == columns[1]:
        raise UsageError(f"columns {columns!r}: give two different positions or two different headings")
    if any(isinstance(column, int) and column < 1 for column in columns):
        raise UsageError(f"columns {columns!r}: positions count from 1")


def columns_in_header(cells: Sequence[str], language: str, place: str) -> Positions | None:
    """Return the places of both sides in a table's first row, or None where that row is not a header.

    A header names ``text`` and ``english``, ``source`` and ``target``, ``non_english`` and ``english``, or the
    language's own code and ``en``. DataError if it has ``en`` and only codes of other languages.
    """
    names = [cell.strip().casefold() for cell in cells]
    for text_heading, english_heading in _HEADINGS:
        if text_heading in names and english_heading in names:
            return Positions(names.index(text_heading), names.index(english_heading))
    english = next((names.index(code) for code in _ENGLISH_CODES if code in names), None)
    if english is None:
        return None
    # Only what is as short as a code is looked up: a cell may hold anything.
    codes = [None if index == english or len(name) > 12 else code_of(name) for index, name in enumerate(names)]
    if language in codes:
        return Positions(codes.index(language), english)
    others = [code for code in codes if code is not None]
    if others and names[english] != "english":
        raise DataError(
            f"{place}: the header names {', '.join(others)} and {names[english]}, not {language}; "
            f"give the language the file is in, or take the header away"
        )
    return None


def named_columns(cells: Sequence[str], columns: tuple[str, str], place: str) -> Positions:
    """Return the places of two headings in a table's first row, whatever their case."""
    names = [cell.strip().casefold() for cell in cells]
    wanted = [column.strip().casefold() for column in columns]
    missing = [column for column, name in zip(columns, wanted, strict=True) if name not in names]
    if missing:
        has = ", ".join(cell.strip()[:40] for cell in cells[:10])
        raise DataError(f"{place}: no column {' nor '.join(missing)} in the header, which has: {has}")
    return Positions(names.index(wanted[0]), names.index(wanted[1]))


_NOTHING = "\0"  # no line holds a NUL


class FileSource:
    """The base of the sources of one file; see ``PairSource``."""

    format = ""

    def __init__(self, source: ByteInput, language: str, columns: Columns | None = None) -> None:
        if columns is not None:
            check_columns(columns)
        self.name, self.language, self.size = source.name, language, source.size
        self._source, self._columns = source, columns

    def place(self, number: int) -> str:
        return at(self.name, number)

    def bytes_read(self) -> int:
        return self._source.bytes_read()


class TsvSource(FileSource):
    """The lines of a tab-separated UTF-8 file, where quotes mean nothing; see ``PairSource``.

    ``columns`` are two positions from 1, or two headings; by default a first row that names columns decides, else 1 and
    2. ``needed`` is how many columns a line must have, known after the first line.
    """

    format = "tsv"

    def __init__(self, source: ByteInput, language: str, columns: Columns | None = None) -> None:
        super().__init__(source, language, columns)
        self.needed = 2

    def __iter__(self) -> Iterator[RawPair]:
        texts = read_lines(self._source)
        first = next(texts, _NOTHING)
        if first is _NOTHING:
            raise DataError(f"{self.name}: is empty; give a file with one pair of sentences per line")
        where, is_header = self._layout((first or "").split("\t"))
        self.needed = max(where) + 1
        if is_header:
            return _pairs(texts, where, 2)
        return _pairs(chain([first], texts), where, 1)

    def _layout(self, cells: list[str]) -> tuple[Positions, bool]:
        text, english = self._columns or (None, None)
        place = at(self.name, 1)
        if isinstance(text, str) and isinstance(english, str):
            return named_columns(cells, (text, english), place), True
        header = columns_in_header(cells, self.language, place)
        if isinstance(text, int) and isinstance(english, int):
            return Positions(text - 1, english - 1), header is not None
        return header or Positions(0, 1), header is not None


def _pairs(texts: Iterator[str | None], where: Positions, first: int) -> Iterator[RawPair]:
    text, english = where
    needed = max(where) + 1
    new = tuple.__new__  # a third faster than RawPair's own, which checks nothing either
    for number, line in enumerate(texts, start=first):
        if line is None:
            yield RawPair(number, None, None, reasons.TOO_LONG)
            continue
        cells = line.split("\t")
        if len(cells) >= needed:
            yield new(RawPair, (number, cells[text], cells[english], None))
        elif len(cells) == 1 and not line.strip():
            yield RawPair(number, None, None, reasons.BLANK_LINE)
        else:
            yield RawPair(number, line, None, reasons.MISSING_COLUMN)


TRANSLATION = "translation"  # OPUS on the Hugging Face hub: {"translation": {"en": ..., "sw": ...}}

FieldPath = tuple[str, ...]  # the names that lead to a field


class Sides(NamedTuple):
    """The names that lead to the two sides: of a column, or of a struct and a field in it."""

    text: FieldPath
    english: FieldPath


def sides_of(
    fields: Mapping[str, Sequence[str]],
    language: str,
    columns: Columns | None,
    place: str,
) -> Sides:
    """Return the sides among the fields of a record, or raise DataError with a list of the fields.

    ``fields``: name -> names of the fields in it, none where it is no struct. ``columns``: two positions from 1, or two
    names; ``translation.sw`` is the field ``sw`` in ``translation``.
    """
    paths = _paths(fields)
    if columns is None:
        return _detected(fields, language, place)
    text, english = columns
    if isinstance(text, str) and isinstance(english, str):
        where = named_columns(list(paths), (text, english), place)
        return Sides(list(paths.values())[where.text], list(paths.values())[where.english])
    if isinstance(text, str) or isinstance(english, str):
        raise UsageError(f"columns {columns!r}: give two positions or two headings")
    names = list(fields)
    if max(text, english) > len(names):
        raise DataError(f"{place}: there are {len(names)} columns, not {max(text, english)}: {_listed(names)}")
    return Sides((names[text - 1],), (names[english - 1],))


def _detected(fields: Mapping[str, Sequence[str]], language: str, place: str) -> Sides:
    names = list(fields)
    if where := columns_in_header(names, language, place):
        return Sides((names[where.text],), (names[where.english],))
    for name in (*(name for name in names if name.casefold() == TRANSLATION), *names):
        inner = list(fields[name])
        if inner and (where := columns_in_header(inner, language, f"{place}: {name}")):
            return Sides((name, inner[where.text]), (name, inner[where.english]))
    raise DataError(
        f"{place}: no columns for {language} and en, but: {_listed(list(_paths(fields)))}; name two of them as columns"
    )


def _paths(fields: Mapping[str, Sequence[str]]) -> dict[str, FieldPath]:
    paths: dict[str, FieldPath] = {}
    for name, inner in fields.items():
        for path in ((name, one) for one in inner) if inner else [(name,)]:
            paths.setdefault(".".join(path), path)
    return paths


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(name.strip()[:40] for name in names[:10])
    return (listed + (", ..." if len(names) > 10 else "")) or "none"


class JsonlSource(FileSource):
    """The lines of a UTF-8 JSON lines file; see ``PairSource``.

    ``columns`` are the keys of both sides, such as ``translation.sw``; by default those of the first object decide.
    """

    format = "jsonl"

    def __init__(self, source: ByteInput, language: str, columns: Columns | None = None) -> None:
        super().__init__(source, language, columns)
        if columns is not None and any(isinstance(column, int) for column in columns):
            raise UsageError(f"columns {columns!r}: JSON objects have no positions; give two keys")

    def __iter__(self) -> Iterator[RawPair]:
        sides: Sides | None = None
        number = 0
        for number, line in enumerate(read_lines(self._source), start=1):
            if line is None:
                yield RawPair(number, None, None, reasons.TOO_LONG)
            elif not line or line.isspace():
                yield RawPair(number, None, None, reasons.BLANK_LINE)
            else:
                if sides is None:
                    sides = self._sides(line, at(self.name, number))
                yield _pair(number, line, sides)
        if not number:
            raise DataError(f"{self.name}: is empty; give a file with one JSON object per line")

    def _sides(self, line: str, place: str) -> Sides:
        try:
            record = parse_json(line)
        except (ValueError, RecursionError) as error:
            hint = "; it is one JSON array: write its objects on lines with jq -c '.[]'" if line[0] == "[" else ""
            raise DataError(
                f"{place}: not a JSON object{hint or f' ({first_line(error)}); give one object per line'}"
            ) from None
        if not isinstance(record, dict):
            kind = "an array" if isinstance(record, list) else "a value"
            raise DataError(f"{place}: {kind}, not an object; write one object with its keys per line")
        fields = {key: list(value) if isinstance(value, dict) else [] for key, value in record.items()}
        return sides_of(fields, self.language, self._columns, place)


def _pair(number: int, line: str, sides: Sides) -> RawPair:
    try:
        record = parse_json(line)
    except (ValueError, RecursionError):
        return RawPair(number, line, None, reasons.NOT_JSON)
    try:
        text, english = _value(record, sides.text), _value(record, sides.english)
    except (KeyError, TypeError):
        return RawPair(number, line, None, reasons.MISSING_COLUMN)
    if type(text) is not str or type(english) is not str:
        return RawPair(number, None, None, reasons.EMPTY_SIDE if text is None or english is None else reasons.NOT_TEXT)
    # Only an escape can bring in half of a surrogate pair.
    if "\\u" in line and not (_whole(text) and _whole(english)):
        return RawPair(number, None, None, reasons.BROKEN_CHARACTERS)
    return RawPair(number, text, english)


def _value(record: Any, path: FieldPath) -> Any:
    for name in path:
        record = record[name]
    return record


def _whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_LONGEST = 35  # characters of a tag; a file may have anything in its place


@lru_cache(maxsize=4096)
def code_of(tag: str) -> str | None:
    """Return the normalized BCP 47 code of a tag such as ``EN-US`` or ``swh_Latn``; None where it is none."""
    tag = tag.strip()
    if not tag or len(tag) > _LONGEST or not tag.replace("-", "").replace("_", "").isalnum():
        return None
    return known_code(tag)


def fitting(wanted: str, codes: Sequence[str | None]) -> int | None:
    """Return which of the codes is the wanted language's: the same, else the first that ``fits``."""
    if wanted in codes:
        return codes.index(wanted)
    return next((index for index, code in enumerate(codes) if fits(wanted, code)), None)


def fits(wanted: str, code: str | None) -> bool:
    """Return True if a code is the wanted one or differs in more subtags only: ``pt`` fits ``pt-BR``."""
    if code is None:
        return False
    ours, theirs = wanted.split("-"), code.split("-")
    shared = min(len(ours), len(theirs))
    return ours[:shared] == theirs[:shared]


class MosesSource:
    """Two files with a sentence per line, the same number in both; see ``PairSource``."""

    format = "moses"

    def __init__(self, text: ByteInput, english: ByteInput, language: str) -> None:
        self.name, self.language = f"{text.name},{english.name}", language
        self.size = text.size + english.size if text.size is not None and english.size is not None else None
        self._text, self._english = text, english

    def __iter__(self) -> Iterator[RawPair]:
        new = tuple.__new__
        number = 0
        ended = object()
        for text, english in zip_longest(read_lines(self._text), read_lines(self._english), fillvalue=ended):
            number += 1
            if text is ended or english is ended:
                raise self._uneven(number, self._text if text is ended else self._english)
            if text is None or english is None:
                yield RawPair(number, None, None, reasons.TOO_LONG)
            elif text or english:
                yield new(RawPair, (number, text, english, None))
            else:
                yield RawPair(number, None, None, reasons.BLANK_LINE)
        if not number:
            raise DataError(f"{self.name}: both are empty; give two files with one sentence per line")

    def place(self, number: int) -> str:
        return at(self._text.name, number)

    def bytes_read(self) -> int:
        return self._text.bytes_read() + self._english.bytes_read()

    def _uneven(self, number: int, shorter: ByteInput) -> DataError:
        longer = self._english if shorter is self._text else self._text
        return DataError(
            f"{at(shorter.name, number)}: ends before this line while {longer.name} continues, so their lines do not "
            f"translate one another; fetch both files of the same release again"
        )


def moses_files(prefix: Path, language: str) -> tuple[Path, Path] | None:
    """Return the two files that begin like ``corpus.en-sw``: (``corpus.en-sw.sw``, ``corpus.en-sw.en``).

    They may be compressed. None where no file begins so; DataError if a side is missing.
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
    places = [fitting(wanted, list(sides.values())) for wanted in (language, "en")]
    if None in places:
        raise DataError(
            f"{prefix}: there is {', '.join(list(sides)[:10])}, but no {prefix.name}."
            f"{language if places[0] is None else 'en'}; give both files of the pair, as FILE,ENGLISH_FILE"
        )
    text, english = (prefix.with_name(list(sides)[index or 0]) for index in places)
    return text, english
