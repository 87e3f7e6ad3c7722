"""Records, the source of truth: each figure, its condition and its interval."""

import functools
import json
import math
import operator
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from glob import escape
from importlib import metadata
from pathlib import Path
from types import UnionType
from typing import Any, NoReturn, get_args, get_origin

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import CorruptFileError, DataError, KivukoError, MissingDependencyError, at, unreadable
from kivuko.evaluation.statistics import Interval, check_values
from kivuko.files import atomic_path, refuse_unwritable
from kivuko.progress import note
from kivuko.streams import byte_stream, open_compressed, plain_name

_REPORTED_PACKAGES = ("kivuko", "torch", "transformers", "sentence-transformers", "ir_measures", "numpy")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """The condition that one score matrix was measured under."""

    dataset: str
    split: str
    model: str
    objective: str
    bitext_size: int | None = None  # sentence pairs per language (rounded mean); None: no bitext
    seed: int | None = None  # of the training; None: untrained, or a mean over seeds
    attack: str | None = None  # None: clean
    budget: float | None = None  # a radius on the pixel scale 0-1, a number of edits, or a severity
    scoring: str = "cosine"  # of one vector each; "maxsim": of several


@dataclass(frozen=True, kw_only=True)
class Record(Condition):
    """One number with its 95 % interval; one line of a records file. DataError for a field of the wrong type."""

    subset: str  # of the queries; "all" being all of them
    language: str  # BCP-47 code, or a group's name such as "low-resource"
    measure: str
    value: float
    low: float
    high: float
    queries: int  # number of them

    def __post_init__(self) -> None:
        if problem := wrong_field(vars(self), Record):
            raise DataError(f"record of {self.measure!r} in {self.language!r}: {problem}")


@dataclass(frozen=True, kw_only=True)
class Header:
    """The origin of the records of one file."""

    command: str
    protocol: Mapping[str, Any]  # what the numbers mean (gallery size, tie handling), as JSON values
    seeds: Sequence[int] = ()
    versions: Mapping[str, str] = field(default_factory=lambda: current_versions())
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))  # ISO 8601


def current_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape a number, and Kivuko's commit, without imports."""
    versions = {"python": platform.python_version()} | ({"commit": commit} if (commit := _commit()) else {})
    for package in _REPORTED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


@functools.cache
def _commit() -> str:
    """Return ``git describe`` of the checkout that this package runs from; empty for an installed one."""
    checkout = Path(__file__).parents[3]
    if not (checkout / ".git").exists() or not (checkout / "pyproject.toml").is_file():
        return ""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--tags", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


_KINDS: Mapping[Any, tuple[str, type | tuple[type, ...]]] = {
    str: ("text", str),
    int: ("a whole number", int),
    float: ("a finite number", (int, float)),
    Mapping: ("an object", dict),
    Sequence: ("a list", (list, tuple)),
}


@functools.cache
def _types(kind: Any) -> list[tuple[str, bool, str, Any]]:
    """Return (name, whether None is allowed, the type in words, the types) of each field."""
    rows = []
    for item in fields(kind):
        optional = isinstance(item.type, UnionType)
        of = get_args(item.type)[0] if optional else get_origin(item.type) or item.type
        rows.append((item.name, optional, *_KINDS[of]))
    return rows


def wrong_field(values: Mapping[str, Any], kind: Any) -> str | None:
    """Return the problem of the first value that does not have the type of its field, or None."""
    types = _types(kind)
    for name, optional, words, allowed in types:
        if name not in values:
            return f"field {name!r} is missing"
        value = values[name]
        if value is None and optional:
            continue
        # bool is an int to Python, and a NaN a float; neither is a number here.
        fits = isinstance(value, allowed) and not isinstance(value, bool)
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            return f"field {name!r} is {value!r}; it must be {words}"
    if unknown := set(values) - {name for name, *_ in types}:
        return f"field {min(unknown)!r} is not known"
    return None


_LEAST = {"queries": 1, "bitext_size": 0, "seed": 0, "budget": 0}
# Measures are shares, but for these; a user's own measure, which neither names, may have any value.
_RANGES = {"parity": (0, math.inf), "robustness ratio": (0, math.inf), "calls": (0, math.inf), "accuracy_drop": (-1, 1)}
_SHARE = re.compile(
    r"(AP|MAP|RR|MRR|P|R|Success|nDCG|IPrec|SetP|SetR|SetF|Bpref|Rprec|infAP|Judged)(\([^)]*\))?(@[\d.]+)?"
    "|target_first|success_of_correct|area of MAP"
)
_ROUNDING = 1e-9


@functools.lru_cache(maxsize=1000)
def _range(measure: str) -> tuple[float, float]:
    """Return the smallest and largest value that a measure can have."""
    return _RANGES.get(measure) or ((0, 1) if _SHARE.fullmatch(measure) else (-math.inf, math.inf))


def _impossible(record: Record) -> str | None:
    """Return what no measurement gives: a negative count, a value out of its range or outside its interval."""
    for name, least in _LEAST.items():
        if (count := getattr(record, name)) is not None and count < least:
            return f"field {name!r} is {count}; it must be at least {least}"
    if record.attack is None and record.budget is not None:
        return f"field 'budget' is {record.budget:g} without an attack"
    low, high = _range(record.measure)
    if not low - _ROUNDING <= record.value <= high + _ROUNDING:
        limits = f"at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
        return f"field 'value' is {record.value:g}; {record.measure} is {limits}"
    slack = _ROUNDING * max(1.0, abs(record.value))
    if not record.low - slack <= record.value <= record.high + slack:
        return f"the value {record.value:g} is outside its interval [{record.low:g}, {record.high:g}]"
    return None


def record_of(
    condition: Condition, interval: Interval, queries: int, *, subset: str, language: str, measure: str
) -> Record:
    return Record(
        **asdict(condition), subset=subset, language=language, measure=measure, value=interval.mean, low=interval.low,
        high=interval.high, queries=queries,
    )  # fmt: skip


def data_frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return a ``pandas.DataFrame``."""
    try:
        import pandas
    except ImportError as problem:
        raise MissingDependencyError("to_pandas needs pandas: pip install pandas") from problem
    return pandas.DataFrame(rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class PerQueryScores:
    """One measure of one condition, query by query; DataError for lengths that differ or a value that is not finite.

    ``clusters``: a name per query; queries of one cluster, in any language, depend on each other. None: independent.
    """

    condition: Condition
    language: str
    subset: str
    measure: str
    query_ids: Sequence[str]
    values: NDArray[np.float64]  # [queries], finite
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
    return file_beside(records_path, ".per_query.parquet")


def file_beside(records_path: Path | str, suffix: str) -> Path:
    """Return the file beside a records file, compressed or not, that differs from it in its ending."""
    path = Path(records_path)
    return path.with_name(Path(plain_name(path.name)).stem + suffix)


def read_results(path: Path | str) -> tuple[list[Record], Header, list[PerQueryScores]]:
    """Read a records file, and the per-query scores beside it if they are there."""
    header, records = read_records(path)
    return records, header, read_per_query(path) if per_query_path(path).is_file() else []


def read_per_query(records_path: Path | str) -> list[PerQueryScores]:
    """Read the per-query scores beside a records file, in the order they were written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = per_query_path(records_path)
    if not path.is_file():
        raise DataError(f"{path}: there are no per-query scores; run the evaluation again to write them")
    with refuse_damaged(path, "per-query scores"):
        # Read as codes: as strings, the constant columns of a study's millions of rows would take gigabytes.
        words = [name for name, kind in _columns().items() if kind == pa.string()]
        table = _completed(pq.read_table(path, read_dictionary=words)).select(list(_columns())).unify_dictionaries()
        names = {column: _Names(table[column]) for column in ("query_id", "cluster")}
        return [
            _scores(table.slice(start, 1), table["value"], names, start, length) for start, length in _blocks(table)
        ]


@contextmanager
def refuse_damaged(path: Path, what: str) -> Iterator[None]:
    """Turn what reading a damaged Parquet file raises into one line."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError, DataError) as problem:
        message = f"{path}: the {what} are damaged; run the command that wrote them again"
        raise unreadable(path, problem, message) from problem


def write_per_query_table(path: Path, scores: Sequence[PerQueryScores]) -> None:
    """Write the scores as one Parquet table, a row per query; not atomic by itself."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(list(_columns().items()))
    tables = [schema.empty_table()]
    for block in scores:
        count = len(block.values)
        constant = {"language": block.language, "subset": block.subset, "measure": block.measure}
        columns = {
            name: pa.repeat(pa.scalar(value, type=schema.field(name).type), count)
            for name, value in {**constant, **asdict(block.condition)}.items()
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
    """Add the columns that older files lack."""
    import pyarrow as pa

    for name, value in (("scoring", "cosine"), ("cluster", None)):
        if name not in table.column_names:
            column = pa.repeat(pa.scalar(value, type=pa.string()), table.num_rows)
            table = table.append_column(name, column)
    return table


def _blocks(table: Any) -> list[tuple[int, int]]:
    """Return (offset, length) of each block: where a column that is constant within a block changes."""
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
    """Return a number for each value, -1 for null, and the values that the numbers denote."""
    import pyarrow as pa

    array = column.combine_chunks()
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    codes = array.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return codes, array.dictionary.to_pylist()


class _Names:
    """A column of names; blocks with the same names, as of a study's repeated queries, share one list."""

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
        language=first["language"], subset=first["subset"], measure=first["measure"], query_ids=ids,
        values=values.slice(start, length).to_numpy(), clusters=names["cluster"].of(start, length),
    )  # fmt: skip


FORMAT = 2
_ADDED = {"scoring": "cosine"}  # what format 1 lacks, and what it meant
_LONGEST_LINE, _LONGEST_HEADER = 1 << 16, 1 << 26  # bytes
_REMEDY = "the file is damaged, or holds no records; name a file that evaluate, attack or study wrote"


def write_records(
    path: Path | str,
    header: Header,
    records: Sequence[Record],
    per_query: Sequence[PerQueryScores] | None = None,
) -> None:
    """Write a records file and, beside it, the per-query scores that it summarizes, whole or not at all.

    A name that ends in .gz or .zst is compressed.
    The header line counts the records, so a file cut between two lines is noticed too. Without ``per_query`` an older
    per-query file beside ``path`` is removed, since its scores would belong to other records.
    """
    path = Path(path)
    lines = [_line("header", asdict(header), format=FORMAT, records=len(records))]
    lines += [_line("record", asdict(record)) for record in records]
    scores_path = per_query_path(path)
    try:
        with atomic_path(path) as temporary:
            with open_compressed(temporary, path.suffix) as stream:
                stream.write("".join(lines).encode())
            # Nested, so that neither file takes its place before both are complete.
            if per_query is not None:
                with atomic_path(scores_path) as temporary_scores:
                    write_per_query_table(temporary_scores, per_query)
        if per_query is None:
            scores_path.unlink(missing_ok=True)
    except OSError as problem:
        reason = problem.strerror or problem
        raise KivukoError(f"{path}: cannot be written ({reason}). Choose another place.") from problem


def save_results(path: Path, header: Header, records: Sequence[Record], per_query: Sequence[PerQueryScores]) -> None:
    """Write records and per-query scores; an earlier run's with other results are renamed, and a note says so."""
    refuse_unwritable(path)
    if path.is_file():
        _keep_earlier(path, records)
    write_records(path, header, records, per_query)


def _keep_earlier(path: Path, records: Sequence[Record]) -> None:
    """Put the time of the earlier run into the names of its records, per-query scores, examples and TREC runs."""
    try:
        header, earlier = read_records(path)
        if earlier == list(records):
            return
        stamp = "".join(character for character in header.created if character.isalnum())[:15]
    except KivukoError:  # damaged, or no records at all: kept too
        stamp = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y%m%dT%H%M%S")
    stem, number = f"{path.stem}-{stamp}", 1
    while (kept := path.with_name(f"{stem}{path.suffix}")).exists():
        number += 1
        stem = f"{path.stem}-{stamp}-{number}"
    for suffix in (".per_query.parquet", ".examples.parquet"):
        if (beside := path.with_name(f"{path.stem}{suffix}")).is_file():
            beside.rename(path.with_name(f"{stem}{suffix}"))
    for run in path.parent.glob(f"{escape(path.stem)}.*.run"):
        run.rename(path.with_name(f"{stem}{run.name[len(path.stem) :]}"))
    path.rename(kept)
    note(f"note: {path} held the results of another run; they are kept as {kept}.")


def read_records(path: Path | str) -> tuple[Header, list[Record]]:
    """Read a records file, compressed or not; CorruptFileError names ``path:line`` of what is cut or impossible."""
    path = Path(path)
    records: list[Record] = []
    lines_of: dict[int, int] = {}  # hash of a condition -> the record's place
    known: dict[str, str] = {}  # names, of which there are few: each is kept once
    with byte_stream(path) as stream:
        # Only b"\n" ends a line: text streams would also break at separators inside JSON strings.
        first = stream.readline(_LONGEST_HEADER)
        if not first:
            _corrupt(path, 1, "the file is empty")
        header, promised, added = _header(path, first)
        line, number = first, 1
        while following := stream.readline(_LONGEST_LINE):
            line, number = following, number + 1
            record = _record(path, number, line, added, known)
            place = lines_of.setdefault(hash(_identity(record)), len(records))
            if place < len(records) and _identity(records[place]) == _identity(record):
                what = "the same record as" if records[place] == record else "contradicts"
                _corrupt(path, number, f"{what} line {place + 2}, of one condition, language and measure")
            records.append(record)
    if not line.endswith(b"\n"):
        _corrupt(path, number, "the line is cut short")
    if len(records) != promised:
        _corrupt(path, number, f"the header promises {promised} records, the file holds {len(records)}")
    return header, records


_identity = operator.attrgetter(*(item.name for item in fields(Condition)), "subset", "language", "measure")


def _line(kind: str, fields: dict[str, Any], **first: Any) -> str:
    try:
        return json.dumps({"kind": kind, **first, **fields}, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as problem:
        raise DataError(f"the {kind} cannot be written as JSON ({problem}); use plain finite values") from problem


def _header(path: Path, line: bytes) -> tuple[Header, int, Mapping[str, Any]]:
    """Return the header, the number of records it promises, and the fields to add to each of them."""
    fields = _fields(path, 1, line, "header")
    version = fields.pop("format", None)
    if version not in (1, FORMAT) or isinstance(version, bool):
        raise DataError(
            f"{at(path, 1)}: records of format {version!r}, but this Kivuko reads formats 1 and {FORMAT}; "
            "use the version that wrote them, or run the command again"
        )
    promised = fields.pop("records", None)
    if not isinstance(promised, int) or isinstance(promised, bool) or promised < 0:
        _corrupt(path, 1, f"field 'records' is {promised!r}; it must be a whole number")
    _check(path, 1, fields, Header)
    return Header(**{**fields, "seeds": tuple(fields["seeds"])}), promised, _ADDED if version == 1 else {}


def _record(path: Path, number: int, line: bytes, added: Mapping[str, Any], known: dict[str, str]) -> Record:
    values = {**added, **_fields(path, number, line, "record")}
    for name, value in values.items():
        if isinstance(value, str):
            values[name] = known.setdefault(value, value)
    try:
        record = Record(**values)
    except (DataError, TypeError):
        _check(path, number, values, Record)
        raise
    if problem := _impossible(record):
        _corrupt(path, number, problem)
    return record


def _fields(path: Path, number: int, line: bytes, kind: str) -> dict[str, Any]:
    try:
        fields = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        _corrupt(path, number, "not a line of JSON")
    if not isinstance(fields, dict) or fields.pop("kind", None) != kind:
        _corrupt(path, number, f"not a {kind} line")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check(path: Path, number: int, values: dict[str, Any], kind: type[Record | Header]) -> None:
    if problem := wrong_field(values, kind):
        _corrupt(path, number, problem)


def _corrupt(path: Path, number: int, problem: str) -> NoReturn:
    raise CorruptFileError(f"{at(path, number)}: {problem}; {_REMEDY}")
