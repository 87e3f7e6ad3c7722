"""Bitext from Parquet files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from kivuko.bitext.arrow_pairs import pairs_in_batch, sides_in_schema
from kivuko.bitext.byte_input import ByteInput
from kivuko.bitext.columns import check_columns
from kivuko.bitext.raw_pair import RawPair
from kivuko.errors import DataError, at

if TYPE_CHECKING:
    import pyarrow.parquet

MAGIC = b"PAR1"

_ROWS = 4096  # that are read at once, fewer where they are long
_BATCH_BYTES = 16 << 20
_BUFFER = 1 << 20  # of a column's bytes; without it, a row group's column is held whole


class ParquetSource:
    """The rows of a Parquet file; see ``PairSource``. Only the two columns are read, some thousand rows at a time.

    Args:
        source: the file. One that is compressed from outside, or standard input, is unpacked to a temporary file
            first, since Parquet is read from its end.
        language: normalised BCP 47 code.
        columns: two positions from 1, or two headings; ``translation.sw`` is the field ``sw`` of the struct
            ``translation``. By default the headings decide, as in a table (``TsvSource``), or the fields of a struct.

    Raises:
        UsageError: ``columns`` that make no sense.
    """

    format = "parquet"

    def __init__(
        self, source: ByteInput, language: str, columns: tuple[int, int] | tuple[str, str] | None = None
    ) -> None:
        if columns is not None:
            check_columns(columns)
        self.name, self.language, self.size = source.name, language, source.size
        self._source, self._columns = source, columns
        self._share_read = 0.0

    def __iter__(self) -> Iterator[RawPair]:
        import pyarrow as pa

        self._share_read = 0.0
        try:
            with ExitStack() as stack:
                yield from self._rows(self._opened(stack))
        except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
            words = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{self.name}: damaged, or no Parquet file ({words[:200]}); fetch it again") from None

    def place(self, number: int) -> str:
        return at(self.name, number)

    def bytes_read(self) -> int:
        return round(self._share_read * (self.size or 0))

    def _opened(self, stack: ExitStack) -> pyarrow.parquet.ParquetFile:
        from pyarrow.parquet import ParquetFile

        options: dict[str, Any] = {"buffer_size": _BUFFER, "pre_buffer": False, "memory_map": False}
        with self._source.opened() as stream:
            start = stream.read(len(MAGIC))
            if start != MAGIC:
                found = "is empty" if not start else "does not begin as Parquet files do"
                raise DataError(f"{self.name}: {found}; give a Parquet file, or say which format it has")
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
    """Rows that come to at most about ``_BATCH_BYTES`` in every row group, all columns counted."""
    # No figures of single columns: pyarrow ends the whole process where a damaged file has wrong ones.
    size = _ROWS
    for index in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(index)
        size = min(size, max(1, _BATCH_BYTES * max(1, group.num_rows) // max(1, group.total_byte_size)))
    return size
