"""A folder of pictures and its subfolders, in the order of their names."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from kivuko.gallery.schema import DATABASE
from kivuko.gallery.work import FilePlace, Skip, Work

_IN_MEMORY = 20_000  # names of one folder; more of them wait on disk to be sorted


class FolderSource:
    """All regular files below a folder, whatever their names end in; their content tells which are pictures.

    Hidden files are passed over, and so are galleries. Links to files are followed, links to folders are not: no loop,
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
            if os.path.exists(os.path.join(place, DATABASE.encode())):  # noqa: PTH110, PTH118
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
