"""The kinds of error that a user can cause: one line with what is wrong, where, and what to do.

The command line prints that line and exits with status 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class KivukoError(Exception):
    """Something the user gave or has is not right. Base of every error Kivuko raises on purpose."""


class DataError(KivukoError):
    """A data file or folder is missing, malformed, or holds nothing usable."""


class ModelError(KivukoError):
    """A model folder, name or weight file cannot be loaded, or does not fit what it is used with."""


class ImageIndexError(KivukoError):
    """An index of images is missing, in use, empty, or was built with another model or from other sources."""


class CorruptFileError(KivukoError):
    """A file that Kivuko wrote (cache, checkpoint, records) no longer holds what was written."""


class MissingDependencyError(KivukoError):
    """An optional package is needed; the message names the command that installs it."""


class UsageError(KivukoError):
    """The options given contradict each other or name something that does not exist."""


def at(path: Path | str, line: int | None = None) -> str:
    """Format a place as ``path`` or ``path:line`` (lines count from 1), as compilers do."""
    return f"{path}" if line is None else f"{path}:{line}"


def first_line(problem: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters; with its kind where that is a bare word.

    >>> first_line(KeyError("types")), first_line(ValueError("no header\\nat all"))
    ("KeyError: 'types'", 'no header')
    """
    message = (str(problem).strip().splitlines() or [""])[0][:200]
    kind = type(problem).__name__
    return message if " " in message else f"{kind}: {message}" if message else kind


def one_line(problem: BaseException) -> str:
    """Return an error's whole message as one line; its kind where there is none."""
    return " ".join(str(problem).split()) or type(problem).__name__


@contextmanager
def wrap_errors(make_error: Callable[[str], KivukoError]) -> Iterator[None]:
    """Turn any error of a library into ``make_error(reason)``; Kivuko's own and Ctrl-C pass.

    For calls that load or try what a user named: libraries raise many kinds, and those in Rust may panic.
    """
    try:
        yield
    except KivukoError:
        raise
    except BaseException as problem:
        if isinstance(problem, Exception) or type(problem).__name__ == "PanicException":
            raise make_error(first_line(problem)) from problem
        raise
