"""Webdataset shards: images and their texts in tar files, read in place for evaluation and for an index alike.

Members that share a name up to its first dot are one sample (https://github.com/webdataset/webdataset): ``NAME.jpg``
with ``NAME.txt`` (a caption a line), ``NAME.sw.txt`` for a language, or ``NAME.json`` with ``caption`` or ``captions``
(a text, a list, or an object of languages) and perhaps ``language``.
"""

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from kivuko.datasets.captions.caption_set import CaptionFormat, CaptionSet, Image, Request, SetBuilder, as_texts
from kivuko.errors import DataError

_IMAGES = frozenset(
    ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "jp2", "avif", "heic", "heif", "img")
)
_TEXTS = frozenset(("txt", "caption", "json"))
_MOST_MEMBERS = 1000  # of one sample: its image and captions in some hundred languages
_MOST_TEXT = 1 << 20  # bytes of one text
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 100_000


class Member(NamedTuple):
    """One file in a shard: ``length`` bytes from ``offset`` on."""

    name: str
    offset: int
    length: int


@dataclass
class Sample:
    """The members of a shard that share a name, ``key``."""

    key: str
    first: str  # name of the first member
    images: list[Member] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)  # content by the rest of the name: "txt", "sw.txt", "json"
    refused: list[str] = field(default_factory=list)  # images that are links or other special files

    def metadata(self) -> dict[str, Any]:
        """Return the object in the sample's ``.json``; empty if there is none."""
        content = json.loads(self.texts["json"].decode("utf-8-sig")) if "json" in self.texts else {}
        return content if isinstance(content, dict) else {}


def samples(shard: Path) -> Iterator[Sample]:
    """Yield the samples of one shard, also those without an image; DataError after those before a damage."""
    sample: Sample | None = None
    count = 0
    try:
        with tarfile.open(shard, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # or memory grows with the shard
                folder, _, name = member.name.rpartition("/")
                if name.startswith(".") or member.isdir():
                    continue
                base, _, rest = name.partition(".")
                key = _as_text(f"{folder}/{base}" if folder else base)
                if sample is None or key != sample.key or count >= _MOST_MEMBERS:
                    if sample is not None:
                        yield sample
                    sample, count = Sample(key, _as_text(member.name)), 0
                _add(sample, archive, member, rest.lower())
                count += 1
            if sample is not None:
                yield sample
    except (tarfile.TarError, OSError, ValueError, EOFError, OverflowError) as problem:
        raise DataError(
            f"{shard}: not a tar file that can be read ({problem}); unpack a compressed one to .tar, or fetch it again"
        ) from problem


def _add(sample: Sample, archive: tarfile.TarFile, member: tarfile.TarInfo, rest: str) -> None:
    kind, regular = rest.rpartition(".")[2], member.isreg() and not member.issparse()
    if kind in _IMAGES and regular:
        sample.images.append(Member(_as_text(member.name), member.offset_data, member.size))
    elif kind in _IMAGES:
        sample.refused.append(_as_text(member.name))
    elif kind in _TEXTS and regular and member.size <= _MOST_TEXT:
        stream = archive.extractfile(member)
        sample.texts[rest] = stream.read() if stream is not None else b""


def _as_text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()  # names in a tar file are bytes


def find_shards(pattern: str) -> list[Path]:
    shards: list[Path] = []
    for one in _expand_ranges(pattern):
        path = Path(one)
        if path.is_dir():
            shards += path.glob("*.tar")
        elif path.exists():
            shards.append(path)
        elif any(letter in one for letter in "*?["):
            shards += _matching(path)
        else:
            raise DataError(f"{path}: no such shard; check the path")
    if not shards:
        raise DataError(f"{pattern}: names no shard; quote the pattern so that the shell leaves it: 'shards/*.tar'")
    return sorted(dict.fromkeys(shards))


def _matching(pattern: Path) -> list[Path]:
    try:
        if pattern.anchor:
            return list(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
        return list(Path().glob(str(pattern)))
    except (ValueError, NotImplementedError) as problem:
        raise DataError(f"{pattern}: not a pattern of paths ({problem})") from problem


def _expand_ranges(pattern: str) -> list[str]:
    parts = _RANGE.split(pattern)  # text, first, last, text, first, last, text
    firsts, lasts = parts[1::3], parts[2::3]
    total = 1
    for first, last in zip(firsts, lasts, strict=True):
        total *= max(0, int(last) - int(first) + 1)
    if total > _MOST_SHARDS:
        raise DataError(f"{pattern}: names {total:,} shards; most are {_MOST_SHARDS:,}")
    numbers = [
        [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
        for first, last in zip(firsts, lasts, strict=True)
    ]
    between = parts[0::3]
    return [
        "".join(text + number for text, number in zip(between, (*chosen, ""), strict=True))
        for chosen in product(*numbers)
    ]


def _read_webdataset(request: Request) -> CaptionSet:
    """Read all shards that PATH names; samples without an image or a caption are left out and counted."""
    builder = SetBuilder(language=request.language, files=find_shards(str(request.path)))
    for shard in builder.files:
        for sample in samples(shard):
            if not sample.images:
                builder.left_out["sample without an image"] += 1
                continue
            place = f"{shard}, sample {sample.key}"
            key = f"{shard.name}/{sample.key}"
            if key in builder.images:  # shards of one name in several folders
                key = f"{shard}/{sample.key}"
            if sum(builder.add_captions(key, code, texts, place) for code, texts in _captions(sample, place)):
                image = sample.images[0]
                builder.add_image(Image(key, shard, place, image.offset, image.length))
            else:
                builder.left_out["sample without a caption"] += 1
    return builder.build("webdataset", "all", Path(request.path))


def _captions(sample: Sample, place: str) -> Iterator[tuple[str | None, list[Any]]]:
    """Yield (language if given, captions): of the texts or, if there is none, of the metadata."""
    try:
        about = sample.metadata()
    except UnicodeDecodeError as problem:
        raise DataError(f"{place}: its text is not UTF-8; make the shard again") from problem
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{place}: its .json is not JSON; make the shard again") from problem
    language = next((about[name] for name in ("language", "lang") if isinstance(about.get(name), str)), None)
    texts = {rest: content for rest, content in sample.texts.items() if not rest.endswith("json")}
    for rest, content in texts.items():
        try:
            yield rest.rpartition(".")[0] or language, content.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as problem:
            raise DataError(f"{place}: its text is not UTF-8; make the shard again") from problem
    if texts:
        return
    captions = about.get("caption", about.get("captions"))
    if isinstance(captions, dict):
        for code, own in captions.items():
            yield code, as_texts(own)
    elif captions is not None:
        yield language, as_texts(captions)


WEBDATASET = CaptionFormat("webdataset", _read_webdataset, own=True)
