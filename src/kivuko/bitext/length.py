"""How long a sentence is, whatever its script, and how unequal two sides are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext.characters import CLASSES, OWN_IDEOGRAPH, OWN_SYLLABLE

# English takes about three letters and spaces where Chinese takes one ideograph, and about two for a kana, a Hangul
# block or an Ethiopic sign; every other script counts letter by letter, vowel signs included.
_WEIGHTS = np.ones(CLASSES)
_WEIGHTS[OWN_IDEOGRAPH] = 3.0
_WEIGHTS[OWN_SYLLABLE] = 2.0


def weighted_lengths(classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return lengths in letters of an alphabet.

    Args:
        classes: [sentences, CLASSES], from ``read_characters``.
    """
    lengths: NDArray[np.float64] = classes @ _WEIGHTS
    return lengths


def length_ratios(
    text: NDArray[np.float64], english: NDArray[np.float64], allowance: float = 0.0
) -> NDArray[np.float64]:
    """Return the language's length over the English one [sentences], ``allowance`` added to both; never NaN."""
    return (text + allowance) / np.maximum(english + allowance, 1.0)
