"""What an edit does to the loss, to first order in the vectors of the subwords, without asking the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kivuko.attacks.text.gradient import TokenGradients


def gains(told: TokenGradients, vectors: Tensor, readings: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Return by how much the loss would rise, float [readings], if the text were read as other subwords.

    What a reading has in common with the text's own at the beginning and at the end stays. The subwords between are
    exchanged, at the mean gradient of those that go (of the two beside the place, if none goes): the sum of the new
    vectors less that of the old, times that gradient. For one subword against another this is HotFlip's estimate.

    Args:
        told: the text's own subwords.
        vectors: float [subwords, width].
        readings: subwords of each edited text.
    """
    own = told.ids.tolist()
    if not own or not readings:
        return np.zeros(len(readings), dtype=np.float32)
    spans = [_changed(own, reading) for reading in readings]
    added = [reading[first : len(reading) - tail] for reading, (first, tail) in zip(readings, spans, strict=True)]
    gone = [own[first : len(own) - tail] for first, tail in spans]
    used, columns = np.unique([*(n for part in (*added, *gone) for n in part), own[0]], return_inverse=True)
    effects = (told.gradients @ vectors[used].T).numpy()  # [tokens, used]
    below = np.concatenate([np.zeros_like(effects[:1]), effects.cumsum(0)])  # so that means over places are cheap
    starts = np.array([first if old else max(0, first - 1) for (first, _), old in zip(spans, gone, strict=True)])
    ends = np.array([len(own) - tail if old else min(len(own), first + 1)
                     for (first, tail), old in zip(spans, gone, strict=True)])  # fmt: skip
    sizes = [*map(len, added), *map(len, gone)]
    which = np.repeat(np.tile(np.arange(len(readings)), 2), sizes)
    sign = np.repeat([1.0, -1.0], [sum(map(len, added)), sum(map(len, gone))])
    columns = columns[:-1]
    mean = (below[ends[which], columns] - below[starts[which], columns]) / (ends - starts)[which]
    return np.bincount(which, weights=sign * mean, minlength=len(readings)).astype(np.float32)


def _changed(own: Sequence[int], reading: Sequence[int]) -> tuple[int, int]:
    """Return how many subwords two readings share at the beginning, and after that at the end."""
    most = min(len(own), len(reading))
    first = next((n for n in range(most) if own[n] != reading[n]), most)
    tail = next((n for n in range(most - first) if own[-1 - n] != reading[-1 - n]), most - first)
    return first, tail
