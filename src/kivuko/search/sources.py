"""Sources of images: folders, captions files, webdataset shards, the emoji world."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from kivuko.datasets.captions import CaptionSet
from kivuko.datasets.captions.own_files import is_captions_file
from kivuko.datasets.spec import EMOJI, open_dataset
from kivuko.errors import DataError, UsageError
from kivuko.search.captions import CaptionsSource, DatasetSource, ShardSource
from kivuko.search.decoding import as_png
from kivuko.search.items import FilePlace, Skip, Source, Work
from kivuko.search.segments import DATABASE, OLD_DATABASE

if TYPE_CHECKING:
    from kivuko.datasets.emoji import EmojiWorld


_IN_MEMORY = 20_000  # names of one folder; more of them wait on disk to be sorted


class FolderSource:
    """All regular files below a folder, whatever their names end in; their content tells which are images.

    Hidden files are passed over, and so are indexes. Links to files are followed, links to folders are not: no loop,
    and nothing from outside.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))

    def describe(self) -> Mapping[str, str]:
        """See Source."""
        return {"kind": "folder", "path": str(self.path)}

    def count(self) -> int | None:
        """See Source."""
        total, waiting = 0, [os.fsencode(self.path)]
        while waiting:
            try:
                with os.scandir(waiting.pop()) as entries:
                    for entry in entries:
                        if entry.name.startswith(b"."):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
                        else:
                            total += 1
            except OSError:
                continue  # the walk itself tells
        return total

    def __iter__(self) -> Iterator[Work | Skip]:
        open_folders = [self._sorted(b"")]  # a stack, not recursion: folders may be nested deeper than Python calls
        while open_folders:
            found = next(open_folders[-1], None)
            if found is None:
                open_folders.pop()
            elif isinstance(found, bytes):
                open_folders.append(self._sorted(found))
            else:
                yield found

    def _sorted(self, folder: bytes) -> Iterator[Work | Skip | bytes]:
        """Yield what is in one folder by name; of subfolders, their path relative to the source."""
        place = os.path.join(os.fsencode(self.path), folder)  # noqa: PTH118  (paths that are no UTF-8 stay bytes)
        try:
            if any(os.path.exists(os.path.join(place, name.encode())) for name in (DATABASE, OLD_DATABASE)):  # noqa: PTH110, PTH118
                return
            for name in _names_in_order(place):
                relative = folder + b"/" + name if folder else name
                yield from self._entry(relative)
        except OSError as problem:
            yield Skip(_shown(folder) or ".", "cannot be read", str(problem.strerror or problem))

    def _entry(self, relative: bytes) -> Iterator[Work | Skip | bytes]:
        path, key = os.path.join(os.fsencode(self.path), relative), _shown(relative)  # noqa: PTH118
        try:
            state = os.lstat(path)
            linked = stat.S_ISLNK(state.st_mode)
            if linked:
                state = os.stat(path)  # noqa: PTH116
        except OSError as problem:
            yield Skip(key, "broken link" if os.path.islink(path) else "cannot be read", str(problem.strerror))  # noqa: PTH114
            return
        if stat.S_ISDIR(state.st_mode):
            if linked:
                yield Skip(key, "link to a folder", "not followed")
            else:
                yield relative
        elif not stat.S_ISREG(state.st_mode):
            yield Skip(key, "not a regular file")
        else:
            yield Work(key, FilePlace(os.fsdecode(path)), state.st_size, state.st_mtime_ns)


def _shown(path: bytes) -> str:
    """Return a path as text, which SQLite and JSON can hold, also if it is not UTF-8."""
    return path.decode("utf-8", "backslashreplace")


def _names_in_order(folder: bytes) -> Iterator[bytes]:
    """Yield the names in one folder by their bytes, hidden ones left out; a great many wait on disk, not in memory."""
    with os.scandir(folder) as entries:
        names: list[bytes] = []
        spilled: sqlite3.Connection | None = None
        try:
            for entry in entries:
                if entry.name.startswith(b"."):
                    continue
                names.append(entry.name)
                if len(names) >= _IN_MEMORY:
                    if spilled is None:
                        spilled = sqlite3.connect("", isolation_level=None)  # a temporary file of SQLite's own
                        spilled.execute("CREATE TABLE names(name BLOB PRIMARY KEY) WITHOUT ROWID")
                        spilled.execute("BEGIN")
                    _spill(spilled, names)
            if spilled is None:
                yield from sorted(names)
                return
            _spill(spilled, names)
            for (name,) in spilled.execute("SELECT name FROM names ORDER BY name"):
                yield name
        finally:
            if spilled is not None:
                spilled.close()


def _spill(spilled: sqlite3.Connection, names: list[bytes]) -> None:
    spilled.executemany("INSERT OR IGNORE INTO names VALUES (?)", ((name,) for name in names))
    names.clear()


class EmojiSource:
    """The images of an emoji world; key: the emoji, caption: its English name, metadata: keywords and split.

    Args:
        world: the emoji world, as :func:`kivuko.datasets.emoji.emoji_world` builds it.
    """

    def __init__(self, world: EmojiWorld) -> None:
        self._world = world

    def describe(self) -> Mapping[str, str]:
        """See Source."""
        return {"kind": "emoji", "path": "emoji"}

    def count(self) -> int | None:
        """See Source."""
        return len(self._world.images)

    def __iter__(self) -> Iterator[Work | Skip]:
        english = self._world.annotations["en"]
        split = {one.sequence: one.split for one in self._world.emoji}
        drawn = int(self._world.fingerprint[:15] or "0", 16)  # takes the place of a file's time of change
        for row, sequence in enumerate(self._world.image_sequences):
            said = english[sequence]
            metadata = {"keywords": ", ".join(said.keywords), "split": split[sequence]}
            yield Work(sequence, as_png(self._world.image(row)), row, drawn, said.name, metadata)


__all__ = [
    "CaptionsSource",
    "DatasetSource",
    "EmojiSource",
    "FolderSource",
    "ShardSource",
    "Skip",
    "Source",
    "Work",
    "open_dataset_source",
    "open_source",
]


def open_dataset_source(
    spec: str, *, cldr: Path | None = None, font: Path | None = None, progress: bool | None = None
) -> Source:
    """Return the images of a data set, see ``kivuko.datasets.spec.open_dataset``, as a source.

    Raises:
        UsageError: no such data set, or one of texts.
        DataError: its files are missing or malformed.
    """
    # The language decides nothing here, but a captions file that does not say it must be given one.
    languages = () if spec == EMOJI else ("en",)
    dataset = open_dataset(spec, languages=languages, cldr=cldr, font=font, progress=progress)
    if isinstance(dataset, CaptionSet):
        return DatasetSource(dataset, spec)
    if spec == EMOJI:
        return EmojiSource(cast("EmojiWorld", dataset))
    raise UsageError(f"{spec}: a data set of texts, which has no images to index.")


def open_source(path: Path) -> Source:
    """Return the source that a path names: a folder, a ``.tar`` shard, or a captions file (TSV, CSV, JSONL).

    Raises:
        DataError: nothing is there, or it cannot be read.
        UsageError: a file of another kind.
    """
    if not path.exists():
        raise DataError(f"{path}: no such folder or file.")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: cannot be read (no permission).")
    if path.is_dir():
        return FolderSource(path)
    if not path.is_file():
        raise UsageError(f"{path}: neither a folder nor a regular file.")
    ending = path.suffix.lower()
    if ending == ".tar":
        return ShardSource(path)
    if is_captions_file(path):
        return CaptionsSource(path)
    if path.name.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")):
        raise UsageError(f"{path}: a compressed shard cannot be read in any order; unpack it to .tar first.")
    raise UsageError(
        f"{path}: what is it? Name a folder of images, a captions file (.tsv, .csv, .jsonl) or a shard (.tar)."
    )
