"""Building an index: images are decoded, encoded and committed in one pass that resumes after a kill."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from kivuko.datasets.spec import is_spec
from kivuko.errors import CorruptFileError, DataError, ImageIndexError, KivukoError, UsageError, unreadable
from kivuko.files import cache_folder, explain_write_failure
from kivuko.processes import cores
from kivuko.progress import bars, console, note, progress_bar
from kivuko.search import decoding, resumable_writer
from kivuko.search.decoding import Decoded, ImageEncoder, Limits, Refused
from kivuko.search.image_index import ImageIndex
from kivuko.search.index import Vectors
from kivuko.search.items import FilePlace, Skip, Source, Work
from kivuko.search.sources import EmojiSource, open_dataset_source, open_sources
from kivuko.search.store import STORAGES, Storage, holds_index, meta_of, writing

if TYPE_CHECKING:
    from kivuko.datasets.emoji.world import EmojiWorld
    from kivuko.encoders.model import Model

BATCH = 64  # images in one forward pass
COMMIT = 4 * BATCH  # new images in one transaction: whole batches, so that they are the same after a resume
_WINDOW = 96  # images decoded ahead
_MOST_WORKERS = 256
_LINE_SECONDS = 15  # between two lines of a log
_LIMITS = Limits()


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
        device: such as "cpu" or "cuda:0". None: the fastest there is.
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
        if value is not None and (not isinstance(value, int) or value < 1):
            raise UsageError(f"{name} {value!r}: must be a whole number, at least 1.")
    if workers is not None and workers > _MOST_WORKERS:
        raise UsageError(f"workers {workers}: at most {_MOST_WORKERS}.")
    if storage is not None and storage not in STORAGES:
        raise UsageError(f"storage {storage}: choose from {', '.join(STORAGES)}.")
    if not isinstance(out, str | Path) or not str(out):
        raise UsageError(f"out {out!r}: name the folder of the index, such as my.index.")
    named = source if isinstance(source, Sequence) and not isinstance(source, str) else [source]
    if not named:
        raise UsageError("name what to index: a folder, a captions file, shards, or the data set emoji.")
    sources = [each for one in named for each in _open(one, cldr, font, progress)]
    resumable_writer.check_place(Path(os.path.realpath(out)), rebuild)
    encoder, loaded_from = _load_encoder(model, device)
    limits = Limits(pixels=max_pixels) if max_pixels else Limits()
    with bars(progress) as display:
        summary = index_images(
            encoder, sources, Path(out), model=loaded_from, workers=workers, storage=storage, limits=limits,
            rebuild=rebuild, batch_size=batch_size, report=_IndexBar(display),
        )  # fmt: skip
    index = ImageIndex(out, progress=progress)
    index.summary = summary
    return index


def _open(
    source: Path | str | Source, cldr: Path | str | None, font: Path | str | None, progress: bool | None
) -> list[Source]:
    if isinstance(source, str) and is_spec(source) and not Path(source).exists():
        paths = {name: Path(value) for name, value in (("cldr", cldr), ("font", font)) if value is not None}
        return [open_dataset_source(source, **paths, progress=progress)]
    if isinstance(source, str | Path):
        return open_sources(Path(source))
    if not hasattr(source, "describe"):
        raise UsageError(f"{source!r}: not a source of images. Name a folder, a captions file, a shard or a data set.")
    return [source]


def _load_encoder(model: Model | Path | str, device: str | None) -> tuple[ImageEncoder, str]:
    """Return a model's image side, and the folder or id that loads the model again."""
    decoding.share_cores()
    if isinstance(model, str | Path) and (Path(model) / "modules.json").is_file():
        # It imports while this process does the same. Not for a mistyped name: it would outlive the error message.
        decoding.start_fork_server("torch", "transformers.image_processing_utils")
    from kivuko.encoders.model import load_model
    from kivuko.search.encoding import TowerEncoder

    loaded = load_model(model, device=device)
    return TowerEncoder(loaded.encoder), loaded.source


@dataclass
class Summary:
    """The counts of a run, and the figures of the index after it."""

    path: Path
    seen: int = 0  # files
    new: int = 0  # images that were encoded
    unchanged: int = 0  # files that were not decoded again
    vanished: int = 0  # files
    skipped: dict[str, int] = field(default_factory=dict)  # by reason
    generation: int = 0  # the one before if nothing has changed
    images: int = 0  # distinct ones in the index
    files: int = 0  # in the index
    resumed: bool = False  # the run continued one that was stopped
    seconds: float = 0.0

    @property
    def duplicates(self) -> int:
        return self.files - self.images


Reporter = Callable[[Summary, int | None], None]  # (so far, files in all if known)


def index_images(
    encoder: ImageEncoder, sources: Sequence[Source], path: Path, *, model: Path | str = "",
    workers: int | None = None, storage: Storage | None = None, limits: Limits = _LIMITS, rebuild: bool = False,
    batch_size: int | None = None, report: Reporter | None = None,
) -> Summary:  # fmt: skip
    """Index the images of some sources; ``model`` is the encoder's folder or id, ``workers=0`` decodes in this process.

    Every commit survives a kill. Readers see the previous generation until the run has ended.
    """
    path = Path(os.path.realpath(path))
    recorded = os.path.realpath(model) if model and Path(model).is_dir() else str(model)  # a folder, or an id
    described = [one.describe() for one in sources]
    spec = resumable_writer.IndexSpec(encoder.fingerprint, encoder.dim, recorded, described, storage)
    run = _Run(encoder, sources, spec, workers, limits, batch_size or BATCH, report)
    new, began = not path.exists(), time.monotonic()
    try:
        resumable_writer.prepare_folder(path, rebuild)
        with writing(path):
            if rebuild and holds_index(path):
                beside, first = resumable_writer.rebuild_folder(path, spec)
                with writing(beside):
                    summary = run(beside, first)
                    resumable_writer.swap(beside, path)
            else:
                summary = run(path, {})
            resumable_writer.remove_leftovers(path)
    except DataError:
        if new and run.without_images:
            shutil.rmtree(path, ignore_errors=True)
        raise
    except (OSError, sqlite3.OperationalError) as problem:
        raise _explained(problem, path) from problem
    return replace(summary, path=path, seconds=round(time.monotonic() - began, 3))


_Request = tuple[Work | Skip, FilePlace | bytes | None]
_Answer = tuple[Work | Skip, Decoded | Refused | None]


class _Run:
    """One run: collects decoded images into batches, and batches into commits."""

    def __init__(
        self, encoder: ImageEncoder, sources: Sequence[Source], spec: resumable_writer.IndexSpec, workers: int | None,
        limits: Limits, batch: int, report: Reporter | None,
    ) -> None:  # fmt: skip
        self._encoder, self._sources, self._spec, self._report = encoder, sources, spec, report
        self._workers, self._limits = workers, limits
        self._batch, self._commit = batch, batch * max(1, COMMIT // BATCH)
        self.without_images = False
        self._new: list[tuple[int, Decoded]] = []  # not committed yet
        self._by_hash: dict[str, int] = {}  # of those
        self._waiting: list[decoding.Tensors] = []  # not encoded yet
        self._vectors: list[NDArray[np.float32]] = []

    def __call__(self, folder: Path, first: dict[str, str]) -> Summary:
        """Index into a folder, on from what an earlier run committed; ``first``: see ``IndexWriter``."""
        with contextlib.closing(resumable_writer.IndexWriter(folder, self._spec, first)) as self._writer:
            summary = self._summary = Summary(folder, resumed=self._writer.resumed)
            counted = [one.count() for one in self._sources] if self._report else []
            total = sum(one or 0 for one in counted) if None not in counted else None
            with contextlib.closing(self._decoded()) as decoded:
                for work, answer in decoded:
                    self._take(work, answer)
                    if self._report:
                        self._report(summary, total)
            self._flush()
            summary.vanished = self._writer.vanish()
            summary.images, summary.files = self._writer.living()
            if not summary.images:
                self.without_images = True
                raise self._no_image()
            summary.generation = self._writer.publish()
            self._writer.database.execute("BEGIN IMMEDIATE")
            resumable_writer.merge_segments(self._writer, self._encoder.dim)
            return summary

    def _no_image(self) -> DataError:
        most = sorted(self._summary.skipped.items(), key=lambda one: -one[1])[:3]
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in most)
        where = " ".join(one["path"] for one in self._spec.sources)
        return DataError(f"{where}: no image in it that can be read{f' ({reasons})' if reasons else ''}.")

    def _decoded(self) -> Generator[_Answer]:
        """Yield each request with its decoded image (None: there is none to decode), in order."""
        if self._workers == 0:
            for work, place in self._requests():
                yield work, None if place is None else decoding.decode_place(place, self._encoder.prepare, self._limits)
            return
        workers = self._workers or min(8, cores())
        with decoding.DecodingWorkers[Work | Skip](self._encoder.prepare, workers, self._limits, _WINDOW) as processes:
            yield from processes.answers(self._requests())

    def _requests(self) -> Iterator[_Request]:
        """Yield everything in the sources, with the place of each image that must be decoded."""
        for source, prefix in zip(self._sources, _prefixes(self._sources), strict=True):
            for one in source:
                named = replace(one, key=prefix + one.key) if prefix else one
                if isinstance(named, Skip):
                    yield named, None
                elif not self._writer.see(named.key):
                    yield Skip(named.key, "named twice", "only the first is taken"), None
                else:
                    place = None if self._writer.unchanged(named) else named.place
                    yield replace(named, place=b"") if isinstance(named.place, bytes) else named, place

    def _take(self, work: Work | Skip, answer: Decoded | Refused | None) -> None:
        """Process one answer; they come in the order of the sources."""
        self._summary.seen += 1
        if isinstance(work, Skip):
            self._skip(work)
        elif isinstance(answer, Refused):
            self._writer.remove(work.key)
            self._skip(Skip(work.key, answer.reason, answer.detail))
        elif answer is None:
            self._summary.unchanged += 1
            self._writer.keep(work)
        else:
            content = self._by_hash.get(answer.sha256) or self._writer.content_of(answer.sha256)
            self._writer.put(work, content or self._add(answer))
            if len(self._new) == self._commit and not self._waiting:
                self._flush()

    def _flush(self) -> None:
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
        self._summary.new += 1
        if len(self._waiting) == self._batch:
            self._encode()
        return content

    def _encode(self) -> None:
        if self._waiting:
            self._vectors.append(self._encoder.encode(self._waiting))
            self._waiting = []

    def _skip(self, skip: Skip) -> None:
        self._summary.skipped[skip.reason] = self._summary.skipped.get(skip.reason, 0) + 1
        self._writer.skip(skip)


def _prefixes(sources: Sequence[Source]) -> list[str]:
    """Return a prefix of each source's keys: the folder's name for a further folder, captions file or shard."""
    prefixes: list[str] = []
    taken: set[str] = set()
    for source in sources:
        described = source.describe()
        path, kind = Path(described["path"]), described["kind"]
        shard = path.name if kind == "shard" else ""  # with which the keys of a shard begin anyway
        folder = path if kind == "folder" else path.parent
        prefix, tries = "", 1
        while kind in ("folder", "captions", "shard") and prefix + shard in taken:
            prefix = f"{folder.name}/" if tries == 1 else f"{folder.name}-{tries}/"
            tries += 1
        taken |= {prefix, prefix + shard}
        prefixes.append(prefix)
    return prefixes


def _explained(problem: BaseException, path: Path) -> BaseException:
    """Return a clear error for a disk that is full or cannot be written, else the problem itself."""
    words = str(problem).lower()
    if isinstance(problem, sqlite3.OperationalError):
        if "full" in words:
            return KivukoError(f"{path}: the disk is full; what was committed is kept. Free some space and run again.")
        if "readonly" in words or "unable to open" in words:
            return KivukoError(f"{path}: cannot be written here (no permission). Choose another place (--out).")
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

    def __call__(self, so_far: Summary, total: int | None) -> None:
        now = time.monotonic()
        if now - self._shown < 0.2 and so_far.seen != total:
            return
        self._shown = now
        speed = so_far.seen / max(1e-6, now - self._began)
        figures = f"{speed:,.0f} images/s · {so_far.new:,} new · {sum(so_far.skipped.values()):,} skipped"
        self._display.update(self._task, completed=so_far.seen, total=total, figures=figures)
        if not console.is_terminal and now - self._line > _LINE_SECONDS:
            self._line = now
            note(f"indexing: {so_far.seen:,} files · {figures}")


def emoji_index(
    model: Any, world: EmojiWorld, *, cache: Path | None = None, progress: bool | None = None
) -> ImageIndex:
    """Open, or build and cache, the index of a world's images, encoded by a ``SentenceTransformer``.

    The image of row ``n`` of the world has the id ``n + 1``. ``cache``: a folder; None: ``index/`` in Kivuko's cache.
    """
    from kivuko.search.encoding import TowerEncoder

    encoder = TowerEncoder(model)
    key = hashlib.sha256(f"4:{world.fingerprint}:{encoder.fingerprint}".encode()).hexdigest()
    folder = (cache or cache_folder() / "index") / f"emoji-{key[:24]}.index"
    try:
        if not _is_finished(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):
                if not _is_finished(folder):
                    _build(encoder, world, folder, progress)
        index = ImageIndex(folder, kind="flat", storage="float32")
        if wrong := index.store.verify():
            raise CorruptFileError(wrong[0])
    except (CorruptFileError, ImageIndexError, OSError) as problem:
        raise unreadable(folder, problem, f"{folder}: corrupted. Delete this folder and run again.") from problem
    return index


def _is_finished(folder: Path) -> bool:
    try:
        return meta_of(folder).get("published", "0") != "0"
    except ImageIndexError:
        return False


def emoji_vectors(model: Any, world: EmojiWorld, *, cache: Path | None = None, progress: bool | None = None) -> Vectors:
    """Return the unit vectors of a world's images, float32 [images, dim], in the world's order; see ``emoji_index``."""
    with emoji_index(model, world, cache=cache, progress=progress) as index:
        return np.concatenate([vectors for _, vectors in index.store.vectors()])


def _build(encoder: ImageEncoder, world: EmojiWorld, folder: Path, progress: bool | None) -> None:
    with progress_bar("encoding images", progress) as report:
        # Drawn images need no processes that may crash, and starting some takes longer than drawing.
        index_images(
            encoder, [EmojiSource(world)], folder, workers=0, storage="float32", batch_size=128,
            report=lambda so_far, total: report(so_far.seen, total or so_far.seen),
        )  # fmt: skip
