"""Per-query scores beside the records, as Parquet: what intervals and tests are computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import CorruptFileError, DataError
from kivuko.evaluation.intervals import check_values
from kivuko.evaluation.records import Condition


@dataclass(frozen=True, kw_only=True, eq=False)
class PerQueryScores:
    """One measure of one condition, query by query.

    ``values`` is float64 [queries], finite; ``query_ids`` names them in the same order. ``clusters`` names, per query,
    what it asks for: queries of one cluster, in whatever language, stand or fall together. None: each by itself.

    Raises:
        DataError: lengths that differ, no query, or a value that is not finite.
    """

    condition: Condition
    language: str
    subset: str
    measure: str
    query_ids: Sequence[str]
    values: NDArray[np.float64]
    clusters: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if len(self.query_ids) != len(check_values(self.values)):
            raise DataError(
                f"{self.measure} in {self.language!r}: {len(self.query_ids)} query ids for "
                f"{len(self.values)} values; give one id per value"
            )
        if self.clusters is not None and len(self.clusters) != len(self.values):
            raise DataError(f"{self.measure} in {self.language!r}: give one cluster per value, or none at all")


def per_query_path(records_path: Path | str) -> Path:
    """Return where the per-query scores of a records file lie: ``records.per_query.parquet``."""
    path = Path(records_path)
    return path.with_name(f"{path.stem}.per_query.parquet")


def read_per_query(records_path: Path | str) -> list[PerQueryScores]:
    """Read the per-query scores that lie beside a records file, in the order they were written.

    Raises:
        DataError: there is no such file.
        CorruptFileError: it is not the Parquet file that was written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = per_query_path(records_path)
    if not path.is_file():
        raise DataError(f"{path}: there are no per-query scores; run the evaluation again to write them")
    try:
        # Read as codes: as strings, the constant columns of a study's millions of rows would take gigabytes.
        words = [name for name, kind in _columns().items() if kind == pa.string()]
        table = _completed(pq.read_table(path, read_dictionary=words)).select(list(_columns())).unify_dictionaries()
        names = {column: _Names(table[column]) for column in ("query_id", "cluster")}
        return [
            _scores(table.slice(start, 1), table["value"], names, start, length) for start, length in _blocks(table)
        ]
    except (pa.ArrowException, OSError, ValueError, KeyError, DataError) as problem:
        raise CorruptFileError(
            f"{path}: the per-query scores are damaged; run the command that wrote them again"
        ) from problem


def write_per_query_table(path: Path, scores: Sequence[PerQueryScores]) -> None:
    """Write the scores as one Parquet table, a row per query, at ``path`` as it is.

    Columns: language, subset, measure, those of ``Condition``, query_id, cluster, value. Not atomic by itself:
    ``write_records`` gives it a temporary path.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(list(_columns().items()))
    tables = [schema.empty_table()]
    for block in scores:
        constant = _key(block)
        count = len(block.values)
        columns = {
            name: pa.repeat(pa.scalar(value, type=schema.field(name).type), count) for name, value in constant.items()
        }
        columns["query_id"] = pa.array(block.query_ids, type=pa.string())
        columns["cluster"] = (
            pa.array(block.clusters, type=pa.string()) if block.clusters else pa.nulls(count, pa.string())
        )
        columns["value"] = pa.array(block.values, type=pa.float64())
        tables.append(pa.table(columns, schema=schema))
    pq.write_table(pa.concat_tables(tables), path, compression="zstd")


_PER_ROW = ("query_id", "cluster", "value")  # the last columns; the others are the same all through a block


def _columns() -> dict[str, Any]:
    import pyarrow as pa

    numbers = {"bitext_size": pa.int64(), "seed": pa.int64(), "budget": pa.float64()}
    condition = {item.name: numbers.get(item.name, pa.string()) for item in fields(Condition)}
    text = {name: pa.string() for name in ("language", "subset", "measure")}
    return {**text, **condition, "query_id": pa.string(), "cluster": pa.string(), "value": pa.float64()}


def _completed(table: Any) -> Any:
    """Add the columns that older files lack, with what they meant."""
    import pyarrow as pa

    for name, value in (("scoring", "cosine"), ("cluster", None)):
        if name not in table.column_names:
            column = pa.repeat(pa.scalar(value, type=pa.string()), table.num_rows)
            table = table.append_column(name, column)
    return table


def _key(block: PerQueryScores) -> dict[str, Any]:
    names = {"language": block.language, "subset": block.subset, "measure": block.measure}
    return {**names, **asdict(block.condition)}


def _blocks(table: Any) -> list[tuple[int, int]]:
    """Split the table where a column that is constant within a block changes: (offset, length) of each block."""
    if not table.num_rows:
        return []
    changes = np.zeros(table.num_rows, dtype=np.bool_)
    changes[0] = True
    for name in table.column_names[: -len(_PER_ROW)]:
        changes[1:] |= np.diff(_codes(table[name])[0]) != 0
    starts = np.flatnonzero(changes)
    lengths = np.diff(np.append(starts, table.num_rows))
    return list(zip(starts.tolist(), lengths.tolist(), strict=True))


def _codes(column: Any) -> tuple[NDArray[np.int64], list[Any]]:
    """Return a number for each value, -1 for null, and the values that the numbers stand for."""
    import pyarrow as pa

    array = column.combine_chunks()
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    codes = array.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return codes, array.dictionary.to_pylist()


class _Names:
    """A column of names. A study asks the same queries again and again: blocks with the same names share one list."""

    def __init__(self, column: Any) -> None:
        self._codes, self._words = _codes(column)
        self._known: dict[bytes, list[str] | None] = {}

    def of(self, start: int, length: int) -> list[str] | None:
        """Return the names of these rows; None where one is null."""
        codes = self._codes[start : start + length]
        key = codes.tobytes()
        if key not in self._known:
            self._known[key] = None if (codes < 0).any() else [self._words[code] for code in codes.tolist()]
        return self._known[key]


def _scores(row: Any, values: Any, names: Mapping[str, _Names], start: int, length: int) -> PerQueryScores:
    first = row.to_pylist()[0]
    ids = names["query_id"].of(start, length)
    if ids is None:
        raise ValueError("a query has no id")
    return PerQueryScores(
        condition=Condition(**{item.name: first[item.name] for item in fields(Condition)}),
        language=first["language"],
        subset=first["subset"],
        measure=first["measure"],
        query_ids=ids,
        values=values.slice(start, length).to_numpy(),
        clusters=names["cluster"].of(start, length),
    )
