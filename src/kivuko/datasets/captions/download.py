"""One file from the network: goes on where it was cut, and is there under its name only when it is whole."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from kivuko.errors import DataError, KivukoError, UsageError, at
from kivuko.files import explain_write_failure, sha256_of, write_text
from kivuko.streams import text_lines

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all (None: the server does not say)
_BLOCK = 1 << 18
_TIMEOUT = 60.0  # seconds without a byte


def download(url: str, path: Path, progress: Progress | None = None) -> None:
    """Fetch a file to ``path``; what a run before has fetched is kept in ``.NAME.part`` and gone on from.

    The server is asked for the rest only of the very file that was begun: its ETag or its date must be the same. A
    server that cannot go on sends the file from its start.

    Raises:
        DataError: the address cannot be reached, refuses, or the connection is cut; what came is kept.
        KivukoError: the disk is full or cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    about = path.with_name(f".{path.name}.part.json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _fetch(url, part, about, progress)
        part.replace(path)
        about.unlink(missing_ok=True)
    except KivukoError:
        raise
    except urllib.error.HTTPError as problem:
        if problem.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)  # longer than the file is: of another one
            about.unlink(missing_ok=True)
        raise DataError(f"{url}: cannot be fetched (HTTP {problem.code} {problem.reason}). {_RETRY}") from problem
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as problem:
        reason = getattr(problem, "reason", None) or problem
        raise DataError(f"{url}: cannot be fetched ({reason}). {_RETRY}") from problem
    except ValueError as problem:
        raise DataError(f"{url}: not an address that can be fetched ({problem})") from problem
    except OSError as problem:
        raise explain_write_failure(problem, path) or DataError(
            f"{url}: cannot be fetched to {path} ({problem.strerror or problem}). {_RETRY}"
        ) from problem


_RETRY = "What came is kept: run the command again to go on, or name a local copy of the set"


def check_or_note_sha256(path: Path, expected: str | None) -> str:
    """Return a file's SHA-256.

    Raises:
        DataError: it is not the ``expected`` one; the file is removed, so that it is fetched anew.
    """
    found = sha256_of(path)
    if expected is not None and found != expected.lower():
        path.unlink(missing_ok=True)
        raise DataError(
            f"{path}: its SHA-256 is {found}, not {expected.lower()} as listed: damaged on the way, or another "
            "edition. It was removed; run the command again, or mend the list"
        )
    return found


def _fetch(url: str, part: Path, about: Path, progress: Progress | None) -> None:
    begun = part.stat().st_size if part.exists() else 0
    known = _read(about)
    mark = known.get("etag") or known.get("modified")
    headers = {"User-Agent": "kivuko", "Accept-Encoding": "identity"}
    if begun and mark and known.get("url") == url:
        headers |= {"Range": f"bytes={begun}-", "If-Range": str(mark)}
    else:
        begun = 0
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        goes_on = answer.status == http.client.PARTIAL_CONTENT
        if goes_on and not _starts_at(answer.headers.get("Content-Range"), begun):
            raise DataError(f"{url}: the server sent another part of the file than was asked for. {_RETRY}")
        begun = begun if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = begun + int(length) if length and length.isdigit() else None
        _note(about, url, answer.headers)
        with part.open("ab" if goes_on else "wb") as stream:
            done = begun
            while block := answer.read(_BLOCK):
                stream.write(block)
                done += len(block)
                if progress is not None:
                    progress(done, total)
            stream.flush()
            os.fsync(stream.fileno())
    if total is not None and done != total:
        raise DataError(f"{url}: the connection was cut at {done:,} of {total:,} bytes. {_RETRY}")


def _starts_at(header: str | None, begun: int) -> bool:
    return header is not None and header.strip().lower().startswith(f"bytes {begun}-")


def _note(about: Path, url: str, headers: Mapping[str, str]) -> None:
    etag = headers.get("ETag")
    strong = etag if etag and not etag.startswith("W/") else None  # a weak one does not promise the same bytes
    write_text(about, json.dumps({"url": url, "etag": strong, "modified": headers.get("Last-Modified")}))


def _read(about: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(about.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a ``.zip``, ``.tgz`` or ``.tar.gz`` into ``folder``, which may exist; return how many files it holds.

    Files are unpacked beside the folder first and moved into it when all are there. Absolute paths, paths that lead
    out of the folder, links and devices are refused.

    Raises:
        DataError: the archive is damaged, or holds what is refused.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacking-") as name:
            place = Path(name)
            if zipfile.is_zipfile(archive):
                _unzip(archive, place)
            else:
                with tarfile.open(archive, "r:*") as tar:
                    tar.extractall(place, filter="data")
            return _move(place, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as problem:
        raise DataError(f"{archive}: cannot be unpacked ({problem}). Delete it and fetch it again.") from problem


def _unzip(archive: Path, place: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
                raise DataError(f"{archive}: holds {name!r}, which leads out of its folder; it was not unpacked")
        packed.extractall(place)


def _move(place: Path, folder: Path) -> int:
    count = 0
    for path in sorted(place.rglob("*")):
        if path.is_file():
            target = folder / path.relative_to(place)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
            count += 1
    return count


_XTD = "https://raw.githubusercontent.com/adobe-research/Cross-lingual-Test-Dataset-XTD10/main"
_IGLUE = "https://raw.githubusercontent.com/e-bug/iglue/main/datasets"
_MULTI30K = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1"


@dataclass(frozen=True)
class RemoteFile:
    """One file of a set.

    ``place``: where it goes, relative to the set's folder; an archive is unpacked into the folder ``into`` and then
    removed. ``images``: gigabytes that the user may have already.
    """

    url: str
    place: str
    into: str | None = None
    images: bool = False


@dataclass(frozen=True)
class RemoteSet:
    """What a set consists of; ``also``: what must be got elsewhere, in a sentence."""

    files: tuple[RemoteFile, ...]
    license: str
    also: str = ""


def _xtd() -> tuple[RemoteFile, ...]:
    folders = {"XTD10": "es it ko pl ru tr zh", "MIC": "en de fr", "STAIR": "jp"}
    captions = [
        RemoteFile(f"{_XTD}/{folder}/test_1kcaptions_{code}.txt", f"{folder}/test_1kcaptions_{code}.txt")
        for folder, codes in folders.items()
        for code in codes.split()
    ]
    return (RemoteFile(f"{_XTD}/XTD10/test_image_names.txt", "XTD10/test_image_names.txt"), *captions)


def _multi30k() -> tuple[RemoteFile, ...]:
    part = "test_2016_flickr"
    captions = [
        RemoteFile(f"{_MULTI30K}/raw/{part}.{c}.gz", f"data/task1/raw/{part}.{c}.gz") for c in ["en", "de", "fr", "cs"]
    ]
    names = f"image_splits/{part}.txt"
    return (RemoteFile(f"{_MULTI30K}/{names}", f"data/task1/{names}"), *captions)


SETS: Mapping[str, RemoteSet] = {
    "xm3600": RemoteSet(
        files=(
            RemoteFile("https://google.github.io/crossmodal-3600/web-data/captions.zip", "captions.zip", into="."),
            RemoteFile(
                "https://open-images-dataset.s3.amazonaws.com/crossmodal-3600/images.tgz",
                "images.tgz",
                into="images",
                images=True,
            ),
        ),
        license="CC BY 4.0 (captions); the images' own licenses are in image_attributions.csv of the set's page",
    ),
    "xtd": RemoteSet(
        files=_xtd(),
        license="Adobe's research license, see the repository's LICENSE.md",
        also="the images are MSCOCO's of 2014 (train and val), from cocodataset.org",
    ),
    "xflickrco": RemoteSet(
        files=tuple(
            RemoteFile(f"{_IGLUE}/xFlickrCO/annotations/{code}/test.jsonl", f"annotations/{code}/test.jsonl")
            for code in ["de", "en", "es", "id", "ja", "ru", "tr", "zh"]
        ),
        license="see IGLUE's repository",
        also="the images are Flickr30k's and MSCOCO's val2014",
    ),
    "wit": RemoteSet(
        files=tuple(
            RemoteFile(f"{_IGLUE}/wit/annotations/test_{code}.jsonl", f"annotations/test_{code}.jsonl")
            for code in ["ar", "bg", "da", "el", "en", "et", "id", "ja", "ko", "tr", "vi"]
        ),
        license="CC BY-SA 3.0",
        also="the images are Wikimedia Commons', at the address that each line gives",
    ),
    "multi30k": RemoteSet(
        files=_multi30k(),
        license="see Multi30k's repository",
        also="the images are Flickr30k's, which its authors give on request",
    ),
}


def remote_set(name: str) -> RemoteSet:
    """Return what is known of a set that may be fetched.

    Raises:
        UsageError: it is not one of them.
    """
    if name not in SETS:
        raise UsageError(f"{name} cannot be fetched; these can: {', '.join(SETS)}. Others: name their local copy")
    return SETS[name]


# Fetching a caption set where the network allows: resumable, with a list of checksums.
#
# Publishers of these sets give no checksums. So the first fetch writes what it got to ``SHA256SUMS`` in the set's
# folder, in the form of ``sha256sum``, and every later fetch must get the same; a list of your own (``--checksums``) is
# held against it from the first.

CHECKSUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
Watch = Callable[[str, int, int | None], None]
"""Told the file's name, its bytes so far, and in all (None: not known)."""


@dataclass(frozen=True)
class Fetched:
    """What a run did: names of the files that it fetched, of those that were there, and every checksum."""

    fetched: tuple[str, ...]
    kept: tuple[str, ...]
    checksums: Mapping[str, str]


def fetch(
    remote: RemoteSet,
    folder: Path,
    *,
    images: bool = True,
    checksums: Path | None = None,
    watch: Watch | None = None,
) -> Fetched:
    """Fetch a set's files into a folder and unpack its archives.

    Files listed in ``folder/SHA256SUMS`` with their marks of being done are not fetched again. A killed run goes on
    where it was.

    Args:
        images: also the archives of images, which are gigabytes.
        checksums: a list in the form of ``sha256sum``: files that it names must have those.
        watch: told how far each file is.

    Raises:
        DataError: a file cannot be fetched, or is not the one that was listed.
    """
    known = read_checksums(folder / CHECKSUMS) if (folder / CHECKSUMS).is_file() else {}
    required = known if checksums is None else {**known, **read_checksums(checksums)}
    fetched: list[str] = []
    kept: list[str] = []
    for one in remote.files:
        if one.images and not images:
            continue
        if _is_done(one, folder, known, required):
            kept.append(one.place)
            continue
        known[one.place] = _fetch_one(one, folder, required.get(one.place), watch)
        _write_checksums(folder / CHECKSUMS, known)
        fetched.append(one.place)
    return Fetched(tuple(fetched), tuple(kept), known)


def read_checksums(path: Path) -> dict[str, str]:
    """Read a list as ``sha256sum`` writes it: name to 64 hexadecimal digits.

    Raises:
        DataError: it cannot be read, or a line is of another form.
    """
    found: dict[str, str] = {}
    for number, line in text_lines(path):
        if not line.strip() or line.startswith("#"):
            continue
        if (match := _LINE.fullmatch(line.rstrip())) is None:
            raise DataError(f"{at(path, number)}: not a line of sha256sum: 64 hexadecimal digits, two blanks, a name")
        found[match[2].removeprefix("./")] = match[1].lower()
    return found


def _is_done(one: RemoteFile, folder: Path, known: Mapping[str, str], required: Mapping[str, str]) -> bool:
    """Tell whether a file is there as it was fetched; an archive is removed once it is unpacked."""
    if one.place not in known or known[one.place] != required.get(one.place):
        return False
    place = folder / one.place
    if one.into is not None:
        return (folder / _mark(one)).is_file() and (folder / one.into).is_dir()
    return place.is_file() and check_or_note_sha256(place, None) == known[one.place]


def _fetch_one(one: RemoteFile, folder: Path, expected: str | None, watch: Watch | None) -> str:
    place = folder / one.place
    if not place.is_file():  # or a run was killed before it was unpacked or listed
        download(one.url, place, None if watch is None else lambda done, total: watch(one.place, done, total))
    found = check_or_note_sha256(place, expected)
    if one.into is not None:
        count = unpack(place, folder / one.into)
        write_text(folder / _mark(one), f"{found}  {one.place}: {count} files\n")
        place.unlink()
    return found


def _mark(one: RemoteFile) -> str:
    return f".{one.place}.unpacked"


def _write_checksums(path: Path, known: Mapping[str, str]) -> None:
    write_text(path, "".join(f"{digest}  {name}\n" for name, digest in sorted(known.items())))
