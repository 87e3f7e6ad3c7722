"""The rank of right answers among scored candidates: ties count against them.

A model that scores all candidates alike retrieves nothing, whatever their order.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def right_ranks(scores: Any, right: Any) -> Any:
    """Return the rank from 1 of each query's right candidate, the column ``right`` int64 [queries].

    ``scores``: [queries, candidates], higher is better; a NumPy array or a tensor.

    >>> right_ranks(np.array([[0.1, 0.9, 0.5], [0.5, 0.5, 0.5]]), np.array([2, 0]))
    array([2, 3])
    """
    rows = list(range(len(scores)))
    return (scores >= scores[rows, right][:, None]).sum(1)


def relevant_ranks(scores: NDArray[np.floating[Any]], relevant: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the ranks from 1 of all relevant candidates of one query, rising: int64 [relevant].

    ``scores`` and ``relevant`` are [candidates]. The i-th best ranks after i - 1 relevant candidates and after every
    other one with the same score or higher.

    >>> relevant_ranks(np.array([0.9, 0.5, 0.5, 0.1]), np.array([False, True, False, True]))
    array([3, 4])
    """
    own = np.sort(scores[relevant])  # rising
    places = np.arange(len(own), 0, -1)
    as_high = np.array([np.count_nonzero(scores >= score) for score in own], dtype=np.int64)
    own_as_high = len(own) - np.searchsorted(own, own, side="left")
    ranks: NDArray[np.int64] = (places + as_high - own_as_high)[::-1].copy()
    return ranks
