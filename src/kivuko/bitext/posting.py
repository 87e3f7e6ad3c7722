"""Looking up hashes among those of a fixed collection, a batch at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext.bloom_filter import Keys

_BITS = 22  # of the bitmap that answers most look-ups: 4 MiB


class Posting:
    """From a hash to the items it belongs to.

    Args:
        keys: uint64 [entries], in any order; a key may come several times.
        items: int64 [entries]: what each belongs to.
    """

    def __init__(self, keys: Keys, items: NDArray[np.int64]) -> None:
        order = np.argsort(keys, kind="stable")
        self._keys, self._items = keys[order], items[order]
        self._bitmap = np.zeros(1 << _BITS, dtype=np.bool_)
        self._bitmap[self._places(keys)] = True

    def may_hold(self, keys: Keys) -> NDArray[np.bool_]:
        """Return which keys may be there: never False for one that is [keys]."""
        return self._bitmap[self._places(keys)]

    def find(self, keys: Keys) -> list[tuple[int, NDArray[np.int64]]]:
        """Return, for each place in ``keys`` whose key is there, the place and the items of the key."""
        places = np.flatnonzero(self.may_hold(keys))
        low = np.searchsorted(self._keys, keys[places], side="left")
        high = np.searchsorted(self._keys, keys[places], side="right")
        there = np.flatnonzero(high > low)
        return [(int(places[one]), self._items[low[one] : high[one]]) for one in there]

    def _places(self, keys: Keys) -> Keys:
        return keys >> np.uint64(64 - _BITS)
