"""How the CPU path is compiled."""

from __future__ import annotations

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


def _nothing() -> None:
    pass


OPTIONS = _compile_options()
