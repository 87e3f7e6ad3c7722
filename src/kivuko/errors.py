"""The few kinds of error that a user can cause.

Each message is one line that says what is wrong, where (a path, and a line number where there is one), and
what to do next. The command line prints that line and exits with status 2.
"""

from __future__ import annotations

from pathlib import Path


class KivukoError(Exception):
    """Something the user gave or has is not right. Base of every error Kivuko raises on purpose."""


class DataError(KivukoError):
    """A data file or folder is missing, malformed, or holds nothing that can be used."""


class ModelError(KivukoError):
    """A model folder, name or weight file cannot be loaded, or does not fit what it is used with."""


class GalleryError(KivukoError):
    """A gallery is missing, in use, empty, or was made with another model or from other sources."""


class CorruptFileError(KivukoError):
    """A file that Kivuko wrote (cache, checkpoint, records) no longer holds what was written."""


class MissingDependencyError(KivukoError):
    """An optional package is needed; the message names the command that installs it."""


class UsageError(KivukoError):
    """The options given contradict each other or name something that does not exist."""


def at(path: Path | str, line: int | None = None) -> str:
    """Format a place as ``path`` or ``path:line`` (lines count from 1), as compilers do."""
    return f"{path}" if line is None else f"{path}:{line}"
