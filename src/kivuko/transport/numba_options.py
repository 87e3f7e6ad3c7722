"""How the CPU path is compiled."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from numba import njit


def _compile_options() -> dict[str, Any]:
    """Return the options of every compiled function.

    Sums may be taken in any order and a * b + c be fused; NaN and infinity keep their meaning. What was compiled is
    kept on disk for the next run, unless no folder for it can be written: then each run compiles anew.
    """
    options: dict[str, Any] = {
        "fastmath": {"reassoc", "contract", "arcp", "nsz"},
        "nogil": True,
        "error_model": "numpy",
        "cache": True,
    }
    try:
        njit(**options)(_nothing)
    except RuntimeError:  # "cannot cache function: no locator available"
        options["cache"] = False
    return options


def _forget_outdated(folder: Path) -> None:
    """Remove compiled code that is older than any of the sources in ``folder``.

    Numba looks at the file that a function stands in, but not at those of the functions that it calls.
    """
    newest = max(source.stat().st_mtime for source in folder.glob("numba_*.py"))
    for index in (folder / "__pycache__").glob("numba_*.nbi"):
        with contextlib.suppress(OSError):  # another process was faster, or it is not ours to write
            if index.stat().st_mtime < newest:
                index.unlink()


def _nothing() -> None:
    pass


_forget_outdated(Path(__file__).parent)
OPTIONS = _compile_options()
