"""The samples of webdataset shards: members of a tar file that share a name up to its first dot.

Format: https://github.com/webdataset/webdataset, "The WebDataset Format".
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from kivuko.errors import DataError

_PICTURES = frozenset(("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "avif", "heic", "img"))
_TEXTS = frozenset(("txt", "caption", "json"))
_MOST_TEXT = 1 << 20
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 100_000


@dataclass(frozen=True)
class Sample:
    """One sample: where its picture lies in the shard, and its texts by the rest of their names ("txt", "sw.txt")."""

    key: str
    shard: Path
    offset: int
    length: int
    texts: dict[str, bytes] = field(default_factory=dict)


def find_shards(pattern: str) -> list[Path]:
    """Return the shards that a path with ``*``, ``?`` or ``{0000..0012}`` names, by name.

    Raises:
        DataError: there is none, or one is compressed.
    """
    found: list[Path] = []
    for one in _ranges(pattern):
        path = Path(one)
        if path.is_dir():
            found += path.glob("*.tar")
        elif path.exists():
            found.append(path)
        elif any(letter in one for letter in "*?["):
            found += _matching(path)
        else:
            raise DataError(f"{path}: no such shard; check the path")
    if not found:
        raise DataError(f"{pattern}: names no shard; quote the pattern so that the shell leaves it: 'shards/*.tar'")
    return sorted(dict.fromkeys(found))


def _matching(pattern: Path) -> list[Path]:
    try:
        if pattern.anchor:
            return list(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
        return list(Path().glob(str(pattern)))
    except (ValueError, NotImplementedError) as problem:
        raise DataError(f"{pattern}: not a pattern of paths ({problem})") from problem


def samples(shard: Path) -> Iterator[Sample | str]:
    """Yield the samples of one shard; of one without a picture, its key alone.

    Raises:
        DataError: no tar file, a damaged or a compressed one.
    """
    base, members = "", list[tarfile.TarInfo]()
    try:
        with tarfile.open(shard, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # or memory grows with the shard
                folder, _, name = member.name.rpartition("/")
                if name.startswith(".") or not member.isreg() or member.issparse():
                    continue
                own = f"{folder}/{name.partition('.')[0]}"
                if own != base or len(members) >= 1000:
                    if members:
                        yield _sample(archive, shard, base, members)
                    base, members = own, []
                members.append(member)
            if members:
                yield _sample(archive, shard, base, members)
    except (tarfile.TarError, OSError, ValueError, EOFError, OverflowError) as problem:
        raise DataError(
            f"{shard}: not a tar file that can be read ({problem}); unpack a compressed one to .tar, or fetch it again"
        ) from problem


def _sample(archive: tarfile.TarFile, shard: Path, base: str, members: list[tarfile.TarInfo]) -> Sample | str:
    key = base.removeprefix("/").encode("utf-8", "backslashreplace").decode()  # names in a tar file are bytes
    picture: tarfile.TarInfo | None = None
    texts: dict[str, bytes] = {}
    for member in members:
        rest = member.name.rpartition("/")[2].partition(".")[2].lower()
        kind = rest.rpartition(".")[2]
        if kind in _PICTURES:
            picture = picture or member
        elif kind in _TEXTS and member.size <= _MOST_TEXT and (stream := archive.extractfile(member)) is not None:
            texts[rest] = stream.read()
    if picture is None:
        return key
    return Sample(key, shard, picture.offset_data, picture.size, texts)


def _ranges(pattern: str) -> list[str]:
    """Write ``{0000..0012}`` out."""
    spans = list(_RANGE.finditer(pattern))
    counts = [max(0, int(span[2]) - int(span[1]) + 1) for span in spans]
    total = 1
    for count in counts:
        total *= count
    if total > _MOST_SHARDS:
        raise DataError(f"{pattern}: names {total:,} shards; most are {_MOST_SHARDS:,}")
    if not spans:
        return [pattern]
    numbers = [[f"{n:0{len(span[1])}d}" for n in range(int(span[1]), int(span[2]) + 1)] for span in spans]
    written = []
    for chosen in product(*numbers):
        parts, last = [], 0
        for span, number in zip(spans, chosen, strict=True):
            parts += [pattern[last : span.start()], number]
            last = span.end()
        written.append("".join([*parts, pattern[last:]]))
    return written
