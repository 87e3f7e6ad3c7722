"""One sentence and its English translation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pair:
    """A sentence in some language together with its English translation.

    Attributes:
        language: BCP 47 code of ``text``.
        text: the sentence in ``language``.
        english: its English translation.
        origin: where it was read, e.g. ``file.tsv:12``, or the id of a dataset.
    """

    language: str
    text: str
    english: str
    origin: str
