"""Fetching a caption set where the network allows: resumable, with a list of checksums.

Publishers of these sets give no checksums. So the first fetch writes what it got to ``SHA256SUMS`` in the set's folder,
in the form of ``sha256sum``, and every later fetch must get the same; a list of your own (``--checksums``) is held
against it from the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kivuko.datasets.captions.download import check_or_note_sha256, download
from kivuko.datasets.captions.sources import RemoteFile, RemoteSet
from kivuko.datasets.captions.unpack import unpack
from kivuko.datasets.collections.text_lines import text_lines
from kivuko.errors import DataError, at
from kivuko.files import write_text

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
    pictures: bool = True,
    checksums: Path | None = None,
    watch: Watch | None = None,
) -> Fetched:
    """Fetch a set's files into a folder and unpack its archives.

    Files listed in ``folder/SHA256SUMS`` with their marks of being done are not fetched again. A killed run goes on
    where it was.

    Args:
        pictures: also the archives of pictures, which are gigabytes.
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
        if one.pictures and not pictures:
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
