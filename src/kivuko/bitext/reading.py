"""Reading parallel text in any format: as a stream, or into memory."""

from __future__ import annotations

from pathlib import Path

from kivuko.bitext.account import report_dropped
from kivuko.bitext.bitext import Bitext
from kivuko.bitext.byte_input import ByteInput
from kivuko.bitext.folder import folder_source
from kivuko.bitext.hub import PREFIX as HUB_PREFIX
from kivuko.bitext.hub import HubSource
from kivuko.bitext.moses import MosesSource, moses_files
from kivuko.bitext.raw_pair import BLANK_LINE, MISSING_COLUMN
from kivuko.bitext.sieve import Sieve
from kivuko.bitext.single_file import FORMATS, Columns, file_source
from kivuko.bitext.source import PairSource
from kivuko.bitext.tsv import TsvSource
from kivuko.errors import DataError, UsageError
from kivuko.languages import language as describe

STANDARD_INPUT_SPEC = "-"


def open_source(
    spec: str | Path, language: str, *, format: str | None = None, columns: Columns | None = None
) -> PairSource:
    """Open parallel text as a stream that is never held in memory.

    Args:
        spec: a file (tab-separated, ``.tmx``, ``.jsonl``, ``.parquet``, ``.arrow``), compressed with gzip, bzip2, xz
            or Zstandard or not; ``-`` for standard input; a Moses pair as ``FILE,ENGLISH_FILE`` or by what both files
            begin with (``corpus.en-sw`` for ``corpus.en-sw.sw`` and ``corpus.en-sw.en``); a folder that a Hugging
            Face dataset was saved to, or of shards, with ``:SPLIT`` where it has several; or
            ``hf:NAME[:CONFIG][:SPLIT]`` on the hub.
        language: BCP 47 code of the side that is not English.
        format: ``tsv``, ``moses``, ``tmx``, ``jsonl``, ``parquet`` or ``datasets``; None: told by the name, else by
            the content.
        columns: of the language and of English, where the format has columns: two positions from 1, or two headings.

    Raises:
        DataError: there is no such file, or it is not what its name says, as far as the name or a look at its start
            tells; the rest is raised while it is read.
        UsageError: unknown language or format, a ``spec`` or ``columns`` that make no sense.
        MissingDependencyError: ``hf:`` needs the ``datasets`` library.
    """
    code = describe(language).code
    if format is not None and format not in FORMATS:
        raise UsageError(f"unknown format {format!r}: give {', '.join(FORMATS)}")
    text = str(spec)
    if not text:
        raise UsageError("an empty name: give a file, - for standard input, or a folder")
    if text == STANDARD_INPUT_SPEC:
        if format == "moses":
            raise UsageError("standard input is one file; give a Moses pair as FILE,ENGLISH_FILE")
        return file_source(ByteInput(None), code, format, columns)
    path = Path(text)
    if text.startswith(HUB_PREFIX) and not _exists(path):
        if format not in (None, "datasets"):
            raise UsageError(f"{text}: comes as datasets; leave the format {format} out")
        return HubSource(text, code, columns)
    if format == "moses" or not _exists(path):
        if pair := _moses_pair(text, code):
            if columns is not None:
                raise UsageError(f"{text}: Moses files have no columns; leave them out")
            return MosesSource(ByteInput(pair[0]), ByteInput(pair[1]), code)
        folder, _, split = text.rpartition(":")
        if folder and Path(folder).is_dir():
            return folder_source(Path(folder), code, split=split, format=format, columns=columns)
        raise DataError(
            f"{text}: no such file; check the path (a Moses pair is FILE,ENGLISH_FILE, or what both begin with)"
        )
    if path.is_dir():
        return folder_source(path, code, format=format, columns=columns)
    return file_source(ByteInput(path), code, format, columns)


def read_bitext(
    spec: str | Path,
    language: str,
    *,
    format: str | None = None,
    columns: Columns | None = None,
    keep_copied: bool = True,
) -> Bitext:
    """Read parallel text in any format into memory.

    Both sides are cleaned (``clean_text``). What gives no pair is counted by reason in the result's ``dropped``:
    ``blank line``, ``missing column``, ``missing language``, ``not JSON``, ``not text``, ``broken characters``,
    ``empty side``, ``too long`` (over 4,000 characters on one side), ``duplicate`` and, on request, ``copied``.

    Args:
        spec, language, format, columns: as for ``open_source``.
        keep_copied: whether to keep pairs with the same text on both sides (``Bitext.copied`` counts them).

    Returns:
        At least one pair, in the order of the source; ``origin`` is ``path:number``.

    Raises:
        DataError, UsageError, MissingDependencyError: as ``open_source``, and where there is no usable pair.
    """
    return _read(open_source(spec, language, format=format, columns=columns), keep_copied)


def read_tsv(path: Path | str, language: str, *, columns: Columns | None = None, keep_copied: bool = True) -> Bitext:
    """Read sentences and their English translations from a tab-separated UTF-8 file, line by line.

    The file may be compressed. Quotes mean nothing: a sentence may begin with one. See ``TsvSource`` for how columns
    are found and ``read_bitext`` for what becomes of the pairs.

    Args:
        path: the file.
        language: BCP 47 code of the sentences that are not English.
        columns: two positions counted from 1, or two headings of the first row; None: the first row decides.
        keep_copied: whether to keep pairs with the same text on both sides (``Bitext.copied`` counts them).

    Returns:
        At least one pair, in the order of the file; ``origin`` is ``path:line``.

    Raises:
        DataError: the file is missing, a folder, empty, binary, damaged, not UTF-8, lacks the columns in
            more than half of its lines, or has no usable line.
        UsageError: unknown language, or ``columns`` that make no sense.
    """
    return _read(TsvSource(ByteInput(Path(path)), describe(language).code, columns), keep_copied)


def _read(source: PairSource, keep_copied: bool) -> Bitext:
    sieve = Sieve(source.language, keep_copied=keep_copied)
    for number, text, english, reason in source:
        if reason is None:
            sieve.add(text or "", english or "", source.place(number))
        else:
            sieve.drop(reason, source.place(number))
    bitext = sieve.bitext()
    if isinstance(source, TsvSource):
        _require_columns(bitext, source.needed)
    if not bitext:
        raise _nothing_usable(bitext, source)
    return bitext


def _require_columns(bitext: Bitext, needed: int) -> None:
    """A few bad lines are an account; a file of them is an error, most often another separator."""
    missing = bitext.dropped[MISSING_COLUMN]
    lines = len(bitext) + bitext.dropped.total() - bitext.dropped[BLANK_LINE]
    if missing and (missing * 2 > lines or not bitext):
        raise DataError(
            f"{bitext.first_dropped[MISSING_COLUMN]}: fewer than {needed} tab-separated columns, "
            f"as in {missing:,} of {lines:,} lines; probably the separator is no tab but commas or spaces: "
            f"convert them to tabs"
        )


def _nothing_usable(bitext: Bitext, source: PairSource) -> DataError:
    if not bitext.dropped:
        return DataError(f"{source.name}: no usable pair of sentences: a header and nothing below it")
    # Reasons stand in the order in which they first came up, so the first one's place is the earliest.
    first = next(iter(bitext.first_dropped.values()))
    return DataError(f"{first}: no usable pair of sentences: {report_dropped(bitext)}")


def _moses_pair(text: str, language: str) -> tuple[Path, Path] | None:
    """The two files that a spec names, both of them with a comma or by what they begin with."""
    comma = text.find(",")
    while comma >= 0:
        ours, theirs = text[:comma], text[comma + 1 :]
        if ours and theirs and _exists(Path(ours)) and _exists(Path(theirs)):
            return Path(ours), Path(theirs)
        comma = text.find(",", comma + 1)
    if found := moses_files(Path(text), language):
        return found
    if text.count(",") == 1 and all(text.split(",")):
        ours, theirs = text.split(",")
        missing = ours if not _exists(Path(ours)) else theirs
        raise DataError(f"{missing}: no such file; check the path (the spec {text} names two)")
    return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False
