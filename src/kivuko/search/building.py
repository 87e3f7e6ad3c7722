"""Indexing: from sources of images to an index, in one pass that may be killed at any moment and resumed."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kivuko.datasets.spec import is_spec
from kivuko.errors import DataError, KivukoError, UsageError
from kivuko.files import explain_write_failure
from kivuko.progress import bars, console, note
from kivuko.search.decoding import Decoded, DecodingWorkers, Limits, Refused, decode_place
from kivuko.search.encoding import ImageEncoder, Tensors
from kivuko.search.image_index import ImageIndex
from kivuko.search.items import FilePlace, Skip, Source, Work
from kivuko.search.segments import STORAGES, Storage
from kivuko.search.sources import open_dataset_source, open_source
from kivuko.search.writer import (
    IndexSpec,
    IndexWriter,
    check_place,
    fits,
    holds_index,
    merge_segments,
    numbers_to_continue,
    prepare_folder,
    swap,
    writing,
)

if TYPE_CHECKING:
    from kivuko.encoders.model import Model

BATCH = 64  # images in one forward pass
COMMIT = 4 * BATCH  # new images in one transaction: whole batches, so that they are the same after a resume
_WINDOW = 96  # images decoded ahead
_MOST_WORKERS = 256
_LINE_SECONDS = 15  # between two lines of a log


def build_index(
    model: Model | Path | str,
    source: Path | str | Source | Sequence[Path | str | Source],
    out: Path | str,
    *,
    storage: Storage | None = None,
    workers: int | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    max_pixels: int | None = None,
    rebuild: bool = False,
    cldr: Path | str | None = None,
    font: Path | str | None = None,
    progress: bool | None = None,
) -> ImageIndex:
    """Build an index of images, or update it; ``kivuko index`` on the command line.

    Call it again after images were added, changed or removed, or after a run was stopped: files that did not change
    are not decoded again, and the index is the same as after an uninterrupted run.

    Args:
        model: a model that encodes images: a folder, a hub id, or a ``Model``.
        source: a folder of images, a captions file (.tsv, .csv, .jsonl), a webdataset shard (.tar), a data set such as
            "emoji" or "xm3600:data/xm3600", or a list of them. Later runs on the same index must name the same
            sources in the same order, and may append more.
        out: the folder of the index, such as "photos.index".
        storage: number type of the stored vectors: "float16", "float32" or "int8"; None: that of the index, float16
            for a new one.
        workers: number of processes that decode images; None: one for each core, at most 8.
        batch_size: number of images in one forward pass; None: 64.
        device: where the model runs, such as "cpu" or "cuda:1"; None: the fastest available.
        max_pixels: larger images are skipped; None: 178,956,970.
        rebuild: build the index from scratch; the old one stays in use until the new one is complete.
        cldr, font: sources of the emoji world; None: the system's folders.
        progress: show progress on standard error; None: only on a terminal.

    Returns:
        The index, open. Its ``summary`` has the counts of the run, and ``store.skipped()`` lists the skipped files.

    Raises:
        UsageError: a value or a source is not understood.
        ModelError: the model does not load or encodes no images.
        DataError: a source is missing or holds no image; the index is unchanged.
        ImageIndexError: the index is in use, or was built with another model or from other sources.

    >>> import kivuko
    >>> index = kivuko.build_index("my-model", "photos/", "photos.index", workers=1)
    >>> len(index), index.summary.new, index.summary.skipped
    (3, 3, {})
    >>> index.close()
    """
    for name, value in (("workers", workers), ("batch_size", batch_size), ("max_pixels", max_pixels)):
        if value is not None and value < 1:
            raise UsageError(f"{name} {value}: must be at least 1.")
    if workers is not None and workers > _MOST_WORKERS:
        raise UsageError(f"workers {workers}: at most {_MOST_WORKERS}.")
    if storage is not None and storage not in STORAGES:
        raise UsageError(f"storage {storage}: choose from {', '.join(STORAGES)}.")
    named = [source] if isinstance(source, str | Path) or not isinstance(source, Sequence) else list(source)
    if not named:
        raise UsageError("name what to index: a folder, a captions file, shards, or the data set emoji.")
    sources = [_source(one, cldr, font, progress) for one in named]
    check_place(Path(os.path.realpath(out)), rebuild)
    encoder, loaded_from = _load_encoder(model, device)
    limits = Limits(pixels=max_pixels) if max_pixels else Limits()
    options = IndexOptions(workers, storage, limits, rebuild, batch_size)
    with bars(progress) as display:
        summary = index_images(
            encoder, sources, Path(out), model=loaded_from, options=options, report=_IndexBar(display)
        )
    index = ImageIndex(out, progress=progress)
    index.summary = summary
    return index


def _source(
    source: Path | str | Source, cldr: Path | str | None, font: Path | str | None, progress: bool | None
) -> Source:
    if isinstance(source, str) and is_spec(source) and not Path(source).exists():
        return open_dataset_source(source, cldr=_path(cldr), font=_path(font), progress=progress)
    return open_source(Path(source)) if isinstance(source, str | Path) else source


def _path(path: Path | str | None) -> Path | None:
    return None if path is None else Path(path)


def _load_encoder(model: Model | Path | str, device: str | None) -> tuple[ImageEncoder, str]:
    """Return a model's image side, and the folder or id that loads the model again."""
    from kivuko.search.decoding import share_cores, start_fork_server

    share_cores()
    start_fork_server("torch", "transformers.image_processing_utils")  # imports while this process does the same
    from kivuko.encoders.model import load_model
    from kivuko.search.encoding import TowerEncoder

    loaded = load_model(model, device=device)
    return TowerEncoder(loaded.encoder), loaded.source


@dataclass
class Counts:
    """Progress of a run: ``seen`` files, of which ``new`` images were encoded, ``unchanged`` not decoded again."""

    seen: int = 0
    new: int = 0
    unchanged: int = 0
    vanished: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Summary:
    """The figures of an index after a run."""

    path: Path
    generation: int  # the one before if nothing has changed
    images: int  # distinct ones
    files: int
    new: int
    unchanged: int
    vanished: int
    skipped: dict[str, int]  # by reason
    resumed: bool  # the run continued one that was stopped
    seconds: float = 0.0

    @property
    def duplicates(self) -> int:
        return self.files - self.images


@dataclass(frozen=True)
class IndexOptions:
    """Options of ``build_index``."""

    workers: int | None = None  # 0: decode in this process
    storage: Storage | None = None
    limits: Limits = field(default_factory=Limits)
    rebuild: bool = False
    batch_size: int | None = None


Reporter = Callable[[Counts, int | None], None]  # (so far, files in all if known)


class _NoImageError(DataError):
    """The sources hold no image."""


def index_images(
    encoder: ImageEncoder, sources: Sequence[Source], path: Path, *, model: Path | str = "",
    options: IndexOptions = IndexOptions(), report: Reporter | None = None,
) -> Summary:  # fmt: skip
    """Index the images of some sources; ``model`` is the encoder's folder or id.

    Every commit survives a kill. Readers see the previous generation until the run has ended.
    """
    path = Path(os.path.realpath(path))
    recorded = os.path.realpath(model) if model and Path(model).is_dir() else str(model)  # a folder, or an id
    described = [one.describe() for one in sources]
    spec = IndexSpec(encoder.fingerprint, encoder.dim, recorded, described, options.storage)
    new, began = not path.exists(), time.monotonic()
    try:
        prepare_folder(path, options.rebuild)
        with writing(path):
            run = _rebuild if options.rebuild and holds_index(path) else _run
            summary = run(encoder, sources, path, spec, options, report)
    except _NoImageError:
        if new:
            shutil.rmtree(path, ignore_errors=True)
        raise
    except (OSError, sqlite3.OperationalError) as problem:
        raise _explained(problem, path) from problem
    return replace(summary, seconds=round(time.monotonic() - began, 3))


def _run(
    encoder: ImageEncoder, sources: Sequence[Source], path: Path, spec: IndexSpec, options: IndexOptions,
    report: Reporter | None, first: dict[str, str] | None = None,
) -> Summary:  # fmt: skip
    with contextlib.closing(IndexWriter(path, spec, first)) as writer:
        counted = [one.count() for one in sources] if report else []
        total = sum(one or 0 for one in counted) if None not in counted else None
        run = _Run(encoder, writer, options.batch_size or BATCH)
        with contextlib.closing(_decoded(encoder, options, run.requests(sources))) as decoded:
            for work, answer in decoded:
                run.take(work, answer)
                if report:
                    report(run.counts, total)
        run.flush()
        counts = run.counts
        counts.vanished = writer.vanish()
        images, files = writer.living()
        if not images:
            reasons = ", ".join(f"{number:,} {reason}" for reason, number in counts.skipped.most_common(3))
            where = " ".join(one["path"] for one in spec.sources)
            raise _NoImageError(f"{where}: no image in it that can be read{f' ({reasons})' if reasons else ''}.")
        generation = writer.publish()
        writer.database.execute("BEGIN IMMEDIATE")
        merge_segments(writer, encoder.dim)
        return Summary(
            path, generation, images, files, counts.new, counts.unchanged, counts.vanished, dict(counts.skipped),
            writer.resumed,
        )  # fmt: skip


def _rebuild(
    encoder: ImageEncoder, sources: Sequence[Source], path: Path, spec: IndexSpec, options: IndexOptions,
    report: Reporter | None,
) -> Summary:  # fmt: skip
    """Build an index next to the old one, then replace the old one."""
    beside = path.with_name(f".{path.name}.rebuild")
    first = numbers_to_continue(path)
    if beside.is_dir() and not fits(beside, spec, first):
        shutil.rmtree(beside)
    beside.mkdir(exist_ok=True)
    with writing(beside):
        summary = _run(encoder, sources, beside, spec, options, report, first)
        swap(beside, path)
    return replace(summary, path=path)


_Request = tuple[Work | Skip, FilePlace | bytes | None]
_Answer = tuple[Work | Skip, Decoded | Refused | None]


def _decoded(encoder: ImageEncoder, options: IndexOptions, requests: Iterator[_Request]) -> Generator[_Answer]:
    """Yield each request with its decoded image (None: there is none to decode), in order."""
    if options.workers == 0:
        for work, place in requests:
            yield work, None if place is None else decode_place(place, encoder.prepare, options.limits)
        return
    workers = options.workers or min(8, _cores())
    with DecodingWorkers[Work | Skip](encoder.prepare, workers, options.limits, _WINDOW) as decoding:
        yield from decoding.answers(requests)


class _Run:
    """One run: collects decoded images into batches, and batches into commits."""

    def __init__(self, encoder: ImageEncoder, writer: IndexWriter, batch: int) -> None:
        self.counts = Counts()
        self._encoder, self._writer = encoder, writer
        self._batch, self._commit = batch, batch * max(1, COMMIT // BATCH)
        self._new: list[tuple[int, Decoded]] = []  # not committed yet
        self._by_hash: dict[str, int] = {}  # of those
        self._waiting: list[Tensors] = []  # not encoded yet
        self._vectors: list[NDArray[np.float32]] = []

    def requests(self, sources: Sequence[Source]) -> Iterator[_Request]:
        """Yield everything in the sources, with the place of each image that must be decoded."""
        for source, prefix in zip(sources, _prefixes(sources), strict=True):
            for one in source:
                named = replace(one, key=prefix + one.key) if prefix else one
                if isinstance(named, Skip):
                    yield named, None
                elif not self._writer.see(named.key):
                    yield Skip(named.key, "named twice", "only the first is taken"), None
                elif self._writer.unchanged(named):
                    yield replace(named, place=b"") if isinstance(named.place, bytes) else named, None
                else:
                    place = named.place
                    yield replace(named, place=b"") if isinstance(place, bytes) else named, place

    def take(self, work: Work | Skip, answer: Decoded | Refused | None) -> None:
        """Process one answer; they come in the order of the sources."""
        self.counts.seen += 1
        if isinstance(work, Skip):
            self._skip(work)
        elif isinstance(answer, Refused):
            self._writer.remove(work.key)
            self._skip(Skip(work.key, answer.reason, answer.detail))
        elif answer is None:
            self.counts.unchanged += 1
            self._writer.keep(work)
        else:
            content = self._by_hash.get(answer.sha256) or self._writer.content_of(answer.sha256)
            self._writer.put(work, content or self._add(answer))
            if len(self._new) == self._commit and not self._waiting:
                self.flush()

    def flush(self) -> None:
        """Encode the waiting images, and commit everything."""
        self._encode()
        vectors = np.concatenate(self._vectors) if self._vectors else np.empty((0, self._encoder.dim), np.float32)
        self._writer.commit(self._new, vectors)
        self._new, self._vectors = [], []
        self._by_hash.clear()

    def _add(self, decoded: Decoded) -> int:
        content = self._writer.next_content()
        self._by_hash[decoded.sha256] = content
        self._waiting.append(decoded.tensors)
        self._new.append((content, replace(decoded, tensors={})))
        self.counts.new += 1
        if len(self._waiting) == self._batch:
            self._encode()
        return content

    def _encode(self) -> None:
        if self._waiting:
            self._vectors.append(self._encoder.encode(self._waiting))
            self._waiting = []

    def _skip(self, skip: Skip) -> None:
        self.counts.skipped[skip.reason] += 1
        self._writer.skip(skip)


def _prefixes(sources: Sequence[Source]) -> list[str]:
    """Return a prefix for each source's keys: the folder's name for a second folder or captions file, else none."""
    prefixes: list[str] = []
    for source in sources:
        described = source.describe()
        name = Path(described["path"])
        name = name.parent if described["kind"] == "captions" else name
        prefix, tries = "", 1
        while described["kind"] in ("folder", "captions") and prefix in prefixes:
            prefix = f"{name.name}/" if tries == 1 else f"{name.name}-{tries}/"
            tries += 1
        prefixes.append(prefix)
    return prefixes


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _explained(problem: BaseException, path: Path) -> BaseException:
    """Return a clear error for a disk that is full or cannot be written, else the problem itself."""
    words = str(problem).lower()
    if isinstance(problem, sqlite3.OperationalError):
        if "full" in words:
            return KivukoError(f"{path}: the disk is full; what was committed is kept. Free some space and run again.")
        if "readonly" in words or "unable to open" in words:
            return KivukoError(f"{path}: cannot be written here (no permission). Choose another --out.")
        if "disk i/o" in words:
            return KivukoError(f"{path}: the disk fails, or is full ({problem}). Free some space and run again.")
        return problem
    if isinstance(problem, FileNotFoundError) and problem.filename:
        return DataError(f"{problem.filename}: disappeared while it was read. Run again.")
    return explain_write_failure(problem, path) or problem


class _IndexBar:
    """Progress of indexing, as a bar on a terminal and as an occasional line in a log."""

    def __init__(self, display: Any) -> None:
        self._display, self._task = display, display.add_task("indexing", total=None, figures="")
        self._began = self._line = time.monotonic()
        self._shown = 0.0

    def __call__(self, counts: Counts, total: int | None) -> None:
        now = time.monotonic()
        if now - self._shown < 0.2 and counts.seen != total:
            return
        self._shown = now
        speed = counts.seen / max(1e-6, now - self._began)
        figures = f"{speed:,.0f} images/s · {counts.new:,} new · {sum(counts.skipped.values()):,} skipped"
        self._display.update(self._task, completed=counts.seen, total=total, figures=figures)
        if not console.is_terminal and now - self._line > _LINE_SECONDS:
            self._line = now
            note(f"indexing: {counts.seen:,} files · {figures}")
