"""A gallery's index on disk: derived from its vectors, checked before it is used, made again where it does not fit.

``index/G.faiss`` is the index of generation G; ``index/G.json`` says what it was built from and holds its checksum.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kivuko.errors import CorruptFileError, KivukoError
from kivuko.files import sha256_of, write_text
from kivuko.gallery.index import AUTO, Ids, Index, IndexPlan, choose_index, new_index

if TYPE_CHECKING:
    from kivuko.gallery.faiss_index import FaissIndex
    from kivuko.gallery.store import GalleryStore

Progress = Callable[[int, int], None]  # vectors done, vectors in all
_FORMAT = 1
_BATCH = 16_384
_MOST_CHANGED = 0.2  # of the vectors: beyond it an index is built anew, as its cells no longer fit
FOLDER = "index"


@dataclass(frozen=True)
class _Saved:
    """One index file that is whole and of this gallery."""

    file: Path
    plan: IndexPlan
    trained_on: int


def open_index(store: GalleryStore, kind: str = AUTO, storage: str = AUTO, progress: Progress | None = None) -> Index:
    """Return the index of what a store shows: from its file, from the last generation's, or built and saved.

    Exact indexes in float32 and float16 are quick to build and not saved. Where the folder cannot be written, the
    index is built each time.

    Args:
        kind: "flat", "hnsw", "ivf", or "auto": what was saved for this generation, else what fits the size.
        storage: "float32", "float16", "int8" or "auto".
        progress: is told how far building is.

    Raises:
        UsageError: there is no such kind or storage.
        MissingDependencyError: the index needs the extra ``scale``.
        CorruptFileError: the gallery's vectors are damaged.
    """
    plan = choose_index(len(store), store.dim, kind, storage)
    file = index_file(store)
    saved = _checked(file, store, store.generation)
    if saved is not None and kind in (AUTO, saved.plan.kind) and storage in (AUTO, saved.plan.storage):
        with contextlib.suppress(CorruptFileError):
            found = _load(saved.file, mapped=True)
            if np.array_equal(found.ids(), store.ids()):
                return found
    tell = progress or (lambda _done, _total: None)
    trained_on = len(store)
    if (updated := _updated(store, plan, tell)) is not None:
        index, trained_on = updated
    else:
        index = build_index(store, plan, tell)
    if plan.kind != "flat":
        with contextlib.suppress(KivukoError, OSError):  # a folder that cannot be written, a full disk: it still serves
            _save(index, file, store, plan, trained_on)
            return _load(file, mapped=True)  # so that the memory that building took is given back
    return index


def index_file(store: GalleryStore) -> Path:
    """Return where the index of a store's generation lies."""
    return store.path / FOLDER / f"{store.generation}.faiss"


def build_index(store: GalleryStore, plan: IndexPlan, tell: Progress) -> Index:
    """Build an index from a gallery's vectors, in batches; IVF's cells are learnt from an even sample."""
    total = len(store)
    index = new_index(plan, store.dim, total)
    if plan.kind == "ivf" or plan.storage == "int8":
        from kivuko.gallery.faiss_index import FaissIndex

        assert isinstance(index, FaissIndex)
        _train(index, store, tell)
    done = 0
    for ids, vectors in store.vectors(_BATCH):
        index.add(ids, vectors)
        done += len(ids)
        tell(done, total)
    return index


def _train(index: FaissIndex, store: GalleryStore, tell: Progress) -> None:
    from kivuko.gallery.faiss_index import POINTS_PER_CELL, cells

    wanted = max(POINTS_PER_CELL * cells(len(store)), 10_000)
    step = max(1, len(store) // wanted)
    parts, first = [], 0
    for _, vectors in store.vectors(_BATCH):
        parts.append(vectors[(-first) % step :: step].copy())
        first += len(vectors)
    tell(0, len(store))
    index.train(np.concatenate(parts))


def _updated(store: GalleryStore, plan: IndexPlan, tell: Progress) -> tuple[Index, int] | None:
    """Return the last generation's index brought up to date, if there is one of the same plan and little has changed.

    With it goes the number of vectors that its cells were learnt on.
    """
    if plan.kind == "flat":
        return None
    # Of older ones nothing is taken: an id may stand for another picture since.
    earlier = store.generation - 1
    saved = _checked(store.path / FOLDER / f"{earlier}.faiss", store, earlier)
    if saved is None or saved.plan != plan or not 0.5 <= saved.trained_on / max(1, len(store)) <= 2:
        return None
    try:
        index = _load(saved.file, mapped=False)
    except CorruptFileError:
        return None
    gone = np.setdiff1d(index.ids(), store.ids(), assume_unique=True)
    come = np.setdiff1d(store.ids(), index.ids(), assume_unique=True)
    if max(len(gone) + len(come), index.dead + len(gone)) > _MOST_CHANGED * len(store):
        return None
    index.remove(gone)
    done = 0
    for ids, vectors in store.vectors(_BATCH):
        new = np.isin(ids, come, assume_unique=True)
        if new.any():
            index.add(ids[new], vectors[new])
        done += len(ids)
        tell(done, len(store))
    return index, saved.trained_on


def _load(file: Path, *, mapped: bool) -> FaissIndex:
    from kivuko.gallery.faiss_index import FaissIndex

    return FaissIndex.load(file, mapped=mapped)


def _save(index: Index, file: Path, store: GalleryStore, plan: IndexPlan, trained_on: int) -> None:
    """Write the index, then what it was built from, then remove those of generations before the last.

    Killed in between, it leaves an index whose checksum does not fit, which is never used.
    """
    index.save(file)
    told = {
        "format": _FORMAT, "kind": plan.kind, "storage": plan.storage, "trained_on": trained_on,
        "sha256": sha256_of(file), **_built_from(store, store.generation), "ids": _digest(index.ids()),
    }  # fmt: skip
    write_text(file.with_suffix(".json"), json.dumps(told, indent=1) + "\n")
    for other in file.parent.glob("*.faiss"):
        if other.stem.isdigit() and int(other.stem) < store.generation - 1:
            other.unlink(missing_ok=True)
            other.with_suffix(".json").unlink(missing_ok=True)


def _checked(file: Path, store: GalleryStore, generation: int) -> _Saved | None:
    """Return a saved index if it is whole and was built from this gallery's generation; else None."""
    try:
        told: dict[str, Any] = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        expected = {"format": _FORMAT, **_built_from(store, generation)}
        if any(told.get(name) != value for name, value in expected.items()):
            return None
        if generation == store.generation and told["ids"] != _digest(store.ids()):
            return None
        if sha256_of(file) != told["sha256"]:
            return None
        plan = IndexPlan(str(told["kind"]), str(told["storage"]))
        return _Saved(file, plan, int(told["trained_on"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _built_from(store: GalleryStore, generation: int) -> dict[str, Any]:
    """Say of which gallery, model and generation; a picture's id always stands for the same vector within them."""
    return {
        "gallery": store.meta["identity"], "fingerprint": store.fingerprint, "dim": store.dim, "generation": generation,
    }  # fmt: skip


def _digest(ids: Ids) -> str:
    return hashlib.sha256(np.ascontiguousarray(ids, dtype="<i8").tobytes()).hexdigest()
