"""The kinds of error that a user can cause: one line with what is wrong, where, and what to do.

The command line prints that line and exits with status 2.
"""

import math
import os
import reprlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any


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


NO_ACCESS = "no permission to read it. Run as its owner, or let others read it (chmod -R a+rX)."


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


def is_denied(problem: BaseException | None) -> bool:
    """Return True if an error, or one that it follows from, is a lack of permission."""
    while problem is not None:
        if isinstance(problem, PermissionError) or "(os error 13)" in str(problem):  # of libraries in Rust
            return True
        problem = problem.__cause__ or problem.__context__
    return False


def unreadable(file: Path | str, problem: BaseException, message: str) -> KivukoError:
    """Return the error of a file of Kivuko's that cannot be read: damaged, as ``message`` says, unless access lacks."""
    # safetensors says that there is no such file.
    if is_denied(problem) or (os.path.exists(file) and not os.access(file, os.R_OK)):  # noqa: PTH110
        return DataError(f"{file}: {NO_ACCESS}")
    return CorruptFileError(message)


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
            error = make_error(first_line(problem))
            if is_denied(problem):  # messages begin with the place
                place = getattr(problem, "filename", None) or str(error).partition(": ")[0]
                error = type(error)(f"{place}: {NO_ACCESS}")
            raise error from problem
        raise


# Checks of arguments. Each names the argument and what it should be, and returns the value as it should be.


def check_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    whole: bool = False,
    optional: bool = False,
) -> Any:
    """Return a number as ``int`` or ``float``, or raise UsageError if it is none, or not in its range.

    >>> check_number("k", 10, least=1, whole=True)
    10
    >>> check_number("share", "0.1", above=0, most=0.5)
    Traceback (most recent call last):
    kivuko.errors.UsageError: share='0.1': choose a number above 0, up to 0.5.
    """
    if value is None and optional:
        return None
    if is_number(value, whole):
        number = int(value) if whole or isinstance(value, Integral) else float(value)
        low = (least is None or number >= least) and (above is None or number > above)
        if low and (most is None or number <= most):
            return number
    start = "" if least is None else f" from {least:,}" if most is not None else f" of at least {least:,}"
    start += "" if above is None else f" above {above:,}"
    end = "" if most is None else f" to {most:,}" if least is not None else f", up to {most:,}"
    raise UsageError(f"{name}={_shown(value)}: choose a {'whole ' if whole else ''}number{start}{end}.")


def check_seed(value: Any) -> int:
    """Return a seed, or raise UsageError if it is no whole number from 0 to 2**63 - 1."""
    if is_number(value, whole=True) and value >= 0:
        return int(value)
    raise UsageError(f"seed={_shown(value)}: choose a whole number from 0 to 2**63 - 1.")


def check_path(name: str, value: Any, wanted: str = "a path", *, optional: bool = False) -> Any:
    """Return a path (None where that is allowed), or raise UsageError if the value is neither text nor a path."""
    if value is None and optional:
        return None
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if isinstance(text, str) and text and "\0" not in text:
        return Path(text)
    raise UsageError(f"{name}={_shown(value)}: give {wanted}, as text or a Path.")


def check_type(name: str, value: Any, types: Any, wanted: str) -> None:
    """Raise UsageError unless a value is of one of these types; ``wanted`` completes "give ..."."""
    if not isinstance(value, types):
        raise UsageError(f"{name}={_shown(value)}: give {wanted}.")


def is_number(value: Any, whole: bool = False) -> bool:
    """Return True for a finite number; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        return False
    return abs(int(value)) < 2**63 if isinstance(value, Integral) else math.isfinite(value)


def _shown(value: Any) -> str:
    """Return the representation of a value as one short line."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    return " ".join(short.repr(value).split())
