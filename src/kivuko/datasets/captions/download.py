"""One file from the network: goes on where it was cut, and is there under its name only when it is whole."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kivuko.errors import DataError, KivukoError
from kivuko.files import explain_write_failure, sha256_of, write_text

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
