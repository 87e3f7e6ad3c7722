"""Reading parallel text in any format, as a stream or into memory."""

import re
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path

from kivuko.bitext import pairs as reasons
from kivuko.bitext.arrow import MAGIC as PARQUET_MAGIC
from kivuko.bitext.arrow import PREFIX as HUB_PREFIX
from kivuko.bitext.arrow import ArrowSource, HubSource, ParquetSource, saved_files, saved_splits
from kivuko.bitext.columns import is_header
from kivuko.bitext.dictionary import dictionary_source, is_dictionary_spec
from kivuko.bitext.formats import JsonlSource, MosesSource, TableSource, csv_cells, moses_files, separator_of
from kivuko.bitext.localization import FORMATS as LOCALIZATION_FORMATS
from kivuko.bitext.localization import MO_MAGIC, LocalizationSource
from kivuko.bitext.pairs import MAX_CHARACTERS, Bitext, Columns, JoinedSource, Pair, PairSource, report_dropped
from kivuko.bitext.sentence_sets import SentenceSource, is_sentence_spec
from kivuko.bitext.tmx import TmxSource
from kivuko.errors import DataError, UsageError, check_type
from kivuko.files import exists, refuse_unreadable
from kivuko.languages import language as describe
from kivuko.progress import reading_bar
from kivuko.streams import ByteInput, is_url, plain_name
from kivuko.text import clean_text

FORMATS = ("tsv", "csv", "moses", "tmx", "jsonl", "parquet", "datasets", *LOCALIZATION_FORMATS)

_BY_SUFFIX = {
    ".tsv": "tsv", ".txt": "tsv", ".tab": "tsv", ".csv": "csv", ".tmx": "tmx", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".json": "jsonl", ".parquet": "parquet", ".arrow": "datasets", ".po": "po", ".mo": "mo", ".gmo": "mo",
    ".xlf": "xliff", ".xliff": "xliff", ".tbx": "tbx",
}  # fmt: skip


def file_source(source: ByteInput, language: str, format: str | None, columns: Columns | None) -> PairSource:
    """Open one file in any format but ``moses``; None: detected by the name, else by the content."""
    kind = format or format_by_name(Path(source.name)) or _format_by_content(source, language)
    if kind in LOCALIZATION_FORMATS:
        if columns is not None:
            raise UsageError(f"{source.name}: {kind} has no columns; leave them out")
        return LocalizationSource(source, language, kind)
    if kind == "tmx":
        if columns is not None:
            raise UsageError(f"{source.name}: TMX has no columns; leave them out, languages are read from xml:lang")
        return TmxSource(source, language)
    if kind == "jsonl":
        return JsonlSource(source, language, columns)
    if kind == "parquet":
        return ParquetSource(source, language, columns)
    if kind == "datasets":
        if source.path is None:
            raise UsageError(f"{source.name}: a saved dataset is a folder; give its path, or hf:NAME")
        return ArrowSource(source.path, language, columns)
    return TableSource(source, language, columns, kind)


def format_by_name(path: Path) -> str | None:
    """Return the format of a file by its name, whatever its compression; None where the name gives none."""
    name = plain_name(path.name).lower()
    return _BY_SUFFIX.get(Path(name).suffix)


_XML_ROOT = re.compile(rb"\A(?:<[?!][^>]*>\s*)*<(xliff|martif|tbx)[\s>]")
_PO_START = re.compile(rb'(?:#.*\n|\s+)*msg(?:id|ctxt)\s+"')


def _format_by_content(source: ByteInput, language: str) -> str:
    start = source.start()
    if start.startswith(PARQUET_MAGIC):
        return "parquet"
    if start.startswith(b"ARROW1"):
        return "datasets"
    if start.startswith(MO_MAGIC):
        return "mo"
    if start.startswith(b"PK\x03\x04"):
        raise DataError(
            f"{source.name}: a zip archive; unpack it and give what is in it, for Moses as FILE,ENGLISH_FILE"
        )
    # The readers recognize UTF-16; here its NULs are only in the way.
    text = start.lstrip(b"\xef\xbb\xbf\xff\xfe").replace(b"\0", b"").lstrip()
    if root := _XML_ROOT.search(text):
        return "xliff" if root[1] == b"xliff" else "tbx"
    if text.startswith((b"<?xml", b"<!DOCTYPE", b"<tmx")):
        return "tmx"
    if _PO_START.match(text):
        return "po"
    if text.startswith((b"{", b"[{")):
        return "jsonl"
    line = text.partition(b"\n")[0].decode(errors="replace")
    cells = csv_cells(line, separator_of(line, language, but="\t"))
    return "csv" if "\t" not in line and is_header(cells, language) else "tsv"


# As the hub names the files of a split: train.parquet, train-00000-of-00002.parquet.
_SPLIT = re.compile(r"(train|validation|valid|val|dev|test)(?:[-_.]\d+(?:-of-\d+)?)?(?:\.|$)")
_SAME_SPLIT = {"valid": "validation", "val": "validation", "dev": "validation"}


def folder_source(
    folder: Path, language: str, *, split: str | None = None, format: str | None = None, columns: Columns | None = None
) -> PairSource:
    """Open a saved Hugging Face ``Dataset`` or ``DatasetDict``, or the files of one format in a folder.

    Files are taken in the order of their names, here or in a folder ``data`` as on the hub; ``split`` is needed where
    there are several.
    """
    if format in (None, "datasets") and (splits := saved_splits(folder)) is not None:
        return folder_source(folder / _chosen(folder, splits, split), language, columns=columns)
    if format in (None, "datasets") and (saved := saved_files(folder)) is not None:
        if split is not None:
            raise UsageError(f"{folder}: is one dataset without splits; leave :{split} out")
        return JoinedSource(str(folder), [ArrowSource(path, language, columns) for path in saved])
    shards = _shards(folder, format)
    by_split: dict[str, list[Path]] = {}
    for path in shards:
        match = _SPLIT.match(path.name.lower())
        name = match[1] if match else ""
        by_split.setdefault(_SAME_SPLIT.get(name, name), []).append(path)
    if len(by_split) > 1 or split is not None:
        shards = by_split[_chosen(folder, sorted(by_split), split)]
    return JoinedSource(str(folder), [file_source(ByteInput(path), language, format, columns) for path in shards])


def _chosen(folder: Path, splits: list[str], split: str | None) -> str:
    for name in splits:
        if split is not None and name and _SAME_SPLIT.get(split, split) == _SAME_SPLIT.get(name, name):
            return name
    if split is None and len(splits) == 1:
        return splits[0]
    named = [name for name in splits if name]
    if not named:
        raise UsageError(f"{folder}: its files are not named after splits; leave :{split} out")
    problem = f"has no split {split}, but" if split is not None else "holds several splits"
    raise UsageError(
        f"{folder}: {problem}: {', '.join(name or '(none)' for name in splits)}; name one, as {folder}:{named[0]}"
    )


def _shards(folder: Path, format: str | None) -> list[Path]:
    for place in (folder, folder / "data"):
        try:
            listed = sorted(one for one in place.iterdir() if not one.name.startswith((".", "_")) and one.is_file())
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DataError(f"{place}: cannot be read ({error.strerror or error}); check the folder") from None
        kinds = {path: kind for path in listed if (kind := format_by_name(path)) and path.name not in _NO_SHARDS}
        different = sorted(set(kinds.values()))
        if format is not None:
            kinds = {path: kind for path, kind in kinds.items() if kind == format}
        elif len(different) > 1:
            raise DataError(
                f"{folder}: holds files of several formats ({', '.join(different)}); name the format to read"
            )
        # A writer without rows leaves an empty shard.
        if full := [path for path in kinds if path.stat().st_size]:
            return full
    wanted = f"{format} file" if format else "Parquet, JSON lines, TSV, TMX, PO or Arrow file, nor a saved dataset,"
    raise DataError(f"{folder}: holds no {wanted} to read; give the folder that does, or a file")


_NO_SHARDS = frozenset({"dataset_info.json", "dataset_infos.json", "state.json", "dataset_dict.json", "README.txt"})


STANDARD_INPUT_SPEC = "-"
_SHOWN_EVERY = 4096  # pairs between two updates of the progress bar


def open_source(
    spec: str | Path, language: str, *, format: str | None = None, columns: Columns | None = None
) -> PairSource:
    """Open parallel text as a stream that is never held in memory; arguments and errors as for ``read_bitext``."""
    check_type("source", spec, str | Path, "a path, a URL, hf:NAME, or - for standard input")
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
    if is_url(text):
        return file_source(ByteInput(text), code, format, columns)
    if is_sentence_spec(text):
        if format is not None or columns is not None:
            raise UsageError(f"{text}: a set of sentences has its own format; leave format and columns out")
        return SentenceSource(text, code)
    if is_dictionary_spec(text):
        if format is not None or columns is not None:
            raise UsageError(f"{text}: a dictionary has its own format; leave format and columns out")
        return dictionary_source(text, code)
    path = Path(text)
    if text.startswith(HUB_PREFIX) and not exists(path):
        if format not in (None, "datasets"):
            raise UsageError(f"{text}: comes as datasets; leave the format {format} out")
        return HubSource(text, code, columns)
    if format == "moses" or not exists(path):
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
    refuse_unreadable(path)
    if path.is_dir():
        return folder_source(path, code, format=format, columns=columns)
    return file_source(ByteInput(path), code, format, columns)


def read_bitext(
    source: str | Path,
    language: str,
    *,
    format: str | None = None,
    columns: Columns | None = None,
    keep_copied: bool = True,
    progress: bool | None = None,
) -> Bitext:
    """Read parallel text in any format into memory.

    Both sides are cleaned (Unicode NFC, no invisible characters, single spaces). Lines that give no pair are counted
    by reason in the result's ``dropped``: ``blank line``, ``missing column``, ``missing language``, ``not JSON``,
    ``not text``, ``broken characters``, ``empty side``, ``too long`` (over 4,000 characters on one side),
    ``duplicate`` and, with ``keep_copied=False``, ``copied``; of the messages of programs also ``fuzzy``,
    ``obsolete``, ``untranslated``, ``header or credits``, ``only placeholders or numbers``, ``plural form for
    none`` and ``forms within a message`` (plural or gender forms in braces).

    Args:
        source: a file (tab-separated, ``.csv``, ``.tmx``, ``.jsonl``, ``.parquet``, ``.arrow``, gettext's ``.po`` and
            ``.mo``, ``.xlf``, ``.tbx``), compressed with gzip, bzip2, xz or Zstandard or not; ``-`` for standard input;
            a Moses pair as ``FILE,ENGLISH_FILE`` or by their common prefix (``corpus.en-sw`` for ``corpus.en-sw.sw``
            and ``corpus.en-sw.en``); a folder of shards or of a saved Hugging Face dataset, with ``:SPLIT``
            where it has several; ``hf:NAME[:CONFIG][:SPLIT]`` on the hub;
            a URL of one file (``https://``, ``s3://``, ``hf://``); the training sentences of ``tico19:PATH``,
            ``flores:PATH`` or ``tatoeba:PATH``; or ``dict:FILE``, the words of a dictionary of dictd (FreeDict),
            StarDict, TEI or Wiktextract, a pair for each translation (of a folder: all of the language by name).
        language: BCP 47 code of the side that is not English.
        format: ``tsv``, ``csv``, ``moses``, ``tmx``, ``jsonl``, ``parquet``, ``datasets``, ``po``, ``mo``, ``xliff`` or
            ``tbx``; None: detected by the name, else by the content.
        columns: of the language and of English, where the format has columns: two positions from 1, or two headings.
            Default: headings that name them decide: tags (``sw-KE``), names of languages (``Kiswahili``), ``text`` and
            ``english``, ``source`` and ``target``; without a header, the first two.
        keep_copied: whether to keep pairs with the same text on both sides (``Bitext.copied`` counts them).
        progress: None shows a bar on a terminal only; True and False force it.

    Returns:
        At least one pair, in the order of the source; ``origin`` is ``path:number``.

    Raises:
        DataError: the source is missing, damaged, not what its format requires, or holds no usable pair; the message
            gives file and line.
        UsageError: unknown language or format, or a source or columns that make no sense.
        MissingDependencyError: the source needs a package that is not installed.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "en-sw.tsv"
    >>> _ = file.write_text("paka mweusi\\tblack cat\\nmbwa\\tdog\\nmbwa\\tdog\\n")
    >>> bitext = read_bitext(file, "sw")
    >>> len(bitext), bitext.pairs[0].text, bitext.pairs[0].english
    (2, 'paka mweusi', 'black cat')
    >>> dict(bitext.dropped)
    {'duplicate': 1}
    """
    opened = open_source(source, language, format=format, columns=columns)
    pairs: dict[tuple[str, str], Pair] = {}
    dropped: Counter[str] = Counter()
    first_dropped: dict[str, str] = {}
    with reading_bar(opened, f"reading {opened.language}", progress) as bar:
        for count, (number, side, english_side, reason) in enumerate(opened):
            place = opened.place(number)
            if reason is None:
                text, english = clean_text(side or ""), clean_text(english_side or "")
                reason = _reason_against(text, english, pairs, keep_copied)
            if reason is None:
                pairs[text, english] = Pair(opened.language, text, english, place)
            else:
                dropped[reason] += 1
                first_dropped.setdefault(reason, place)
            if not count % _SHOWN_EVERY:
                bar.show(count)
    bitext = Bitext(tuple(pairs.values()), dropped, first_dropped)
    if not bitext:
        raise _nothing_usable(bitext, opened)
    return bitext


def stream_pairs(opened: PairSource) -> Iterator[Pair]:
    """Yield the pairs of a source as ``read_bitext`` cleans them, without a memory of them: duplicates come again."""
    for number, side, english_side, reason in opened:
        if reason is None:
            text, english = clean_text(side or ""), clean_text(english_side or "")
            if _reason_against(text, english, (), keep_copied=True) is None:
                yield Pair(opened.language, text, english, opened.place(number))


def _reason_against(text: str, english: str, pairs: Container[tuple[str, str]], keep_copied: bool) -> str | None:
    if not text or not english:
        return reasons.EMPTY_SIDE
    if max(len(text), len(english)) > MAX_CHARACTERS:
        return reasons.TOO_LONG
    if (text, english) in pairs:
        return reasons.DUPLICATE
    return None if keep_copied or text != english else reasons.COPIED


def nothing_in(source: PairSource) -> DataError:
    held = "a header and no line below it" if source.format in ("tsv", "csv") else "no row"
    return DataError(f"{source.name}: holds {held}; give a file with pairs of sentences")


def _nothing_usable(bitext: Bitext, source: PairSource) -> DataError:
    if not bitext.dropped:
        return nothing_in(source)
    # Reasons are in the order of their first occurrence, so the first one's place is the earliest.
    first = next(iter(bitext.first_dropped.values()))
    return DataError(f"{first}: no usable pair of sentences: {report_dropped(bitext)}")


def _moses_pair(text: str, language: str) -> tuple[Path, Path] | None:
    """Return the two files that a spec names, both of them with a comma or by their common prefix."""
    comma = text.find(",")
    while comma >= 0:
        ours, theirs = text[:comma], text[comma + 1 :]
        if ours and theirs and exists(Path(ours)) and exists(Path(theirs)):
            return Path(ours), Path(theirs)
        comma = text.find(",", comma + 1)
    if pair := moses_files(Path(text), language):
        return pair
    if text.count(",") == 1 and all(text.split(",")):
        ours, theirs = text.split(",")
        missing = ours if not exists(Path(ours)) else theirs
        raise DataError(f"{missing}: no such file; check the path (the spec {text} names two)")
    return None
