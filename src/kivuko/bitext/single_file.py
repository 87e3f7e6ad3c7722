"""One file, or standard input, as a source: its format told by its name or by how it begins."""

from __future__ import annotations

from pathlib import Path

from kivuko.bitext.arrow_files import ArrowSource
from kivuko.bitext.byte_input import ByteInput, plain_name
from kivuko.bitext.jsonl import JsonlSource
from kivuko.bitext.parquet import MAGIC as PARQUET_MAGIC
from kivuko.bitext.parquet import ParquetSource
from kivuko.bitext.source import PairSource
from kivuko.bitext.tmx import TmxSource
from kivuko.bitext.tsv import TsvSource
from kivuko.errors import DataError, UsageError

FORMATS = ("tsv", "moses", "tmx", "jsonl", "parquet", "datasets")

Columns = tuple[int, int] | tuple[str, str]

_BY_SUFFIX = {
    ".tsv": "tsv", ".txt": "tsv", ".tab": "tsv", ".csv": "tsv", ".tmx": "tmx", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".json": "jsonl", ".parquet": "parquet", ".arrow": "datasets",
}  # fmt: skip


def file_source(source: ByteInput, language: str, format: str | None, columns: Columns | None) -> PairSource:
    """Open one file.

    Args:
        source: the file.
        language: normalised BCP 47 code.
        format: one of ``FORMATS`` but ``moses``, which takes two files; None: told by the name, else by the content.
        columns: see the sources.

    Raises:
        DataError: the file cannot be read, where its content must tell the format; or it is a zip archive.
        UsageError: ``columns`` that make no sense, or for a format that has none.
    """
    kind = format or (format_by_name(source.path) if source.path else None) or _format_by_content(source)
    if kind == "tmx":
        if columns is not None:
            raise UsageError(f"{source.name}: TMX has no columns; leave them out, languages are told by xml:lang")
        return TmxSource(source, language)
    if kind == "jsonl":
        return JsonlSource(source, language, columns)
    if kind == "parquet":
        return ParquetSource(source, language, columns)
    if kind == "datasets":
        if source.path is None:
            raise UsageError(f"{source.name}: a saved dataset is a folder; give its path, or hf:NAME")
        return ArrowSource(source.path, language, columns)
    return TsvSource(source, language, columns)


def format_by_name(path: Path) -> str | None:
    """Return the format that a file's name tells, whatever it is compressed with; None where it tells none."""
    name = plain_name(path.name).lower()
    return _BY_SUFFIX.get(Path(name).suffix)


def _format_by_content(source: ByteInput) -> str:
    start = source.start()
    if start.startswith(PARQUET_MAGIC):
        return "parquet"
    if start.startswith(b"ARROW1"):
        return "datasets"
    if start.startswith(b"PK\x03\x04"):
        raise DataError(
            f"{source.name}: a zip archive; unpack it and give what is in it, for Moses as FILE,ENGLISH_FILE"
        )
    # UTF-16 is told apart by the readers; here its NULs are only in the way.
    text = start.lstrip(b"\xef\xbb\xbf\xff\xfe").replace(b"\0", b"").lstrip()
    if text.startswith((b"<?xml", b"<!DOCTYPE", b"<tmx")):
        return "tmx"
    return "jsonl" if text.startswith((b"{", b"[{")) else "tsv"
