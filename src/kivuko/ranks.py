"""The rank of right answers among scored candidates: ties count against them.

Among equal scores, a right answer ranks below every other candidate. A model that scores all candidates alike retrieves
nothing, whatever the order in which they come.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def right_ranks(scores: Any, right: Any) -> Any:
    """Return the rank of one right candidate per query, from 1.

    Args:
        scores: [queries, candidates], higher is better; a NumPy array or a tensor.
        right: int64 [queries], the column of each query's right candidate.

    >>> right_ranks(np.array([[0.1, 0.9, 0.5], [0.5, 0.5, 0.5]]), np.array([2, 0]))
    array([2, 3])
    """
    rows = list(range(len(scores)))
    return (scores >= scores[rows, right][:, None]).sum(1)


def relevant_ranks(scores: NDArray[np.floating[Any]], relevant: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the ranks of all relevant candidates of one query, rising, from 1: int64 [relevant].

    Args:
        scores: [candidates], higher is better.
        relevant: bool [candidates].

    The i-th best of them ranks after i - 1 relevant candidates and after every other one with the same score or higher.

    >>> relevant_ranks(np.array([0.9, 0.5, 0.5, 0.1]), np.array([False, True, False, True]))
    array([3, 4])
    """
    own = np.sort(scores[relevant])  # rising
    places = np.arange(len(own), 0, -1)
    as_high = np.array([np.count_nonzero(scores >= score) for score in own], dtype=np.int64)
    own_as_high = len(own) - np.searchsorted(own, own, side="left")
    ranks: NDArray[np.int64] = (places + as_high - own_as_high)[::-1].copy()
    return ranks
