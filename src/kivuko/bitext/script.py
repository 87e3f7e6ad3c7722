"""Whether the letters of a sentence are of the script its language is written in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext.characters import FOREIGN, LATIN, OWN, OWN_IDEOGRAPH, OWN_SYLLABLE, unicode_scripts

LETTERS = (LATIN, OWN, OWN_SYLLABLE, OWN_IDEOGRAPH, FOREIGN)


def letter_counts(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many letters, with their marks, each sentence has [sentences].

    Args:
        classes: [sentences, CLASSES], from ``read_characters``.
    """
    counts: NDArray[np.int64] = classes[:, list(LETTERS)].sum(axis=1)
    return counts


def own_kinds(scripts: Sequence[str]) -> tuple[int, ...]:
    """Return the classes of characters that are letters of ``scripts`` (ISO 15924 codes)."""
    latin = any("Latn" in unicode_scripts(script) for script in scripts)
    return (OWN, OWN_SYLLABLE, OWN_IDEOGRAPH) + ((LATIN,) if latin else ())


def script_shares(classes: NDArray[np.int64], kinds: Sequence[int]) -> NDArray[np.float64]:
    """Return the share of each sentence's letters that are of ``kinds`` [sentences]; 1 where it has no letter.

    Args:
        classes: [sentences, CLASSES], from ``read_characters``.
        kinds: from ``own_kinds``.
    """
    letters = letter_counts(classes)
    own = classes[:, list(kinds)].sum(axis=1)
    return np.where(letters == 0, 1.0, own / np.maximum(letters, 1))
