"""Webdataset shards: images and their texts in tar files, read in place for evaluation and for an index alike.

Members that share a name up to its first dot are one sample (https://github.com/webdataset/webdataset): ``NAME.jpg``
with ``NAME.txt`` (a caption a line), ``NAME.sw.txt`` for a language, or ``NAME.json`` with ``caption`` (or captions,
text, sentence, title, description; a text, a list, or an object of languages) and perhaps ``language``.
"""

import posixpath
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from kivuko.datasets.captions.caption_set import CaptionFormat, CaptionSet, Image, Request, SetBuilder, as_texts
from kivuko.datasets.captions.own_files import CAPTION_COLUMNS
from kivuko.errors import DataError
from kivuko.files import refuse_unreadable
from kivuko.languages import known_code
from kivuko.streams import is_compressed, parse_json
from kivuko.text import pluralize

_IMAGES = frozenset(
    ("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff", "ppm", "pgm", "pbm",
     "pnm", "jp2", "j2k", "jpx", "jxl", "avif", "heic", "heif", "ico", "tga", "img", "image")
)  # fmt: skip
_TEXTS = frozenset(("txt", "text", "caption", "captions", "cap", "json"))
_MOST_MEMBERS = 1000  # of one sample: its image and captions in some hundred languages
_MOST_TEXT = 1 << 20  # bytes of one text, or of a header
_MOST_APART = 100_000  # samples without an image or a text, kept in mind
_RANGE = re.compile(r"(\d+)\.\.(\d+)(?:\.\.(\d+))?")
_BRACES = re.compile(r"\{([^{}]*(?:,|\d\.\.\d)[^{}]*)\}")
_MOST_SHARDS = 100_000

# Reasons for what is left out of a shard.
NOT_REGULAR, TOO_LONG = "not a regular file", f"text over {_MOST_TEXT >> 20} MiB"
LINK = "link to another file (make the shard with tar --dereference --hard-dereference)"
SPARSE = "sparse file (make the shard without tar --sparse)"
TWICE, DAMAGED_GZIP = "named twice", "damaged .gz"
NO_IMAGE, NO_CAPTION = "sample without an image", "sample without a caption"
NO_SAMPLE = "shard without a sample (files named as 1.jpg, 1.txt)"
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
                about = content if isinstance(content, dict) else {"captions": _captions_of(content)}
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
        if not any(line.strip() for _, lines in captions for line in lines):
            stated = _captions_of(about)
            by_language = stated.items() if isinstance(stated, dict) else [(language, stated)]
            captions = [(code, texts) for code, own in by_language if (texts := as_texts(own))] or captions
        return Description(captions, about, faults)


def _captions_of(about: Any) -> Any:
    """Return what metadata give as the captions, under the first of the usual names that holds something."""
    if isinstance(about, list):
        return [text for one in about for text in as_texts(_captions_of(one))]
    if not isinstance(about, dict):
        return about
    by_name = {name.lower(): value for name, value in reversed(about.items())}
    return next(filter(None, map(by_name.get, CAPTION_COLUMNS)), None)


@dataclass
class Sample:
    """The members of a shard that share a name, ``key``, up to its first dot."""

    key: str
    first: str  # name of the first member
    images: list[tuple[str, Member]] = field(default_factory=list)  # with the part between the first and last dot
    texts: dict[str, bytes] = field(default_factory=dict)  # content by the rest of the name: "txt", "sw.txt", "json"
    refused: dict[str, str] = field(default_factory=dict)  # members that cannot be used, with the reason
    names: set[str] = field(default_factory=set)  # of its images
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
    count, damage, any_member, before = 0, 0, False, ""
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
                if not base or not dot or header.isdir() or (base[:2] == "__" == base[-2:]):
                    continue  # hidden, a README, or __of_the_shard__.json
                if folder.startswith("."):
                    folder = posixpath.normpath(folder).removeprefix(".")
                key = _as_text(f"{folder}/{base}" if folder else base)
                if sample is None or key != sample.key or (count >= _MOST_MEMBERS and _middle(rest) != _middle(before)):
                    if sample is not None:
                        yield _noted(sample, incomplete)
                    sample, count = Sample(key, _as_text(header.name)), 0
                _add(sample, stream, header, rest.lower())
                count, before = count + 1, rest
    except OSError as problem:
        raise DataError(f"{shard}: cannot be read ({problem.strerror or problem}); check the file") from problem
    if sample is not None:
        yield _noted(sample, incomplete)
    if not any_member and (damage or not size):
        refuse_packed(shard)
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
                header.type, header.name = tarfile.GNUTYPE_SPARSE, named.get("sparse.name", header.name)
            named = {}
            yield header
        if with_data:
            place += -(-header.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    stream.seek(min(place, size))
    if intact and any(stream.read(tarfile.BLOCKSIZE)):
        yield None


def _pax(content: bytes) -> dict[str, str]:
    records = re.findall(rb"\d+ (?:GNU\.)?(path|size|sparse(?:\.name)?)[^=\n]*=([^\n]*)\n", content)
    return {key.decode(): value.decode("utf-8", "surrogateescape") for key, value in records}


def _long_name(content: bytes) -> dict[str, str]:
    return {"path": content.rstrip(b"\0").decode("utf-8", "surrogateescape")}


# Headers that go before a member's own, and what they say of it.
_BEFORE: dict[bytes, Callable[[bytes], dict[str, str]]] = {
    tarfile.XHDTYPE: _pax, tarfile.SOLARIS_XHDTYPE: _pax, tarfile.XGLTYPE: lambda _: {},
    tarfile.GNUTYPE_LONGNAME: _long_name, tarfile.GNUTYPE_LONGLINK: lambda _: {},
}  # fmt: skip


def _add(sample: Sample, stream: BinaryIO, header: tarfile.TarInfo, rest: str) -> None:
    plain = rest.removesuffix(".gz")
    middle, _, kind = plain.rpartition(".")
    name = _as_text(header.name)
    if kind not in _TEXTS and (kind not in _IMAGES or plain != rest):
        return
    if not header.isreg() or header.type == tarfile.GNUTYPE_SPARSE:
        sparse = header.type == tarfile.GNUTYPE_SPARSE
        sample.refused[name] = SPARSE if sparse else LINK if header.islnk() or header.issym() else NOT_REGULAR
    elif plain in sample.texts or name in sample.names:
        sample.refused[name] = TWICE
    elif kind in _IMAGES:
        sample.names.add(name)
        sample.images.append((middle, Member(name, header.offset_data, header.size)))
    elif header.size > _MOST_TEXT:
        sample.refused[name] = TOO_LONG
    else:
        stream.seek(header.offset_data)
        content = stream.read(header.size)
        if plain == rest:
            sample.texts[plain] = content
        elif (unpacked := _unpacked(content)) is None:
            sample.refused[name] = DAMAGED_GZIP
        elif len(unpacked) > _MOST_TEXT:
            sample.refused[name] = TOO_LONG
        else:
            sample.texts[plain] = unpacked


def _unpacked(content: bytes) -> bytes | None:
    """Return what gzip packed, also in several parts, as far as a text may go; None if it is damaged."""
    unpacked = b""
    try:
        while content and len(unpacked) <= _MOST_TEXT:
            part = zlib.decompressobj(wbits=31)
            unpacked += part.decompress(content, _MOST_TEXT + 1)
            if not part.eof and len(unpacked) <= _MOST_TEXT:
                return None
            content = part.unused_data
    except zlib.error:
        return None
    return unpacked


def _as_text(name: str) -> str:
    if name.isascii():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")  # in a tar file it is bytes


def _middle(rest: str) -> str:
    return rest.rpartition(".")[0]


def _decoded(content: bytes) -> str | None:
    """Return a text without its byte order mark; None if it is not UTF-8."""
    try:
        return None if b"\0" in content else content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def refuse_packed(shard: Path) -> None:
    """Raise DataError for a shard that is compressed as a whole, or only a pointer to one."""
    with shard.open("rb") as stream:
        start = stream.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise DataError(f"{shard}: a Git LFS pointer, not the shard itself; run git lfs pull to fetch it")
    if is_compressed(start):
        raise DataError(f"{shard}: a compressed shard cannot be read in any order; unpack it to .tar first.")


def is_pattern(path: str) -> bool:
    """Return True if a path that does not exist may name several shards."""
    return "::" in path or any(letter in path for letter in "*?[{")


def find_shards(pattern: str) -> list[Path]:
    """Return the shards of a path, a folder, or a pattern: ``*``, ``{00..09}``, ``{train,test}``, ``A::B``."""
    shards: list[Path] = []
    names = [pattern] if Path(pattern).exists() else list(islice(_expanded(pattern), _MOST_SHARDS + 1))
    if len(names) > _MOST_SHARDS:
        raise DataError(f"{pattern}: names too many shards; most are {_MOST_SHARDS:,}")
    for one in names:
        path = Path(one)
        if path.is_dir():
            shards += (entry for entry in path.iterdir() if entry.suffix.lower() == ".tar")
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


def _expanded(pattern: str) -> Iterator[str]:
    """Yield the paths that a pattern with braces names, as shells and webdataset write them, one by one."""
    for part in pattern.split("::"):
        pieces = _BRACES.split(part)  # text, braces, text, braces, text
        if len(pieces) == 1:
            yield part
            continue
        choices = [_choices(piece) if place % 2 else (piece,) for place, piece in enumerate(pieces)]
        if prod(map(len, choices)) > _MOST_SHARDS:
            raise DataError(f"{pattern}: names {prod(map(len, choices)):,} shards; most are {_MOST_SHARDS:,}")
        for chosen in product(*choices):
            yield from _expanded("".join(chosen))


def _choices(braces: str) -> Sequence[str]:
    """Return what the content of a pair of braces stands for: ``00..09``, ``0..8..2``, ``train,test``."""
    if not (span := _RANGE.fullmatch(braces)):
        return braces.split(",")
    first, last, step = span[1], span[2], max(1, int(span[3] or 1))
    numbers = range(int(first), int(last) + 1, step)
    if len(numbers) > _MOST_SHARDS:
        raise DataError(f"{{{braces}}}: names {len(numbers):,} shards; most are {_MOST_SHARDS:,}")
    return [f"{number:0{len(first)}d}" for number in numbers]


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
                elif not sample.refused:
                    builder.left_out[APART if sample.apart else NO_IMAGE] += 1
            builder.left_out.update(() if any_sample else (NO_SAMPLE,))
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
        if key in builder.images and builder.images[key].path != shard:  # shards of one name in several folders
            key = f"{shard}/{name}"
        if key in builder.images:
            builder.left_out[TWICE] += 1
            continue
        described = one.read()
        builder.left_out.update(described.faults)
        if sum(builder.add_captions(key, code, texts, place) for code, texts in described.captions):
            builder.add_image(Image(key, shard, place, one.image.offset, one.image.length))
        else:
            builder.left_out[APART if sample.apart else NO_CAPTION] += 1
        if one.own and not notes:
            notes.append(dots_note(one.image, sample))


WEBDATASET = CaptionFormat("webdataset", _read_webdataset, own=True)
