"""Bitext from Arrow files, as the ``datasets`` library saves them to disk; the library itself is not needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from kivuko.bitext.arrow_pairs import pairs_in_batch, sides_in_schema
from kivuko.bitext.columns import check_columns
from kivuko.bitext.raw_pair import RawPair
from kivuko.errors import DataError, at

if TYPE_CHECKING:
    import pyarrow

_FILE_MAGIC = b"ARROW1"  # of the format with an index at its end; the other one is a stream


class ArrowSource:
    """The rows of one Arrow file; see ``PairSource``. One record batch is in memory at a time.

    Args:
        path: a file in Arrow's stream or file format.
        language: normalised BCP 47 code.
        columns: as in ``ParquetSource``.

    Raises:
        UsageError: ``columns`` that make no sense.
    """

    format = "datasets"

    def __init__(self, path: Path, language: str, columns: tuple[int, int] | tuple[str, str] | None = None) -> None:
        if columns is not None:
            check_columns(columns)
        self.name, self.language = str(path), language
        self.size: int | None = path.stat().st_size if path.is_file() else None
        self._path, self._columns = path, columns
        self._read = 0

    def __iter__(self) -> Iterator[RawPair]:
        import pyarrow as pa

        try:
            yield from self._rows()
        except FileNotFoundError:
            raise DataError(f"{self.name}: no such file; check the path, or save the dataset again") from None
        except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
            words = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{self.name}: damaged, or no Arrow file ({words[:200]}); fetch or save it again") from None

    def place(self, number: int) -> str:
        return at(self.name, number)

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
    """Return the Arrow files of a dataset saved to ``folder``, in their order; None where it is none.

    Raises:
        DataError: its state is damaged, or it is the selection of rows of another dataset.
    """
    state = folder / "state.json"
    if not state.is_file():
        return None
    try:
        described = json.loads(state.read_text(encoding="utf-8"))
        names = [file["filename"] for file in described["_data_files"]]
        selected = described.get("_indices_data_files")
        if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise ValueError("it names no files in this folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{state}: damaged ({' '.join(str(error).split())[:120]}); save the dataset again") from None
    if selected:
        raise DataError(f"{state}: a selection of rows; save it with flatten_indices() first")
    return [folder / name for name in names]


def saved_splits(folder: Path) -> list[str] | None:
    """Return the names of the splits of datasets saved together to ``folder``; None where it is none of these.

    Raises:
        DataError: the list is damaged.
    """
    listed = folder / "dataset_dict.json"
    if not listed.is_file():
        return None
    try:
        splits = json.loads(listed.read_text(encoding="utf-8"))["splits"]
        if not isinstance(splits, list) or not all(isinstance(one, str) and Path(one).name == one for one in splits):
            raise ValueError("it names no splits")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{listed}: damaged ({' '.join(str(error).split())[:120]}); save the datasets again") from None
    return splits
