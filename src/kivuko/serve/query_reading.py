"""A query as the model reads it: its vector, its language, and what its misspelt words were taken for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import KivukoError, UsageError
from kivuko.serve.language_guess import LanguageGuess, LanguageGuesser


@dataclass(frozen=True, eq=False)
class ReadQuery:
    """One query, read.

    Attributes:
        text: as cleaned.
        vector: unit vector, float32 [dim].
        readings: misspelt word -> what it was read as -> share, likeliest first.
        unknown: words of which no part is known.
    """

    text: str
    vector: NDArray[np.float32]
    language: LanguageGuess
    readings: Mapping[str, Mapping[str, float]]
    unknown: tuple[str, ...] = ()


Outcome = ReadQuery | KivukoError
Read = Callable[[Sequence[str]], list[Outcome]]


def query_reader(searcher: Any, guesser: LanguageGuesser) -> Read:
    """Return the function that reads many queries in one pass of the model, for a thread of its own.

    A query that cannot be read gives its error and takes no other with it.
    """

    def read(texts: Sequence[str]) -> list[Outcome]:
        try:
            vectors = searcher.encode(texts)
        except UsageError as problem:
            return [problem] if len(texts) == 1 else [read([text])[0] for text in texts]
        found: list[Outcome] = []
        for text, vector in zip(texts, vectors, strict=True):
            readings = searcher.readings(text)
            found.append(ReadQuery(text, vector, guesser.guess(text, readings), readings, searcher.unknown_words(text)))
        return found

    return read
