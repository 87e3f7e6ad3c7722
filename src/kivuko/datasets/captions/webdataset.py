"""Webdataset shards: images and their texts in tar files, read in place for evaluation and for an index alike.

Members that share a name up to its first dot are one sample (https://github.com/webdataset/webdataset): ``NAME.jpg``
with ``NAME.txt`` (a caption a line), ``NAME.sw.txt`` for a language, or ``NAME.json`` with ``caption`` or ``captions``
(a text, a list, or an object of languages) and perhaps ``language``.
"""

import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from kivuko.datasets.captions.caption_set import CaptionFormat, CaptionSet, Image, Request, SetBuilder, as_texts
from kivuko.errors import DataError
from kivuko.files import refuse_unreadable
from kivuko.languages import known_code
from kivuko.streams import parse_json
from kivuko.text import pluralize

_IMAGES = frozenset(
    ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "jp2", "avif", "heic", "heif", "img")
)
_TEXTS = frozenset(("txt", "caption", "json"))
_MOST_MEMBERS = 1000  # of one sample: its image and captions in some hundred languages
_MOST_TEXT = 1 << 20  # bytes of one text, or of a header
_MOST_APART = 100_000  # samples without an image or a text, kept in mind
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 100_000

# Reasons for what is left out of a shard.
NOT_REGULAR, TOO_LONG = "not a regular file", f"text over {_MOST_TEXT >> 20} MiB"
NO_IMAGE, NO_CAPTION = "sample without an image", "sample without a caption"
APART = "members of a sample are not next to each other (sort the shard by name)"
NOT_UTF8, NOT_JSON = "text is not UTF-8", ".json is not JSON"
NO_LANGUAGE = "text's name goes on after the first dot, with no language code"
DAMAGED = "damaged part of a shard"


class Member(NamedTuple):
    """One file in a shard: ``length`` bytes from ``offset`` on."""

    name: str
    offset: int
    length: int


class Description(NamedTuple):
    """What the texts of an image say, and the reasons why some could not be read."""

    captions: list[tuple[str | None, list[Any]]]  # with the language, if given
    metadata: dict[str, Any]
    faults: list[str]


class Captioned(NamedTuple):
    """An image of a sample and the texts that belong to it, by the end of their names: "txt", "sw.txt", "json"."""

    image: Member
    texts: dict[str, bytes]
    own: bool  # the texts are named like the image beyond the first dot, so they are not the whole sample's

    @property
    def key(self) -> str:
        """Return the name of the image without its ending."""
        return self.image.name.rpartition(".")[0]

    def read(self) -> Description:
        """Return the captions of the texts or else of the metadata."""
        captions: list[tuple[str | None, list[Any]]] = []
        faults: list[str] = []
        about: dict[str, Any] = {}
        if json := next((end for end in ("json", *self.texts) if end.endswith("json") and end in self.texts), None):
            try:
                content = parse_json(self.texts[json].decode("utf-8-sig"))
                about = content if isinstance(content, dict) else {}
            except ValueError as problem:
                faults.append(NOT_UTF8 if isinstance(problem, UnicodeDecodeError) else NOT_JSON)
        language = next((about[name] for name in ("language", "lang") if isinstance(about.get(name), str)), None)
        for end, content in self.texts.items():
            if end.endswith("json"):
                continue
            code, text = end.rpartition(".")[0], _decoded(content)
            if text is None or (code and known_code(code) is None):
                faults.append(NOT_UTF8 if text is None else NO_LANGUAGE)
            else:
                lines = re.split(r"\r\n?|\n", text)
                captions.append((code or language, lines if lines[-1] else lines[:-1]))
        if not captions:
            stated = about.get("caption", about.get("captions"))
            by_language = stated.items() if isinstance(stated, dict) else [(language, stated)]
            captions = [(code, texts) for code, own in by_language if (texts := as_texts(own))]
        return Description(captions, about, faults)


@dataclass
class Sample:
    """The members of a shard that share a name, ``key``, up to its first dot."""

    key: str
    first: str  # name of the first member
    images: list[tuple[str, Member]] = field(default_factory=list)  # with the part between the first and last dot
    texts: dict[str, bytes] = field(default_factory=dict)  # content by the rest of the name: "txt", "sw.txt", "json"
    refused: dict[str, str] = field(default_factory=dict)  # members that cannot be used, with the reason
    apart: bool = False  # other members of it came before other samples

    def captioned(self) -> Iterator[Captioned]:
        """Yield each image with the texts named like it (``img.01.png``, ``img.01.txt``), or else the sample's."""
        own: dict[str, dict[str, bytes]] = {}
        middles = sorted({middle for middle, _ in self.images if middle}, key=len, reverse=True)
        for rest, content in self.texts.items():
            middle = next((one for one in middles if rest.startswith(f"{one}.")), "")
            own.setdefault(middle, {})[rest[len(middle) + 1 :] if middle else rest] = content
        for middle, image in self.images:
            yield Captioned(image, own.get(middle) or own.get("", {}), bool(middle) and middle in own)


def samples(shard: Path) -> Iterator[Sample]:
    """Yield the samples of one shard, also those without an image; at the end DataError, if a part is damaged."""
    refuse_unreadable(shard)
    sample: Sample | None = None
    count, damage, any_member = 0, 0, False
    incomplete: set[int] = set()
    try:
        with shard.open("rb") as stream:
            for header in _members(stream, size := shard.stat().st_size):
                if header is None:
                    damage += 1
                    continue
                any_member = True
                folder, _, name = header.name.rpartition("/")
                base, dot, rest = name.partition(".")
                if not base or not dot or header.isdir():  # hidden, or a README
                    continue
                key = _as_text(f"{folder}/{base}" if folder else base)
                if sample is None or key != sample.key or count >= _MOST_MEMBERS:
                    if sample is not None:
                        yield _noted(sample, incomplete)
                    sample, count = Sample(key, _as_text(header.name)), 0
                _add(sample, stream, header, rest.lower())
                count += 1
    except OSError as problem:
        raise DataError(f"{shard}: cannot be read ({problem.strerror or problem}); check the file") from problem
    if sample is not None:
        yield _noted(sample, incomplete)
    if not any_member and (damage or not size):
        raise DataError(f"{shard}: not a tar file that can be read; unpack a compressed one to .tar, or fetch it again")
    if damage:
        raise DataError(f"{shard}: damaged or cut short in {pluralize(damage, 'place')}; make or fetch it again")


def _noted(sample: Sample, incomplete: set[int]) -> Sample:
    """Mark a sample that lacks what an earlier one of its name has."""
    if not (sample.images and sample.texts):
        sample.apart = hash(sample.key) in incomplete
        if len(incomplete) < _MOST_APART:
            incomplete.add(hash(sample.key))
    return sample


def _members(stream: BinaryIO, size: int) -> Iterator[tarfile.TarInfo | None]:
    """Yield the members of a tar file, also of several joined in one file; None for each damaged part.

    ``tarfile`` reads each header; its own walk ends at the first damage and has no bound on memory or recursion.
    """
    place, intact = 0, True
    named: dict[str, str] = {}  # by headers that go before a member: its name, its size
    while place + tarfile.BLOCKSIZE <= size:
        stream.seek(place)
        block = stream.read(tarfile.BLOCKSIZE)
        place += tarfile.BLOCKSIZE
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            header.size = int(named.get("size", header.size))
            with_data = header.isreg() or header.type in _BEFORE or header.type not in tarfile.SUPPORTED_TYPES
            if header.size < 0 or (with_data and place + header.size > size):
                raise tarfile.HeaderError
        except (tarfile.HeaderError, ValueError):
            named = {}  # of a member that is lost
            if intact and any(block):
                intact = False
                yield None
            continue
        intact = True
        if header.type in _BEFORE and header.size > _MOST_TEXT:
            yield None
        elif header.type in _BEFORE:
            named |= _BEFORE[header.type](stream.read(header.size))
        else:
            extended = header.type == tarfile.GNUTYPE_SPARSE and block[482]
            while extended:  # the map of a sparse file goes on
                block = stream.read(tarfile.BLOCKSIZE).ljust(tarfile.BLOCKSIZE, b"\0")
                extended, place = block[504], place + tarfile.BLOCKSIZE
            header.name, header.offset_data = named.get("path", header.name), place
            if "sparse" in named:
                header.type = tarfile.GNUTYPE_SPARSE
            named = {}
            yield header
        if with_data:
            place += -(-header.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    stream.seek(min(place, size))
    if intact and any(stream.read(tarfile.BLOCKSIZE)):
        yield None


def _pax(content: bytes) -> dict[str, str]:
    records = dict(re.findall(rb"\d+ (path|size|GNU\.sparse)[^=\n]*=([^\n]*)\n", content))
    named = {key.decode(): value.decode("utf-8", "surrogateescape") for key, value in records.items()}
    if "GNU.sparse" in named:
        named["sparse"] = named.pop("GNU.sparse")
    return named


def _long_name(content: bytes) -> dict[str, str]:
    return {"path": content.rstrip(b"\0").decode("utf-8", "surrogateescape")}


# Headers that go before a member's own, and what they say of it.
_BEFORE: dict[bytes, Callable[[bytes], dict[str, str]]] = {
    tarfile.XHDTYPE: _pax, tarfile.SOLARIS_XHDTYPE: _pax, tarfile.XGLTYPE: lambda _: {},
    tarfile.GNUTYPE_LONGNAME: _long_name, tarfile.GNUTYPE_LONGLINK: lambda _: {},
}  # fmt: skip


def _add(sample: Sample, stream: BinaryIO, header: tarfile.TarInfo, rest: str) -> None:
    middle, _, kind = rest.rpartition(".")
    regular = header.isreg() and header.type != tarfile.GNUTYPE_SPARSE
    name = _as_text(header.name)
    if kind in _IMAGES and regular:
        sample.images.append((middle, Member(name, header.offset_data, header.size)))
    elif kind in _IMAGES:
        sample.refused[name] = NOT_REGULAR
    elif kind in _TEXTS and regular and header.size <= _MOST_TEXT:
        stream.seek(header.offset_data)
        sample.texts[rest] = stream.read(header.size)
    elif kind in _TEXTS:
        sample.refused[name] = TOO_LONG if regular else NOT_REGULAR


def _as_text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()  # names in a tar file are bytes


def _decoded(content: bytes) -> str | None:
    """Return a text without its byte order mark; None if it is not UTF-8."""
    try:
        return None if b"\0" in content else content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


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


def dots_note(image: Member, sample: Sample) -> str:
    """Return a note on file names with more dots than the one that ends the sample's name."""
    return (
        f"names of files hold more dots than one: {image.name} is of the sample {sample.key}, whose name ends at the "
        "first dot; each image has the texts that are named like it"
    )


def _read_webdataset(request: Request) -> CaptionSet:
    """Read all shards that PATH names; what cannot be used is left out and counted."""
    builder = SetBuilder(language=request.language, files=find_shards(str(request.path)))
    notes: list[str] = []
    for shard in builder.files:
        any_sample = False
        try:
            for sample in samples(shard):
                any_sample = True
                builder.left_out.update(sample.refused.values())
                if sample.images:
                    _add_images(builder, shard, sample, notes)
                else:
                    builder.left_out[APART if sample.apart else NO_IMAGE] += 1
        except DataError:
            if not any_sample:
                raise
            builder.left_out[DAMAGED] += 1
    return builder.build("webdataset", "all", Path(request.path), notes)


def _add_images(builder: SetBuilder, shard: Path, sample: Sample, notes: list[str]) -> None:
    """Add the images that have texts of their own and, of those that share the sample's, the first."""
    whole = False
    for one in sample.captioned():
        if not one.own and whole:
            continue
        whole |= not one.own
        name = one.key if one.own else sample.key
        place = f"{shard}, sample {name}"
        key = f"{shard.name}/{name}"
        if key in builder.images:  # shards of one name in several folders
            key = f"{shard}/{name}"
        described = one.read()
        builder.left_out.update(described.faults)
        if sum(builder.add_captions(key, code, texts, place) for code, texts in described.captions):
            builder.add_image(Image(key, shard, place, one.image.offset, one.image.length))
        else:
            builder.left_out[APART if sample.apart else NO_CAPTION] += 1
        if one.own and not notes:
            notes.append(dots_note(one.image, sample))


WEBDATASET = CaptionFormat("webdataset", _read_webdataset, own=True)
