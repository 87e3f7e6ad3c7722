"""Webdataset shards: a tar file in which members that share a basename are one sample.

Format: https://github.com/webdataset/webdataset, "The WebDataset Format". ``000001.jpg``, ``000001.txt`` and
``000001.json``, one after the other, are a picture, its caption and its metadata.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from kivuko.gallery.sources.metadata import clean_caption, clean_metadata
from kivuko.gallery.work import FilePlace, Skip, Work

_CAPTIONS = ("txt", "caption")
_PICTURES = frozenset(
    ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "jp2", "avif", "heic", "heif", "img")
)
_MOST_TEXT = 1 << 20


class ShardSource:
    """One ``.tar`` file, read where it lies; nothing is unpacked.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))

    def describe(self) -> Mapping[str, str]:
        """See Source."""
        return {"kind": "shard", "path": str(self.path)}

    def count(self) -> int | None:
        """See Source."""
        return None  # only reading all of it would tell

    def __iter__(self) -> Iterator[Work | Skip]:
        sample, members = "", list[tarfile.TarInfo]()
        try:
            modified = self.path.stat().st_mtime_ns
            with tarfile.open(self.path, "r:") as shard:
                for member in _members(shard):
                    folder, _, name = member.name.rpartition("/")
                    base = f"{folder}/{name.split('.', 1)[0]}" if folder else name.split(".", 1)[0]
                    if name.startswith(".") or member.isdir():
                        continue
                    if base != sample or len(members) >= 64:
                        yield from self._sample(shard, members, modified)
                        sample, members = base, []
                    members.append(member)
                yield from self._sample(shard, members, modified)
        except (tarfile.TarError, OSError, ValueError, EOFError) as problem:
            yield Skip(self.path.name, "damaged shard", f"{problem}; what came before it is kept")

    def _sample(self, shard: tarfile.TarFile, members: list[tarfile.TarInfo], modified: int) -> Iterator[Work | Skip]:
        pictures, caption, metadata = list[tarfile.TarInfo](), None, {}
        for member in members:
            ending = member.name.rpartition("/")[2].partition(".")[2].lower()
            last = ending.rpartition(".")[2]
            if not member.isreg() or member.issparse():
                if last in _PICTURES:
                    yield Skip(self._key(member), "not a regular file")
            elif last in _CAPTIONS:
                text = _read(shard, member)
                caption = clean_caption(text.decode("utf-8", "replace")) if text is not None else caption
            elif last == "json":
                metadata = _metadata(_read(shard, member))
            elif last in _PICTURES:
                pictures.append(member)
        if members and not pictures:
            yield Skip(self._key(members[0]), "sample without a picture")
        if caption is None:
            caption = clean_caption(metadata.get("caption"))
        rest = clean_metadata({name: value for name, value in metadata.items() if name != "caption"})
        for member in pictures:
            place = FilePlace(str(self.path), member.offset_data, member.size)
            yield Work(self._key(member), place, member.size, modified, caption, rest)

    def _key(self, member: tarfile.TarInfo) -> str:
        name = os.path.normpath("/" + member.name).lstrip("/")
        return f"{self.path.name}/{name}".encode("utf-8", "backslashreplace").decode()


def _members(shard: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield members one after the other, and let tarfile forget them."""
    while (member := shard.next()) is not None:
        yield member
        shard.members = []  # type: ignore[attr-defined]  # or memory grows with the shard


def _read(shard: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    if member.size > _MOST_TEXT:
        return None
    stream = shard.extractfile(member)
    return stream.read() if stream is not None else None


def _metadata(text: bytes | None) -> dict[str, object]:
    try:
        found = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
