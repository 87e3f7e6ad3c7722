"""Caption sets from the network: resumable downloads, archives unpacked, checksums kept.

Publishers give no checksums, so the first fetch writes them to ``SHA256SUMS`` in the set's folder, and later fetches
must match; a list of the user's (``--checksums``) applies from the first fetch on.
"""

import contextlib
import http.client
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

from kivuko.errors import DataError, KivukoError, UsageError, at
from kivuko.files import explain_write_failure, refuse_unwritable, sha256_of, write_text
from kivuko.progress import Report, bars, late_task
from kivuko.streams import text_lines

CHECKSUMS = "SHA256SUMS"
Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all (None: the server does not say)
Watch = Callable[[str, int, int | None], None]  # the file's name, and its Progress
_BLOCK = 1 << 18
_TIMEOUT = 60.0  # seconds without a byte
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
_RETRY = "What came is kept: run the command again to resume, or name a local copy of the set"


@dataclass(frozen=True)
class RemoteFile:
    """One file of a set."""

    url: str
    place: str  # path in the set's folder
    into: str | None = None  # folder that an archive is unpacked into
    images: bool = False  # gigabytes that the user may have already

    @property
    def mark(self) -> str:
        """Return the name of the file that says that the archive was unpacked."""
        return f".{self.place}.unpacked"


@dataclass(frozen=True)
class RemoteSet:
    """The files of a set."""

    files: tuple[RemoteFile, ...]
    license: str
    also: str = ""  # what has to be fetched elsewhere, in a sentence


@dataclass(frozen=True)
class Fetched:
    """The result of a fetch: names of the files fetched, of those that were there, and every checksum."""

    folder: Path
    fetched: tuple[str, ...]
    kept: tuple[str, ...]
    checksums: Mapping[str, str]


def fetch_set(
    name: str,
    folder: Path | None = None,
    *,
    images: bool = True,
    checksums: Path | None = None,
    progress: bool | None = None,
) -> Fetched:
    """Fetch a published set by name into ``folder`` (default ``data/NAME``); see ``fetch``."""
    remote = remote_set(name)
    with bars(progress) as display:
        reports: dict[str, Report] = {}

        def watch(file: str, done: int, total: int | None) -> None:
            reports.setdefault(file, late_task(display, file))(done, total or done)

        return fetch(remote, folder or Path("data") / name, images=images, checksums=checksums, watch=watch)


def fetch(
    remote: RemoteSet,
    folder: Path,
    *,
    images: bool = True,
    checksums: Path | None = None,
    watch: Watch | None = None,
) -> Fetched:
    """Fetch a set's files into a folder and unpack its archives; files that are complete are not fetched again.

    ``images``: also the archives of images, which are gigabytes. ``checksums``: a list in the form of ``sha256sum``.
    """
    refuse_unwritable(folder / CHECKSUMS)
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
        write_text(folder / CHECKSUMS, "".join(f"{digest}  {name}\n" for name, digest in sorted(known.items())))
        fetched.append(one.place)
    return Fetched(folder, tuple(fetched), tuple(kept), known)


def read_checksums(path: Path) -> dict[str, str]:
    """Read a list as ``sha256sum`` writes it: name to 64 hexadecimal digits."""
    checksums: dict[str, str] = {}
    for number, line in text_lines(path):
        if not line.strip() or line.startswith("#"):
            continue
        if (match := _LINE.fullmatch(line.rstrip())) is None:
            raise DataError(f"{at(path, number)}: not a line of sha256sum: 64 hexadecimal digits, two blanks, a name")
        checksums[match[2].removeprefix("./")] = match[1].lower()
    if not checksums:
        raise DataError(f"{path}: holds no checksum; name what sha256sum wrote")
    return checksums


def _is_done(one: RemoteFile, folder: Path, known: Mapping[str, str], required: Mapping[str, str]) -> bool:
    """Return True if a file is there and unchanged; an archive is removed once it is unpacked."""
    if one.place not in known or known[one.place] != required.get(one.place):
        return False
    place = folder / one.place
    if one.into is not None:
        return (folder / one.mark).is_file() and (folder / one.into).is_dir()
    return place.is_file() and _check_sha256(place, None) == known[one.place]


def _fetch_one(one: RemoteFile, folder: Path, expected: str | None, watch: Watch | None) -> str:
    place = folder / one.place
    if not place.is_file():  # or a run was killed before it was unpacked or listed
        download(one.url, place, None if watch is None else lambda done, total: watch(one.place, done, total))
    digest = _check_sha256(place, expected)
    if one.into is not None:
        count = unpack(place, folder / one.into)
        write_text(folder / one.mark, f"{digest}  {one.place}: {count} files\n")
        place.unlink()
    return digest


def download(url: str, path: Path, progress: Progress | None = None) -> None:
    """Fetch a file to ``path``, and resume an earlier download that is kept in ``.NAME.part``.

    It resumes only if the file on the server is still the same one, by its ETag or its date.
    """
    part, about = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.part.about")
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


def _check_sha256(path: Path, expected: str | None) -> str:
    """Return a file's SHA-256; remove the file and raise DataError if it is not the ``expected`` one."""
    actual = sha256_of(path)
    if expected is not None and actual != expected.lower():
        path.unlink(missing_ok=True)
        raise DataError(
            f"{path}: its SHA-256 is {actual}, not {expected.lower()} as listed: damaged on the way, or another "
            "edition. It was removed; run the command again, or mend the list"
        )
    return actual


def _fetch(url: str, part: Path, about: Path, progress: Progress | None) -> None:
    """Fetch into ``part``; ``about`` holds the address and the mark of the edition that is in it."""
    headers = {"User-Agent": "kivuko", "Accept-Encoding": "identity"}
    begun = 0
    with contextlib.suppress(OSError, ValueError):
        known, mark = about.read_text(encoding="utf-8").splitlines()
        if known == url and (begun := part.stat().st_size):
            headers |= {"Range": f"bytes={begun}-", "If-Range": mark}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        resumes = answer.status == http.client.PARTIAL_CONTENT
        if resumes and not (answer.headers.get("Content-Range") or "").strip().lower().startswith(f"bytes {begun}-"):
            raise DataError(f"{url}: the server sent another part of the file than was requested. {_RETRY}")
        done = begun if resumes else 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length and length.isdigit() else None
        etag = answer.headers.get("ETag") or "W/"  # a weak one does not promise the same bytes
        mark = (answer.headers.get("Last-Modified") or "") if etag.startswith("W/") else etag
        write_text(about, f"{url}\n{mark}\n" if mark else "")
        with part.open("ab" if resumes else "wb") as stream:
            while block := answer.read(_BLOCK):
                stream.write(block)
                done += len(block)
                if progress is not None:
                    progress(done, total)
            stream.flush()
            os.fsync(stream.fileno())
    if total is not None and done != total:
        raise DataError(f"{url}: the connection was cut at {done:,} of {total:,} bytes. {_RETRY}")


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a ``.zip``, ``.tgz`` or ``.tar.gz`` into ``folder``, which may exist; return how many files it holds.

    Files are unpacked in a folder next to it and moved when all are there. Absolute paths, paths out of the folder,
    links and devices are refused.
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
            count = sum(path.is_file() for path in place.rglob("*"))
            shutil.copytree(place, folder, copy_function=shutil.move, dirs_exist_ok=True)
            return count
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as problem:
        raise DataError(f"{archive}: cannot be unpacked ({problem}). Delete it and fetch it again.") from problem


def _unzip(archive: Path, place: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
                raise DataError(f"{archive}: holds {name!r}, which leads out of its folder; it was not unpacked")
        packed.extractall(place)


def _files(base: str, *places: str, below: str = "") -> tuple[RemoteFile, ...]:
    return tuple(RemoteFile(f"{base}/{place}", f"{below}{place}") for place in places)


_GITHUB = "https://raw.githubusercontent.com"
_XM3600_IMAGES = "https://open-images-dataset.s3.amazonaws.com/crossmodal-3600/images.tgz"
_XTD = {"XTD10": "es it ko pl ru tr zh", "MIC": "en de fr", "STAIR": "jp"}  # folder to languages
SETS: Mapping[str, RemoteSet] = {
    "xm3600": RemoteSet(
        (
            RemoteFile("https://google.github.io/crossmodal-3600/web-data/captions.zip", "captions.zip", into="."),
            RemoteFile(_XM3600_IMAGES, "images.tgz", into="images", images=True),
        ),
        license="CC BY 4.0 (captions); the images' own licenses are in image_attributions.csv of the set's page",
    ),
    "xtd": RemoteSet(
        _files(
            f"{_GITHUB}/adobe-research/Cross-lingual-Test-Dataset-XTD10/main",
            "XTD10/test_image_names.txt",
            *(f"{folder}/test_1kcaptions_{code}.txt" for folder, codes in _XTD.items() for code in codes.split()),
        ),
        license="Adobe's research license, see the repository's LICENSE.md",
        also="the images are MSCOCO's of 2014 (train and val), from cocodataset.org",
    ),
    "xflickrco": RemoteSet(
        _files(
            f"{_GITHUB}/e-bug/iglue/main/datasets/xFlickrCO",
            *(f"annotations/{code}/test.jsonl" for code in ("de", "en", "es", "id", "ja", "ru", "tr", "zh")),
        ),
        license="see IGLUE's repository",
        also="the images are Flickr30k's and MSCOCO's val2014",
    ),
    "wit": RemoteSet(
        _files(
            f"{_GITHUB}/e-bug/iglue/main/datasets/wit",
            *(
                f"annotations/test_{code}.jsonl"
                for code in ["ar", "bg", "da", "el", "en", "et", "id", "ja", "ko", "tr", "vi"]
            ),
        ),
        license="CC BY-SA 3.0",
        also="the images are Wikimedia Commons', at the address that each line gives",
    ),
    "multi30k": RemoteSet(
        _files(
            f"{_GITHUB}/multi30k/dataset/master/data/task1",
            "image_splits/test_2016_flickr.txt",
            *(f"raw/test_2016_flickr.{code}.gz" for code in ("en", "de", "fr", "cs")),
            below="data/task1/",
        ),
        license="see Multi30k's repository",
        also="the images are Flickr30k's, which its authors give on request",
    ),
}


def remote_set(name: str) -> RemoteSet:
    """Return the files and the license of a set, or raise UsageError if it is not one of ``SETS``."""
    if name not in SETS:
        raise UsageError(f"{name} cannot be fetched; these can: {', '.join(SETS)}. Others: name their local copy")
    return SETS[name]
