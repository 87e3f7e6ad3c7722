"""Indexing: from sources of images to a gallery, in one pass that may be killed at any moment and goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError, KivukoError
from kivuko.files import explain_write_failure
from kivuko.search.decoding import Decoded, DecodingWorkers, Limits, Refused
from kivuko.search.encoding import ImageEncoder, Tensors
from kivuko.search.items import FilePlace, Skip, Source, Work
from kivuko.search.segments import DATABASE, Storage
from kivuko.search.writer import (
    GalleryWriter,
    IndexSpec,
    fits,
    merge_segments,
    numbers_to_go_on_from,
    prepare_folder,
    swap,
    writing,
)

BATCH = 64  # images of one forward pass
COMMIT = 4 * BATCH  # new images of one transaction: whole batches, so that they are the same after a resume
_WINDOW = 96  # images decoded ahead


@dataclass
class Counts:
    """How far a run is: ``seen`` files, of which ``new`` images were encoded, ``unchanged`` not decoded again."""

    seen: int = 0
    new: int = 0
    unchanged: int = 0
    vanished: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Summary:
    """What a gallery holds after a run, and what the run did.

    ``images``: distinct ones; ``files``: keys, so that ``files - images`` are duplicates. ``generation``: as it was
    if nothing has changed. ``resumed``: whether the run went on from one that was stopped.
    """

    path: Path
    generation: int
    images: int
    files: int
    new: int
    unchanged: int
    vanished: int
    skipped: dict[str, int]
    resumed: bool

    @property
    def duplicates(self) -> int:
        """How many files have the bytes of another."""
        return self.files - self.images


class IndexWatch(Protocol):
    """Who wants to know how far a run is."""

    def planned(self, total: int | None) -> None:
        """There are about so many files; None: not known."""
        ...

    def went(self, counts: Counts) -> None:
        """So much is done."""
        ...


@dataclass(frozen=True)
class IndexOptions:
    """How to index.

    Args:
        workers: processes that decode, at least 1; None: one for each core, at most 8.
        storage: how vectors rest on disk; None: as the gallery has it, float16 for a new one.
        limits: what a file may ask for.
        rebuild: make the gallery anew, whatever it holds; the old one serves until the new one is whole.
    """

    workers: int | None = None
    storage: Storage | None = None
    limits: Limits = field(default_factory=Limits)
    rebuild: bool = False


class _NoImageError(DataError):
    """The sources were read to their end, and hold no image."""


def build_gallery(
    encoder: ImageEncoder, sources: Sequence[Source], path: Path, *, model: Path,
    options: IndexOptions = IndexOptions(), watch: IndexWatch | None = None,
) -> Summary:  # fmt: skip
    """Make a gallery of the images in ``sources``, or bring it up to date.

    What was committed before a kill is kept, and the gallery ends as that of an uninterrupted run. Readers see the
    generation before until the run has ended.

    Args:
        encoder: makes the vectors, see ``TowerEncoder``.
        sources: the same in every run on one gallery; more may follow them.
        path: the gallery's folder.
        model: the model's folder, which the gallery names.

    Raises:
        GalleryError: the gallery is in use, or was made with another model or from other sources.
        DataError: no image in the sources; the gallery stays as it was.
        KivukoError: the disk is full or cannot be written.
    """
    path = Path(os.path.realpath(path))
    described = [one.describe() for one in sources]
    making = IndexSpec(encoder.fingerprint, encoder.dim, Path(os.path.realpath(model)), described, options.storage)
    new = not path.exists()
    try:
        prepare_folder(path)
        with writing(path):
            if not options.rebuild or not (path / DATABASE).exists():
                return _run(encoder, sources, path, making, options, watch, {})
            return _rebuild(encoder, sources, path, making, options, watch)
    except _NoImageError:
        if new:  # nothing is left of a gallery that never was
            shutil.rmtree(path, ignore_errors=True)
        raise
    except (OSError, sqlite3.OperationalError) as problem:
        raise _explained(problem, path) from problem


def _run(
    encoder: ImageEncoder, sources: Sequence[Source], path: Path, making: IndexSpec, options: IndexOptions,
    watch: IndexWatch | None, first: dict[str, str],
) -> Summary:  # fmt: skip
    with contextlib.closing(GalleryWriter(path, making, first)) as writer:
        if watch:
            counted = [one.count() for one in sources]
            watch.planned(sum(one or 0 for one in counted) if None not in counted else None)
        run = _Run(encoder, writer, watch)
        workers = options.workers or min(8, _cores())
        with DecodingWorkers[Work | Skip](encoder.prepare, workers, options.limits, _WINDOW) as decoding:
            for found, answer in decoding.answers(run.questions(sources)):
                run.take(found, answer)
        run.flush()
        run.counts.vanished = writer.vanish()
        images, files = writer.living()
        if not images:
            reasons = ", ".join(f"{number:,} {reason}" for reason, number in run.counts.skipped.most_common(3))
            where = " ".join(one["path"] for one in making.sources)
            raise _NoImageError(f"{where}: no image in it that can be read{f' ({reasons})' if reasons else ''}.")
        generation = writer.publish()
        writer.database.execute("BEGIN IMMEDIATE")
        merge_segments(writer, encoder.dim)
        counts = run.counts
        return Summary(
            path, generation, images, files, counts.new, counts.unchanged, counts.vanished, dict(counts.skipped),
            writer.resumed,
        )  # fmt: skip


class _Run:
    """The bookkeeping of one run: what is decoded becomes batches, batches become commits."""

    def __init__(self, encoder: ImageEncoder, writer: GalleryWriter, watch: IndexWatch | None) -> None:
        self.counts = Counts()
        self._encoder, self._writer, self._watch = encoder, writer, watch
        self._new: list[tuple[int, Decoded]] = []  # not committed yet
        self._by_hash: dict[str, int] = {}  # of those
        self._waiting: list[Tensors] = []  # not encoded yet
        self._vectors: list[NDArray[np.float32]] = []

    def questions(self, sources: Sequence[Source]) -> Iterator[tuple[Work | Skip, FilePlace | bytes | None]]:
        """Yield everything the sources hold, with the place of what must be decoded."""
        for source, prefix in zip(sources, _prefixes(sources), strict=True):
            for found in source:
                named = replace(found, key=prefix + found.key) if prefix else found
                if isinstance(named, Skip):
                    yield named, None
                elif not self._writer.see(named.key):
                    yield Skip(named.key, "named twice", "only the first is taken"), None
                elif self._writer.unchanged(named):
                    yield replace(named, place=b"") if isinstance(named.place, bytes) else named, None
                else:
                    place = named.place
                    yield replace(named, place=b"") if isinstance(place, bytes) else named, place

    def take(self, found: Work | Skip, answer: Decoded | Refused | None) -> None:
        """Take in one answer, in the order of the sources."""
        self.counts.seen += 1
        if isinstance(found, Skip):
            self._skip(found)
        elif isinstance(answer, Refused):
            self._writer.remove(found.key)
            self._skip(Skip(found.key, answer.reason, answer.detail))
        elif answer is None:
            self.counts.unchanged += 1
            self._writer.keep(found)
        else:
            content = self._by_hash.get(answer.sha256) or self._writer.content_of(answer.sha256)
            self._writer.put(found, content or self._add(answer))
            if len(self._new) == COMMIT and not self._waiting:
                self.flush()
        if self._watch:
            self._watch.went(self.counts)

    def flush(self) -> None:
        """Encode what waits and commit everything."""
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
        if len(self._waiting) == BATCH:
            self._encode()
        return content

    def _encode(self) -> None:
        if self._waiting:
            self._vectors.append(self._encoder.encode(self._waiting))
            self._waiting = []

    def _skip(self, skip: Skip) -> None:
        self.counts.skipped[skip.reason] += 1
        self._writer.skip(skip)


def _rebuild(
    encoder: ImageEncoder, sources: Sequence[Source], path: Path, making: IndexSpec, options: IndexOptions,
    watch: IndexWatch | None,
) -> Summary:  # fmt: skip
    """Make the gallery anew beside the old one, then let it take the old one's place."""
    beside = path.with_name(f".{path.name}.rebuild")
    first = numbers_to_go_on_from(path)
    if (beside / DATABASE).exists() and not fits(beside, making, first):
        shutil.rmtree(beside)
    beside.mkdir(exist_ok=True)
    with writing(beside):
        summary = _run(encoder, sources, beside, making, options, watch, first)
        swap(beside, path)
    return replace(summary, path=path)


def _prefixes(sources: Sequence[Source]) -> list[str]:
    """Return what to put before each source's keys: nothing, but for further folders and captions files their name."""
    prefixes: list[str] = []
    for source in sources:
        told = source.describe()
        name = Path(told["path"])
        name = name.parent if told["kind"] == "captions" else name
        prefix, tries = "", 1
        while told["kind"] in ("folder", "captions") and prefix in prefixes:
            prefix = f"{name.name}/" if tries == 1 else f"{name.name}-{tries}/"
            tries += 1
        prefixes.append(prefix)
    return prefixes


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _explained(problem: BaseException, path: Path) -> BaseException:
    """Return one clear line for a disk that is full or cannot be written, else the problem itself."""
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
        return DataError(f"{problem.filename}: gone while it was read. Give the same command again.")
    return explain_write_failure(problem, path) or problem
