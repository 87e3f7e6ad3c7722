"""Language tags as files have them, held against the language that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from kivuko.errors import UsageError
from kivuko.languages import language as describe

_LONGEST = 35  # characters of a tag; a file may have anything where it stands


@lru_cache(maxsize=4096)
def code_of(tag: str) -> str | None:
    """Return the normalised BCP 47 code of a tag such as ``EN-US`` or ``swh_Latn``; None where it is none."""
    tag = tag.strip()
    if not tag or len(tag) > _LONGEST or not tag.replace("-", "").replace("_", "").isalnum():
        return None
    try:
        return describe(tag).code
    except UsageError:
        return None


def fitting(wanted: str, codes: Sequence[str | None]) -> int | None:
    """Return which of the codes is the wanted language's: the same, else the first that is more or less special.

    ``pt`` fits ``pt-BR`` and the other way round; ``pt-BR`` does not fit ``pt-PT``.
    """
    if wanted in codes:
        return codes.index(wanted)
    return next((index for index, code in enumerate(codes) if fits(wanted, code)), None)


def fits(wanted: str, code: str | None) -> bool:
    """Tell whether a code is the wanted one, or one of both is the other with more subtags."""
    if code is None:
        return False
    ours, theirs = wanted.split("-"), code.split("-")
    shared = min(len(ours), len(theirs))
    return ours[:shared] == theirs[:shared]
