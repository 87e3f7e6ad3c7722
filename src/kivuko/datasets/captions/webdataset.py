"""Webdataset shards as a caption set: images and captions in tar files, read where they lie.

``NAME.jpg`` with ``NAME.txt`` (a caption a line), ``NAME.sw.txt`` for a language, or ``NAME.json`` with ``caption`` or
``captions`` (a text, a list, or an object of languages) and, where it says so, ``language``.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from kivuko.datasets.captions.caption_set import CaptionSet, Gathering, Image, Request, as_texts, code_of
from kivuko.errors import DataError, UsageError

# The samples of webdataset shards: members of a tar file that share a name up to its first dot.
#
# Format: https://github.com/webdataset/webdataset, "The WebDataset Format".

_IMAGES = frozenset(("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "avif", "heic", "img"))
_TEXTS = frozenset(("txt", "caption", "json"))
_MOST_TEXT = 1 << 20
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 100_000


@dataclass(frozen=True)
class Sample:
    """One sample: where its image lies in the shard, and its texts by the rest of their names ("txt", "sw.txt")."""

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
    """Yield the samples of one shard; of one without an image, its key alone.

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
    image: tarfile.TarInfo | None = None
    texts: dict[str, bytes] = {}
    for member in members:
        rest = member.name.rpartition("/")[2].partition(".")[2].lower()
        kind = rest.rpartition(".")[2]
        if kind in _IMAGES:
            image = image or member
        elif kind in _TEXTS and member.size <= _MOST_TEXT and (stream := archive.extractfile(member)) is not None:
            texts[rest] = stream.read()
    if image is None:
        return key
    return Sample(key, shard, image.offset_data, image.size, texts)


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


NAME = "webdataset"


def read_webdataset(request: Request) -> CaptionSet:
    """Read all shards that PATH names; it may hold ``*`` and ``{000..012}``.

    Samples without an image, and those without a caption, are left out and counted.

    Raises:
        DataError: no shard, or a damaged one, or no caption in them.
        UsageError: they do not say the language, and the request neither.
    """
    gathered = Gathering()
    codes: dict[str, str] = {}
    for shard in find_shards(str(request.path)):
        gathered.files[shard] = None
        for sample in samples(shard):
            if isinstance(sample, str):
                gathered.left_out["sample without an image"] += 1
                continue
            place = f"{shard}, sample {sample.key}"
            key = f"{shard.name}/{sample.key}"
            if key in gathered.images:  # shards of one name in several folders
                key = f"{shard}/{sample.key}"
            told = False
            for written, texts in _captions(sample, place):
                code = written or request.language
                if code is None:
                    raise UsageError(f"{place}: does not say its language; name it: -l sw")
                code = codes.get(code) or codes.setdefault(code, code_of(code, place))
                before = gathered.left_out.total()
                gathered.add_captions(key, code, texts, place)
                told |= gathered.left_out.total() - before < len(texts)
            if told:
                gathered.add_image(Image(key, sample.shard, place, sample.offset, sample.length))
            else:
                gathered.left_out["sample without a caption"] += 1
    return gathered.finish(NAME, "all", Path(request.path))


def _captions(sample: Sample, place: str) -> Iterator[tuple[str | None, list[Any]]]:
    """Yield captions and the language that they say; a text beside the metadata counts, not both."""
    about: dict[str, Any] = {}
    if "json" in sample.texts:
        about = _metadata(sample.texts["json"], place)
    language = next((about[name] for name in ("language", "lang") if isinstance(about.get(name), str)), None)
    written = False
    for rest, content in sample.texts.items():
        named, _, kind = rest.rpartition(".")
        if kind != "json":
            written = True
            yield named or language, _decoded(content, place).splitlines()
    if written:
        return
    told = about.get("caption", about.get("captions"))
    if isinstance(told, dict):
        for own, texts in told.items():
            yield own, as_texts(texts)
    elif told is not None:
        yield language, as_texts(told)


def _metadata(content: bytes, place: str) -> dict[str, Any]:
    try:
        found = json.loads(_decoded(content, place))
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{place}: its .json is not JSON; make the shard again") from problem
    return found if isinstance(found, dict) else {}


def _decoded(content: bytes, place: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DataError(f"{place}: its text is not UTF-8; make the shard again") from problem
