"""Files that are either whole or absent, and the folder where caches live.

Everything is written under a temporary name in the same folder and renamed when it is complete. What a killed process
leaves of that is removed, or put back, by the next one.
"""

import contextlib
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kivuko.errors import NO_ACCESS, CorruptFileError, DataError, KivukoError, ModelError

_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:4]  # process numbers of another machine say nothing here
_LEFT = re.compile(r"\.(?P<name>.+)\.(?:(?P<host>[0-9a-f]{4})-)?(?P<process>\d+)-[0-9a-f]{6}\.(?P<kind>tmp|old)")
_live: set[str] = set()  # names of what this process is writing


def cache_folder() -> Path:
    """Return the cache folder: ``$KIVUKO_CACHE``, else ``$XDG_CACHE_HOME/kivuko``, else ``~/.cache/kivuko``."""
    if named := os.environ.get("KIVUKO_CACHE"):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "kivuko"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path (file or folder) next to ``path`` that takes its place if the block succeeds.

    If the block fails, the temporary path is removed and what was at ``path`` before stays untouched.
    """
    _refuse_device(path)
    path = Path(os.path.realpath(path))  # what a link points to is replaced, not the link
    temporary = path.with_name(f".{path.name}.{_HOST}-{os.getpid()}-{secrets.token_hex(3)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mend(path)
        usual = _usual_mode(temporary)
        _live.add(temporary.stem)
        yield temporary
        _flush_to_disk(temporary, usual)
        _replace(temporary, path)
        _sync(path.parent)
    except BaseException as problem:
        _remove(temporary)
        if isinstance(problem, FileNotFoundError) and str(problem.filename) in map(str, (temporary, *path.parents)):
            raise _no_files_kept(path) from problem
        if explained := explain_write_failure(problem, path):
            raise explained from problem
        raise
    finally:
        _live.discard(temporary.stem)


def mend(path: Path) -> None:
    """Put back a folder that a killed process had moved aside to replace it, and remove what else it left of that."""
    path = Path(os.path.realpath(path))
    with contextlib.suppress(OSError):  # a folder that cannot be read or changed stays as it is
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(f".{path.name}.")]
        left = [match for match in map(_LEFT.fullmatch, names) if match and match["name"] == path.name]
        for match in sorted(left, key=lambda match: match["kind"]):  # what stepped aside first
            if _is_running(match):
                continue
            place = path.with_name(match.group())
            if match["kind"] == "old" and not path.exists():
                place.rename(path)
                _sync(path.parent)
            else:
                _remove(place)


def _is_running(left: re.Match[str]) -> bool:
    """Return True if the process may still be at work that a name is from."""
    if left["host"] not in (None, _HOST):
        return True
    process = int(left["process"])
    if process == os.getpid():
        return Path(left.group()).stem in _live
    if os.name == "nt":
        return True  # there, signal 0 is Ctrl-C
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # another user's
    return True


def explain_write_failure(problem: BaseException, path: Path) -> KivukoError | None:
    """Turn an operating-system write failure into one clear line; None for other errors.

    Rust-backed writers (safetensors, tokenizers) raise plain exceptions that carry the system's words.
    """
    if isinstance(problem, KivukoError):
        return None
    number = problem.errno if isinstance(problem, OSError) else None
    words = str(problem).lower()
    if number in (errno.ENOSPC, errno.EDQUOT) or "no space left" in words or "quota exceeded" in words:
        return KivukoError(f"{path}: the disk is full; nothing was written. Free some space and run again.")
    if number == errno.EFBIG or "file too large" in words:
        return KivukoError(
            f"{path}: larger than files may be here (ulimit -f, or the file system); nothing was written."
        )
    if number in (errno.EACCES, errno.EPERM, errno.EROFS) or "permission denied" in words:
        return KivukoError(f"{path}: cannot be written here (no permission). Choose another place.")
    if number in (errno.ENOTDIR, errno.EEXIST):
        return KivukoError(f"{path}: there is a file where a folder is needed. Choose another place.")
    if number == errno.ENAMETOOLONG:
        return KivukoError(f"{path}: the name is too long. Choose a shorter one.")
    if number in (errno.EISDIR, errno.ENOTEMPTY):
        return KivukoError(f"{path}: there is a folder where a file is needed. Choose another place.")
    return None


def refuse_unwritable(path: Path, *, folder: bool = False) -> None:
    """Raise KivukoError if the file (or ``folder``) cannot be written, before the work whose result it is to hold."""
    _refuse_device(path)
    try:
        if path.is_dir() and not folder:
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        nearest = next(parent for parent in Path(os.path.realpath(path)).parents if parent.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "is a file")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "no permission")
        with tempfile.TemporaryFile(dir=nearest):  # folders such as /proc permit it and then hold none
            pass
    except FileNotFoundError as problem:
        raise _no_files_kept(path) from problem
    except OSError as problem:
        raise explain_write_failure(problem, path) or problem from problem


def refuse_unreadable(path: Path) -> None:
    """Raise DataError if a file or folder may not be read; what is not there is reported where it is read."""
    try:
        needed = os.R_OK | os.X_OK if stat.S_ISDIR(path.stat().st_mode) else os.R_OK
    except PermissionError as problem:
        raise DataError(f"{path}: {NO_ACCESS}") from problem
    except (OSError, ValueError):
        return
    if not os.access(path, needed):
        raise DataError(f"{path}: {NO_ACCESS}")


MODEL_FILE = "kivuko.json"  # in every folder that holds a model of Kivuko's
HARDENING_FILE = "hardening.json"  # in every folder that holds a hardened model or image tower


def refuse_foreign(
    path: Path,
    marker: str,
    kind: str,  # with its article: "a Kivuko model"
    remedy: str = "Choose another --out.",
    error: type[KivukoError] = ModelError,
) -> None:
    """Raise ``error`` if ``path`` is a file, or a folder that holds something but no file named ``marker``.

    Also raises KivukoError if no folder can be written there.
    """
    mend(path)
    try:
        foreign = path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / marker).is_file())
    except OSError as problem:
        raise explain_write_failure(problem, path) or problem from problem
    if foreign:
        raise error(f"{path}: exists and is not {kind}; nothing was replaced. {remedy}")
    refuse_unwritable(path, folder=True)


def folder_beside(out: Path, ending: str) -> Path:
    """Return ``OUT.ending``, where a run keeps what it has done so far; KivukoError if it cannot be written."""
    named = out if out.name not in ("", "..") else Path(os.path.abspath(out))  # noqa: PTH100 - links stay
    folder = named.with_name(f"{named.name}.{ending}")
    refuse_unwritable(folder, folder=True)
    if folder.exists() and not folder.is_dir():
        raise KivukoError(f"{folder}: a folder is needed here. Move this file away, or choose another --out.")
    if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
        raise KivukoError(f"{folder}: cannot be written here (no permission). Choose another place.")
    return folder


def write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_sha256(path: Path, expected: str, remedy: str) -> None:
    """Raise CorruptFileError naming ``path`` and ``remedy`` unless the file has the ``expected`` SHA-256."""
    if not path.is_file():
        raise CorruptFileError(f"{path}: missing. {remedy}")
    if sha256_of(path) != expected:
        raise CorruptFileError(f"{path}: corrupted (its checksum differs from what was written). {remedy}")


def _refuse_device(path: Path) -> None:
    """Raise KivukoError if ``path`` is neither file nor folder: renaming would remove a device or a pipe."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # not there yet, or reported when it is written
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise KivukoError(f"{path}: is a device or a pipe, which cannot be written whole or not at all; name a file.")


def _no_files_kept(path: Path) -> KivukoError:
    return KivukoError(f"{path}: cannot be written here (no file can be created in this folder). Choose another place.")


def _usual_mode(path: Path) -> int:
    """Return the mode of new files here, 0o666 less the umask, by way of a file at ``path``."""
    number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(number).st_mode)
    finally:
        os.close(number)
        path.unlink()


def _flush_to_disk(path: Path, usual: int) -> None:
    """Flush files and folders, and give files the usual mode where a writer was stricter, as safetensors is."""
    for place in [path, *path.rglob("*")] if path.is_dir() else [path]:
        if place.is_file():
            mode = stat.S_IMODE(place.stat().st_mode)
            if mode | usual != mode:
                place.chmod(mode | usual)
            with place.open("rb") as stream:
                os.fsync(stream.fileno())
        elif place.is_dir():
            _sync(place)


def _sync(folder: Path) -> None:
    """Flush the names in a folder."""
    with contextlib.suppress(OSError):  # not every file system or system can
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _replace(temporary: Path, path: Path) -> None:
    """Rename; a folder cannot replace a folder that holds files, so the old one steps aside first."""
    if temporary.is_dir() and path.is_dir():
        aside = temporary.with_suffix(".old")
        path.rename(aside)
        try:
            temporary.rename(path)
        except BaseException:
            if not path.exists():
                aside.rename(path)
            raise
        shutil.rmtree(aside)
    else:
        temporary.replace(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):  # the failure that brought us here is the one to report
            path.unlink(missing_ok=True)


def exists(path: Path) -> bool:
    """Return True if there is a file or folder; False also for a name that no file can have."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
