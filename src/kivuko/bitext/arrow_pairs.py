"""Pairs out of Arrow tables: what Parquet files and saved datasets are read as, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kivuko.bitext.raw_pair import BROKEN_TEXT, EMPTY_SIDE, MAX_SIDE_BYTES, TOO_LONG, RawPair
from kivuko.bitext.record_columns import Path, Sides, sides_of
from kivuko.errors import DataError

if TYPE_CHECKING:
    import pyarrow

_SLICE_BYTES = 32 << 20  # of text that becomes Python strings at once


def sides_in_schema(
    schema: pyarrow.Schema, language: str, columns: tuple[int, int] | tuple[str, str] | None, name: str
) -> Sides:
    """Find the two sides among a table's columns and the fields of its structs.

    Raises:
        DataError: they are not there, or do not hold text; the message lists what is there.
    """
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
        if not _is_text(kind):
            raise DataError(f"{name}: column {'.'.join(path)} holds {kind}, not text; name other columns")
    return sides


def pairs_in_batch(batch: pyarrow.RecordBatch, sides: Sides, number: int) -> Iterator[RawPair]:
    """Yield the rows of a batch whose first one has the given number."""
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


def _column(batch: pyarrow.RecordBatch, path: Path) -> pyarrow.Array:
    """The column at a path, as an array of strings or bytes; null where a struct around it is."""
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
    if _is_view(array.type):
        array = array.cast(pa.large_string() if str(array.type).startswith("string") else pa.large_binary())
    return array


def _values(array: pyarrow.Array) -> tuple[list[str | None], dict[int, str]]:
    """The strings of an array, None where there is none to be had, and the reason by row."""
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
            faults[row] = BROKEN_TEXT
    return values, faults


def _is_text(kind: pyarrow.DataType) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    plain = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary, types.is_null)
    return any(test(kind) for test in plain) or _is_view(kind)


def _is_view(kind: pyarrow.DataType) -> bool:
    return str(kind) in ("string_view", "binary_view")
