"""Bitext from tab-separated files."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from kivuko.bitext.account import report_dropped
from kivuko.bitext.bitext import Bitext
from kivuko.bitext.columns import Columns, check_columns, columns_in_header, named_columns
from kivuko.bitext.lines import Line, read_lines
from kivuko.bitext.sieve import TOO_LONG, Sieve
from kivuko.errors import DataError, at
from kivuko.languages import language as describe

MISSING_COLUMN = "missing column"
BLANK_LINE = "blank line"


def read_tsv(
    path: Path | str,
    language: str,
    *,
    columns: tuple[int, int] | tuple[str, str] | None = None,
    keep_copied: bool = True,
) -> Bitext:
    """Read sentences and their English translations from a tab-separated UTF-8 file, line by line.

    The file may be compressed (gzip, bzip2, xz). Quotes mean nothing: a sentence may begin with one. Both
    sides are cleaned (``clean_text``). Lines that give no pair are counted by reason in the result's
    ``dropped``: ``blank line``, ``missing column``, ``empty side``, ``too long`` (over 4,000 characters on
    one side), ``duplicate`` (of an earlier pair) and, on request, ``copied``.

    Args:
        path: the file.
        language: BCP 47 code of the sentences that are not English.
        columns: where that sentence and its translation stand: two positions counted from 1, or two headings
            of the first row. By default a first row that names columns decides (``sw`` and ``en``, ``text``
            and ``english``, ``source`` and ``target``, ``non_english`` and ``english``), else 1 and 2.
        keep_copied: whether to keep pairs with the same text on both sides (``Bitext.copied`` counts them).

    Returns:
        At least one pair, in the order of the file; ``origin`` is ``path:line``.

    Raises:
        DataError: the file is missing, a folder, empty, binary, damaged, not UTF-8, lacks the columns in
            more than half of its lines, or has no usable line.
        UsageError: unknown language, or ``columns`` that make no sense.
    """
    path, code = Path(path), describe(language).code
    if columns is not None:
        check_columns(columns)
    lines = read_lines(path)
    first = next(lines, None)
    if first is None:
        raise DataError(f"{path}: is empty; give a file with one pair of sentences per line")
    where, is_header = _layout(first, code, columns, at(path, first.number))
    sieve = Sieve(code, keep_copied=keep_copied)
    for line in lines if is_header else chain([first], lines):
        _sift(line, where, at(path, line.number), sieve)
    bitext = sieve.bitext()
    _require_usable(bitext, where, path)
    return bitext


def _layout(
    first: Line, language: str, columns: tuple[int, int] | tuple[str, str] | None, place: str
) -> tuple[Columns, bool]:
    """Where the two sides stand, and whether the first line is a header."""
    cells = (first.text or "").split("\t")
    text, english = columns or (None, None)
    if isinstance(text, str) and isinstance(english, str):
        return named_columns(cells, (text, english), place), True
    header = columns_in_header(cells, language, place)
    if isinstance(text, int) and isinstance(english, int):
        return Columns(text - 1, english - 1), header is not None
    return header or Columns(0, 1), header is not None


def _sift(line: Line, where: Columns, place: str, sieve: Sieve) -> None:
    if line.text is None:
        sieve.drop(TOO_LONG, place)
        return
    cells = line.text.split("\t")
    if len(cells) == 1 and not cells[0].strip():
        sieve.drop(BLANK_LINE, place)
    elif len(cells) <= max(where):
        sieve.drop(MISSING_COLUMN, place)
    else:
        sieve.add(cells[where.text], cells[where.english], place)


def _require_usable(bitext: Bitext, where: Columns, path: Path) -> None:
    """A few bad lines are an account; a file of them is an error, most often another separator."""
    missing = bitext.dropped[MISSING_COLUMN]
    lines = len(bitext) + bitext.dropped.total() - bitext.dropped[BLANK_LINE]
    if missing and (missing * 2 > lines or not bitext):
        raise DataError(
            f"{bitext.first_dropped[MISSING_COLUMN]}: fewer than {max(where) + 1} tab-separated columns, "
            f"as in {missing:,} of {lines:,} lines; probably the separator is no tab but commas or spaces: "
            f"convert them to tabs"
        )
    if not bitext:
        first = min(bitext.first_dropped.values(), default=str(path), key=_line_number)
        account = report_dropped(bitext) or "a header and nothing below it"
        raise DataError(f"{first}: no usable pair of sentences: {account}")


def _line_number(place: str) -> int:
    return int(place.rpartition(":")[2])
