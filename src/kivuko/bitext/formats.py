"""Sources of pairs line by line: tables, JSON lines, and Moses."""

import csv
from collections.abc import Iterator
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

from kivuko.bitext import pairs as reasons
from kivuko.bitext.columns import (
    FieldPath,
    Positions,
    Sides,
    check_columns,
    code_of,
    fitting,
    header_columns,
    is_header,
    named_columns,
    sides_in_header,
    sides_of,
)
from kivuko.bitext.pairs import Columns, RawPair
from kivuko.errors import DataError, UsageError, at, first_line
from kivuko.streams import COMPRESSED, MAX_LINE_BYTES, ByteInput, parse_json, plain_name, read_lines

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


# Number of the line where a row begins, and its cells, or a line to be split at tabs; None for one that is too long.
Row = tuple[int, list[str] | str | None]
_INSPECTED = 1000  # rows
_MOST_LINES = 100  # of a row of CSV: more are swallowed by a quotation mark that is not closed
_SEPARATORS = (",", ";", "\t", "|")


class TableSource(FileSource):
    """The lines of a UTF-8 table, separated by tabs (where quotes mean nothing) or as CSV; see ``PairSource``.

    ``columns`` are two positions from 1, or two headings; by default a first row that names columns decides, else 1 and
    2. A CSV file is separated by commas, semicolons, tabs or bars, whichever its first line shows. A table in which
    most of the first lines lack a column, or have no sentences in it, is refused.
    """

    def __init__(self, source: ByteInput, language: str, columns: Columns | None = None, format: str = "tsv") -> None:
        super().__init__(source, language, columns)
        self.format = format

    def __iter__(self) -> Iterator[RawPair]:
        lines = read_lines(self._source)
        first = next(lines, _NOTHING)
        if first is _NOTHING:
            raise DataError(f"{self.name}: is empty; give a file with one pair of sentences per line")
        separator, quoted = "\t", self.format == "csv"
        if quoted:
            separator = separator_of(first or "", self.language)
        elif is_quoted(cells := (first or "").split("\t")) and is_header([one[1:-1] for one in cells], self.language):
            quoted = True
        again = chain([first], lines)
        rows = quoted_rows(again, separator, self.name) if quoted else enumerate(again, start=1)
        return self._pairs(rows, separator)

    def _pairs(self, rows: Iterator[Row], separator: str) -> Iterator[RawPair]:
        new = tuple.__new__  # a third faster than RawPair's own, which checks nothing either
        start = next(rows)
        (text, english), has_header = self._layout(_cells(start[1]))
        needed = max(text, english) + 1
        rows = rows if has_header else chain([start], rows)
        inspected, fault = _at_most(rows, _INSPECTED)
        named = sides_in_header(_cells(start[1]), self.language) if has_header else None
        if named and inspected and _headings_again(_cells(start[1]), _cells(inspected[0][1]), named):
            if self._columns is None:
                raise DataError(
                    f"{at(self.name, 1)}: columns {text + 1} and {english + 1} hold names of languages, not sentences; "
                    f"name the columns of {self.language} and of English, such as --columns 6,3"
                )
            inspected.insert(0, start)
        self._inspect(inspected, (text, english), separator)
        for number, row in chain(inspected, rows if fault is None else ()):
            if row is None:
                yield RawPair(number, None, None, reasons.TOO_LONG)
                continue
            cells = row.split("\t") if type(row) is str else row
            if len(cells) >= needed:
                yield new(RawPair, (number, cells[text], cells[english], None))
            elif not any(map(str.strip, cells)):
                yield RawPair(number, None, None, reasons.BLANK_LINE)
            else:
                yield RawPair(number, separator.join(cells), None, reasons.MISSING_COLUMN)
        if fault is not None:
            raise fault

    def _layout(self, cells: list[str]) -> tuple[Positions, bool]:
        text, english = self._columns or (None, None)
        place = at(self.name, 1)
        if isinstance(text, str) and isinstance(english, str):
            return named_columns(cells, (text, english), place), True
        if isinstance(text, int) and isinstance(english, int):
            return (text - 1, english - 1), is_header(cells, self.language)
        header = header_columns(cells, self.language, place)
        return header or (0, 1), header is not None

    def _inspect(self, rows: list[Row], where: Positions, separator: str) -> None:
        """Raise DataError if the first rows show that the separator or the columns are not the file's."""
        full = [(number, cells) for number, row in rows if any(map(str.strip, cells := _cells(row)))]
        short = [(number, cells) for number, cells in full if len(cells) <= max(where)]
        if 2 * len(short) > len(full):
            number, cells = short[0]
            other = separator_of(separator.join(cells), self.language, but=separator)
            names = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}
            probably = (
                f"it is separated by {names[other]}: give it as --format csv" if other in cells[0]
                else "probably the separator is spaces: convert them to tabs" if separator == "\t"
                else "correct these lines"
            )  # fmt: skip
            raise DataError(
                f"{at(self.name, number)}: fewer than {max(where) + 1} columns separated by {names[separator]}, as in "
                f"{len(short):,} of {len(full):,} lines; {probably}"
            )
        for column in where:
            # Two columns may be a list of numbers and their names; with a third there are sentences elsewhere.
            cells_of = [cells[column] for _, cells in full if len(cells) > max(2, column)]
            if len(cells_of) == len(full) > 0 and not any(letters.isalpha() for cell in cells_of for letters in cell):
                raise DataError(
                    f"{at(self.name, full[0][0])}: column {column + 1} holds no sentences ({cells_of[0][:40]!r}); name "
                    f"the columns of {self.language} and of English, such as --columns 3,2"
                )


def _at_most(rows: Iterator[Row], count: int) -> tuple[list[Row], DataError | None]:
    """Return the next rows, and the error that ended them, if any: the rows before it come first."""
    taken: list[Row] = []
    try:
        taken.extend(islice(rows, count))
    except DataError as error:
        return taken, error
    return taken, None


def _headings_again(header: list[str], cells: list[str], where: Positions) -> bool:
    return len(cells) > max(where) and all(cells[column] == header[column] for column in where)


def _cells(row: list[str] | str | None) -> list[str]:
    return row.split("\t") if isinstance(row, str) else row or []


def quoted_rows(lines: Iterator[str | None], separator: str, name: str) -> Iterator[Row]:
    """Yield the rows of a CSV file; what quotation marks enclose may hold separators and line ends."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    too_long: list[int] = []

    def ended() -> Iterator[str]:
        for number, line in enumerate(lines, start=1):
            if line is None:
                too_long.append(number)
            yield f"{line or ''}\n"

    reader = csv.reader(ended(), delimiter=separator, doublequote=True, skipinitialspace=True, strict=True)
    before = 0
    try:
        for cells in reader:
            if reader.line_num - before > _MOST_LINES:
                raise csv.Error(f"it is {reader.line_num - before:,} lines long")
            yield before + 1, None if too_long else cells
            before = reader.line_num
            too_long.clear()
    except csv.Error as error:
        raise DataError(
            f"{at(name, before + 1)}: no row of CSV ({first_line(error)}); probably a quotation mark opens here and is "
            f"not closed, or those within a cell are not doubled: correct it, or give tab-separated text"
        ) from None


def separator_of(line: str, language: str, but: str = "") -> str:
    """Return the separator of a CSV file by its first line: the one that gives a header, else the most columns."""
    rows = {one: csv_cells(line, one) for one in _SEPARATORS if one != but}
    return max(rows, key=lambda one: (len(rows[one]) > 1 and is_header(rows[one], language), len(rows[one])))


def csv_cells(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return [line]


def is_quoted(cells: list[str]) -> bool:
    return len(cells) > 1 and all(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)


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
