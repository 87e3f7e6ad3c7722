"""Search in a pretrained student's own space, as it is (zero-shot) or with SHIFT: baselines without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext.pairs import Bitext
from kivuko.errors import DataError
from kivuko.vectors import unit_rows

Encode = Callable[[Sequence[str]], NDArray[np.float32]]  # texts to vectors [texts, dim]


@dataclass(frozen=True)
class OwnSpace:
    """One encoder for queries and English sentences; a language's shift is subtracted from its queries.

    >>> space = OwnSpace(lambda texts: np.array([[3.0, 4.0]] * len(texts), np.float32))
    >>> space.queries(["paka"], "sw") @ space.documents(["cat"]).T
    array([[1.]], dtype=float32)
    """

    encode: Encode
    shifts: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)  # by language, [dim]

    def documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the unit vectors of English sentences, float32 [texts, dim]."""
        return unit_rows(self.encode(texts))

    def queries(self, texts: Sequence[str], language: str) -> NDArray[np.float32]:
        """Return the unit vectors of queries in a language, float32 [texts, dim]."""
        vectors = unit_rows(self.encode(texts))
        return unit_rows(vectors - self.shifts[language]) if language in self.shifts else vectors


def shifted(encode: Encode, bitext: Bitext) -> OwnSpace:
    """Return the space of an encoder with SHIFT (arXiv 2606.18801): no training, a mean from the bitext.

    A language's offset is the mean over its pairs of (unit vector of the text - unit vector of its English).
    """
    if not len(bitext):
        raise DataError("no pairs to take the mean difference of: the bitext is empty.")
    english = list(dict.fromkeys(pair.english for pair in bitext.pairs))
    row = {text: place for place, text in enumerate(english)}
    vectors = unit_rows(encode(english))
    shifts = {
        code: (unit_rows(encode([p.text for p in pairs])) - vectors[[row[p.english] for p in pairs]]).mean(0)
        for code, pairs in bitext.by_language().items()
    }
    return OwnSpace(encode, shifts)
