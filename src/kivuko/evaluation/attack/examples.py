"""Attacked examples, and the Parquet file that holds them next to a records file."""

import functools
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kivuko.errors import DataError
from kivuko.evaluation.records import Condition, file_beside, refuse_damaged
from kivuko.files import atomic_path
from kivuko.perturbations.edits import Edit, apply_edit

_PNG = b"\x89PNG\r\n\x1a\n"
_CONDITION = tuple(item.name for item in fields(Condition))
_EDIT = {item.name for item in fields(Edit)}
_OPTIONAL = ("linf", "l2", "seconds", "image_before", "image_after")


@dataclass(frozen=True, kw_only=True)
class AttackedExample:
    """One query under one attack; a value out of range, or edits that do not fit the texts, is a DataError."""

    condition: Condition  # its ``attack`` and ``budget`` name the attack
    language: str
    query_id: str
    query: str
    perturbed: str  # the query where only the image is attacked
    edits: tuple[Edit, ...] = ()  # in order, each against the text before it
    image_id: str  # of the right image
    linf: float | None = None  # size of the image's change on the pixel scale 0-1; None where it is not attacked
    l2: float | None = None
    rank_before: int  # of the right image, from 1
    rank_after: int
    calls: int = 0  # of the model
    seconds: float | None = None
    image_before: bytes | None = None  # PNG files, of a few examples only
    image_after: bytes | None = None

    def __post_init__(self) -> None:
        where = f"example {self.query_id!r} in {self.language!r}"
        if self.rank_before < 1 or self.rank_after < 1:
            raise DataError(f"{where}: ranks are {self.rank_before} and {self.rank_after}; they count from 1")
        for name, value in {"linf": self.linf, "l2": self.l2, "calls": self.calls, "seconds": self.seconds}.items():
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise DataError(f"{where}: {name} is {value}; it must be a finite number, not below 0")
        if any(image is not None and not image.startswith(_PNG) for image in (self.image_before, self.image_after)):
            raise DataError(f"{where}: an image is not a PNG file; write it as PNG")
        if self.edits and functools.reduce(apply_edit, self.edits, self.query) != self.perturbed:
            raise DataError(f"{where}: the edits do not lead from the query to the perturbed text; keep them in order")

    @property
    def reciprocal_rank_before(self) -> float:
        return 1 / self.rank_before

    @property
    def reciprocal_rank_after(self) -> float:
        return 1 / self.rank_after


def png(levels: NDArray[np.uint8]) -> bytes:
    """Return one image, uint8 [3, h, w], as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(levels.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def examples_path(records_path: Path | str) -> Path:
    """Return ``records.examples.parquet`` for ``records.jsonl``."""
    return file_beside(records_path, ".examples.parquet")


def write_examples(path: Path, examples: Sequence[AttackedExample]) -> None:
    """Write the examples, whole or not at all.

    The columns are the fields of ``Condition`` and ``AttackedExample`` and the reciprocal ranks; edits are JSON.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([_row(example) for example in examples], schema=pa.schema(list(_columns().items())))
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_examples(records_path: Path | str) -> list[AttackedExample]:
    """Read the examples next to a records file, in order; none where there is no such file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = examples_path(records_path)
    if not path.exists():
        return []
    with refuse_damaged(path, "attacked examples"):
        rows = pq.read_table(path).select(list(_columns())).cast(pa.schema(list(_columns().items()))).to_pylist()
        return [_example(row) for row in rows]


def _columns() -> dict[str, Any]:
    import pyarrow as pa

    kinds = {
        "bitext_size": pa.int64(), "seed": pa.int64(), "budget": pa.float64(), "linf": pa.float64(), "l2": pa.float64(),
        "rank_before": pa.int64(), "rank_after": pa.int64(), "reciprocal_rank_before": pa.float64(),
        "reciprocal_rank_after": pa.float64(), "calls": pa.int64(), "seconds": pa.float64(),
        "image_before": pa.binary(), "image_after": pa.binary(),
    }  # fmt: skip
    own = [item.name for item in fields(AttackedExample) if item.name != "condition"]
    place = own.index("rank_after") + 1
    names = [*_CONDITION, *own[:place], "reciprocal_rank_before", "reciprocal_rank_after", *own[place:]]
    return {name: kinds.get(name, pa.string()) for name in names}


def _row(example: AttackedExample) -> dict[str, Any]:
    own = {item.name: getattr(example, item.name) for item in fields(example) if item.name != "condition"}
    own["edits"] = json.dumps([asdict(edit) for edit in example.edits], ensure_ascii=False)
    reciprocal = {name: getattr(example, name) for name in ("reciprocal_rank_before", "reciprocal_rank_after")}
    return {**asdict(example.condition), **own, **reciprocal}


def _example(row: Mapping[str, Any]) -> AttackedExample:
    own = {item.name: row[item.name] for item in fields(AttackedExample) if item.name != "condition"}
    if missing := [name for name, value in own.items() if value is None and name not in _OPTIONAL]:
        raise ValueError(f"{missing[0]} is missing")
    example = AttackedExample(
        condition=Condition(**{name: row[name] for name in _CONDITION}), **{**own, "edits": _edits(row["edits"])}
    )
    if (example.reciprocal_rank_before, example.reciprocal_rank_after) != (
        row["reciprocal_rank_before"], row["reciprocal_rank_after"],
    ):  # fmt: skip
        raise ValueError("a reciprocal rank is not that of its rank")
    return example


def _edits(text: str) -> tuple[Edit, ...]:
    edits = json.loads(text)
    if not isinstance(edits, list) or not all(isinstance(one, dict) and set(one) == _EDIT for one in edits):
        raise ValueError("edits are not a list of edits")
    return tuple(Edit(**one) for one in edits)
