"""Near-duplicates among many sentences by MinHash signatures and locality-sensitive hashing.

Source: Broder, "On the Resemblance and Containment of Documents" (1997); bands as in Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", chapter 3. With 16 bands of 4 hashes, two sentences whose sets of word pairs overlap by
Jaccard 0.8, 0.65, 0.5 and 0.1 meet in a band with probability 1.00, 0.96, 0.64 and 0.002.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext.bloom_filter import Keys, mixed

BANDS, IN_BAND = 16, 4


def band_keys(shingles: Keys, rows: NDArray[np.int64]) -> tuple[Keys, NDArray[np.int64]]:
    """Return the band keys of each sentence: uint64 [sentences, BANDS], and the sentences' rows.

    Args:
        shingles: hashes of what a sentence is made of, sentence after sentence.
        rows: the sentence of each shingle, ascending.
    """
    present, starts = np.unique(rows, return_index=True)
    keys = np.zeros((len(present), BANDS), dtype=np.uint64)
    if not len(present):
        return keys, present
    with np.errstate(over="ignore"):
        for band in range(BANDS):
            for number in range(band * IN_BAND, (band + 1) * IN_BAND):
                # A fixed mixing of shingle and number serves as the random order of one hash function.
                order = mixed(shingles ^ mixed(np.array([number + 1], dtype=np.uint64)))
                keys[:, band] = keys[:, band] * np.uint64(0x9E3779B97F4A7C15) + np.minimum.reduceat(order, starts)
            keys[:, band] = mixed(keys[:, band] + np.uint64(band))
    return keys, present
