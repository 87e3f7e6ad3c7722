"""Bitext from Arrow files, Parquet files and the hub's datasets; only the hub needs the ``datasets`` library."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kivuko.bitext.columns import FieldPath, Sides, check_columns, sides_of
from kivuko.bitext.formats import FileSource
from kivuko.bitext.pairs import BROKEN_CHARACTERS, EMPTY_SIDE, MAX_SIDE_BYTES, TOO_LONG, Columns, RawPair
from kivuko.errors import DataError, KivukoError, MissingDependencyError, UsageError, one_line
from kivuko.streams import ByteInput

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet


_SLICE_BYTES = 32 << 20  # of text that becomes Python strings at once


def sides_in_schema(schema: pyarrow.Schema, language: str, columns: Columns | None, name: str) -> Sides:
    """Return the two sides among a table's columns and the fields of its structs, or raise DataError."""
    import pyarrow.types as types

    # Of columns that share a name the first counts, as in every other format.
    fields: dict[str, Any] = {}
    for field in schema:
        fields.setdefault(field.name, field)
    sides = sides_of(
        {
            key: [field.type.field(i).name for i in range(field.type.num_fields)] if types.is_struct(field.type) else []
            for key, field in fields.items()
        },
        language,
        columns,
        name,
    )
    for path in sides:
        kind = fields[path[0]].type
        if len(path) > 1:
            kind = next(kind.field(i).type for i in range(kind.num_fields) if kind.field(i).name == path[1])
        if str(kind.value_type if types.is_dictionary(kind) else kind) not in _TEXT:
            raise DataError(f"{name}: column {'.'.join(path)} holds {kind}, not text; name other columns")
    return sides


def pairs_in_batch(batch: pyarrow.RecordBatch, sides: Sides, number: int) -> Iterator[RawPair]:
    text, english = _column(batch, sides.text), _column(batch, sides.english)
    held = text.nbytes + english.nbytes
    step = max(1, len(batch) * _SLICE_BYTES // held) if held > _SLICE_BYTES else max(1, len(batch))
    for start in range(0, len(batch), step):
        yield from _pairs(text.slice(start, step), english.slice(start, step), number + start)


def _pairs(text: pyarrow.Array, english: pyarrow.Array, number: int) -> Iterator[RawPair]:
    new = tuple.__new__
    ours, our_faults = _values(text)
    theirs, their_faults = _values(english)
    for row, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if one is not None and other is not None:
            yield new(RawPair, (number + row, one, other, None))
        else:
            yield RawPair(number + row, None, None, our_faults.get(row) or their_faults.get(row) or EMPTY_SIDE)


def _column(batch: pyarrow.RecordBatch, path: FieldPath) -> pyarrow.Array:
    """Return the column at a path, as an array of strings or bytes; null where a struct around it is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = batch.column(batch.schema.names.index(path[0]))
    if len(path) > 1:
        names = [array.type.field(i).name for i in range(array.type.num_fields)]
        array = pc.struct_field(array, [names.index(path[1])])
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):
        array = array.cast(pa.string())
    if str(array.type) in ("string_view", "binary_view"):
        array = array.cast(pa.large_string() if str(array.type) == "string_view" else pa.large_binary())
    return array


def _values(array: pyarrow.Array) -> tuple[list[str | None], dict[int, str]]:
    """Return the strings of an array, None where there is none, and the reason by row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    faults: dict[int, str] = {}
    lengths = pc.binary_length(array)
    if (pc.max(lengths).as_py() or 0) > MAX_SIDE_BYTES:
        over = pc.greater(lengths, MAX_SIDE_BYTES).fill_null(False)
        faults = {row: TOO_LONG for row, is_over in enumerate(over.to_pylist()) if is_over}
        array = pc.if_else(over, pa.scalar(None, array.type), array)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        try:
            return array.to_numpy(zero_copy_only=False).tolist(), faults
        except (UnicodeDecodeError, pa.ArrowException):
            pass  # Parquet files may hold bytes that are not UTF-8; which rows, is seen one by one
    values: list[str | None] = []
    for row, stored in enumerate(array.cast(pa.large_binary()).to_pylist()):
        try:
            values.append(None if stored is None else stored.decode())
        except UnicodeDecodeError:
            values.append(None)
            faults[row] = BROKEN_CHARACTERS
    return values, faults


_TEXT = ("string", "large_string", "binary", "large_binary", "null", "string_view", "binary_view")


_FILE_MAGIC = b"ARROW1"  # of the format with an index at its end; the other one is a stream


class ArrowSource(FileSource):
    """The rows of one file in Arrow's stream or file format, one record batch at a time; see ``PairSource``."""

    format = "datasets"

    def __init__(self, path: Path, language: str, columns: Columns | None = None) -> None:
        super().__init__(ByteInput(path), language, columns)
        self._path = path
        self._read = 0

    def __iter__(self) -> Iterator[RawPair]:
        import pyarrow as pa

        try:
            yield from self._rows()
        except FileNotFoundError:
            raise DataError(f"{self.name}: no such file; check the path, or save the dataset again") from None
        except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
            raise DataError(
                f"{self.name}: damaged, or no Arrow file ({one_line(error)[:200]}); fetch or save it again"
            ) from None

    def bytes_read(self) -> int:
        return self._read

    def _rows(self) -> Iterator[RawPair]:
        number = 1
        self._read = 0
        with self._path.open("rb") as raw, ExitStack() as stack:
            sides = None
            for batch in _batches(raw.read(len(_FILE_MAGIC)) == _FILE_MAGIC, self._path, stack):
                if sides is None:
                    sides = sides_in_schema(batch.schema, self.language, self._columns, self.name)
                # What Arrow reads it trusts: bounds in a damaged file would point anywhere.
                for path in sides:
                    batch.column(batch.schema.names.index(path[0])).validate(full=True)
                yield from pairs_in_batch(batch, sides, number)
                number += len(batch)
                self._read = min(self.size or 0, self._read + batch.nbytes)
        self._read = self.size or 0


def _batches(has_index: bool, path: Path, stack: ExitStack) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow as pa

    file = stack.enter_context(pa.OSFile(str(path)))
    if has_index:
        reader = stack.enter_context(pa.ipc.open_file(file))
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
    else:
        yield from stack.enter_context(pa.ipc.open_stream(file))


def saved_files(folder: Path) -> list[Path] | None:
    """Return the Arrow files of a dataset saved to ``folder``, in their order; None where it is none."""
    state = folder / "state.json"
    described = _described(state, lambda content: [file["filename"] for file in content["_data_files"]])
    if described is None:
        return None
    names, content = described
    if content.get("_indices_data_files"):
        raise DataError(f"{state}: a selection of rows; save it with flatten_indices() first")
    return [folder / name for name in names]


def saved_splits(folder: Path) -> list[str] | None:
    """Return the names of the splits of datasets saved together to ``folder``; None where it is none of these."""
    described = _described(folder / "dataset_dict.json", lambda content: content["splits"])
    return described and described[0]


def _described(path: Path, names_in: Callable[[Any], Any]) -> tuple[list[str], dict[str, Any]] | None:
    """Return the names in a folder that a file in it lists, and all that it holds; None where there is no such file."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = names_in(content)
        if not names or not isinstance(names, list) or not all(Path(name).name == name for name in names):
            raise ValueError("it names nothing in this folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: damaged ({one_line(error)[:120]}); save the dataset again") from None
    return names, content


MAGIC = b"PAR1"

_ROWS = 4096  # that are read at once, fewer where they are long
_BATCH_BYTES = 16 << 20
_BUFFER = 1 << 20  # of a column's bytes; without it, a row group's column is held whole


class ParquetSource(FileSource):
    """The rows of a Parquet file; see ``PairSource``. Only the two columns are read, some thousand rows at once.

    A compressed file, a URL or standard input is first copied to a temporary file. ``columns`` are two positions from
    1, or two headings such as ``translation.sw``; by default the headings decide, as in ``TableSource``.
    """

    format = "parquet"

    def __init__(self, source: ByteInput, language: str, columns: Columns | None = None) -> None:
        super().__init__(source, language, columns)
        self._share_read = 0.0

    def __iter__(self) -> Iterator[RawPair]:
        import pyarrow as pa

        self._share_read = 0.0
        try:
            with ExitStack() as stack:
                yield from self._rows(self._opened(stack))
        except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
            raise DataError(
                f"{self.name}: damaged, or no Parquet file ({one_line(error)[:200]}); fetch it again"
            ) from None

    def bytes_read(self) -> int:
        return round(self._share_read * (self.size or 0))

    def _opened(self, stack: ExitStack) -> pyarrow.parquet.ParquetFile:
        from pyarrow.parquet import ParquetFile

        options: dict[str, Any] = {"buffer_size": _BUFFER, "pre_buffer": False, "memory_map": False}
        with self._source.opened() as stream:
            start = stream.read(len(MAGIC))
            if start != MAGIC:
                fault = "is empty" if not start else "does not begin as Parquet files do"
                raise DataError(f"{self.name}: {fault}; give a Parquet file, or name its format")
            if self._source.as_stored:
                path = str(self._source.path)
            else:
                temporary = tempfile.NamedTemporaryFile(prefix="kivuko-", suffix=".parquet")  # noqa: SIM115, the stack's
                unpacked = stack.enter_context(temporary)
                unpacked.write(start)
                while part := stream.read(_BUFFER):
                    unpacked.write(part)
                unpacked.flush()
                path = unpacked.name
        return stack.enter_context(ParquetFile(path, **options))

    def _rows(self, file: pyarrow.parquet.ParquetFile) -> Iterator[RawPair]:
        sides = sides_in_schema(file.schema_arrow, self.language, self._columns, self.name)
        names = list(dict.fromkeys(path[0] for path in sides))
        rows, number = file.metadata.num_rows, 1
        for batch in file.iter_batches(batch_size=_batch_size(file), columns=names, use_threads=False):
            yield from pairs_in_batch(batch, sides, number)
            number += len(batch)
            self._share_read = min(1.0, (number - 1) / max(1, rows))
        self._share_read = 1.0


def _batch_size(file: pyarrow.parquet.ParquetFile) -> int:
    """Return rows that take at most about ``_BATCH_BYTES`` in every row group, all columns counted."""
    # No figures of single columns: pyarrow ends the whole process where a damaged file has wrong ones.
    size = _ROWS
    for index in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(index)
        size = min(size, max(1, _BATCH_BYTES * max(1, group.num_rows) // max(1, group.total_byte_size)))
    return size


PREFIX = "hf:"

_HUB_ROWS = 1000
_SPLITS = ("train", "validation", "test", "dev")
# Kinds of files that the library reads as data; others it may unpickle (pandas) or decode as media.
_KINDS = ("arrow", "csv", "json", "parquet", "text", "sql")


class HubSource:
    """The rows of a dataset on the hub, ``hf:NAME[:CONFIG][:SPLIT]``; see ``PairSource``. Places are row numbers."""

    format = "datasets"

    def __init__(self, spec: str, language: str, columns: Columns | None = None) -> None:
        if columns is not None:
            check_columns(columns)
        self.name, self.language = spec, language
        self.size: int | None = None
        self._dataset, self._config, self._split = _parts(spec)
        self._columns = columns
        try:
            import datasets  # noqa: F401
        except ImportError:
            raise MissingDependencyError(f"{spec} needs datasets: pip install 'kivuko[data]'") from None

    def __iter__(self) -> Iterator[RawPair]:
        try:
            yield from self._rows()
        except KivukoError:
            raise
        except Exception as error:  # the library and its dependencies raise errors of every kind
            raise DataError(
                f"{self.name}: cannot be read ({one_line(error)[:240]}); check the name and the network, or download "
                f"its files and give their folder"
            ) from None

    def place(self, number: int) -> str:
        return f"{self.name}:{number}"

    def bytes_read(self) -> int:
        return 0

    def _rows(self) -> Iterator[RawPair]:
        number, sides = 1, None
        for table in self._stream().iter(batch_size=_HUB_ROWS):
            for batch in table.to_batches():
                if sides is None:
                    sides = sides_in_schema(batch.schema, self.language, self._columns, self.name)
                yield from pairs_in_batch(batch, sides, number)
                number += len(batch)

    def _stream(self) -> Any:
        import datasets

        with _without_retries():
            builder = datasets.load_dataset_builder(self._dataset, self._config)
        kind = type(builder).__module__.split(".")
        if "packaged_modules" not in kind or kind[-1] not in _KINDS:
            raise DataError(
                f"{self.name}: holds {kind[-1]} files, which are not read; give one of {', '.join(_KINDS[:4])}"
            )
        if builder.info.splits and self._split not in builder.info.splits:
            raise DataError(
                f"{self.name}: has no split {self._split}, but: {', '.join(builder.info.splits)}; name one of them"
            )
        return builder.as_streaming_dataset(split=self._split).with_format("arrow")


@contextmanager
def _without_retries() -> Iterator[None]:
    """Keep the hub's library from logging each try where there is no network: one error follows."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _parts(spec: str) -> tuple[str, str | None, str]:
    name, *rest = spec.removeprefix(PREFIX).split(":")
    if not name or len(rest) > 2 or not all(rest):
        raise UsageError(f"{spec}: give hf:NAME, hf:NAME:CONFIG or hf:NAME:CONFIG:SPLIT")
    if len(rest) == 2:
        return name, rest[0], rest[1]
    if rest and rest[0] in _SPLITS:
        return name, None, rest[0]
    return name, rest[0] if rest else None, "train"
