"""chrF: how alike translations and references are, in character n-grams.

Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation": n = 1 to 6, recall counts twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

_ORDERS, _BETA = range(1, 7), 2.0


def chrf(translations: Sequence[str], references: Sequence[str]) -> float:
    """Return chrF over a whole collection, 0 to 1; case and white space do not count.

    >>> chrf(["black cat"], ["Black cat"])
    1.0
    """
    scores = []
    for order in _ORDERS:
        matched = written = wanted = 0
        for translation, reference in zip(translations, references, strict=True):
            found, expected = _ngrams(translation, order), _ngrams(reference, order)
            matched += (found & expected).total()
            written, wanted = written + found.total(), wanted + expected.total()
        if wanted:  # a collection of short words has no long n-grams
            precision, recall = matched / max(written, 1), matched / wanted
            both = _BETA**2 * precision + recall
            scores.append((1 + _BETA**2) * precision * recall / both if both else 0.0)
    return sum(scores) / len(scores) if scores else 0.0


def _ngrams(text: str, order: int) -> Counter[str]:
    letters = "".join(text.casefold().split())
    return Counter(letters[start : start + order] for start in range(len(letters) - order + 1))
