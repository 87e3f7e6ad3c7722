"""What kind of character each code point is, seen from one language: its own letters, Latin letters, others.

Whole batches of sentences are looked up at once: a Python loop over characters would be the slowest part of cleaning.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import regex
from numpy.typing import NDArray

OTHER, SPACE, DIGIT, LATIN, OWN, OWN_SYLLABLE, OWN_IDEOGRAPH, FOREIGN, BROKEN, SIGN = range(10)
CLASSES = 10  # SIGN: what addresses and markup cannot do without

# Planes 0 to 3 hold every letter; what lies above (tags, private use) is looked up as the last point, no letter.
TABLE_SIZE = 0x40000

# ISO 15924 codes that stand for several scripts of Unicode's, or for a style of one.
_PARTS = {
    "Jpan": ("Hani", "Hira", "Kana"), "Kore": ("Hang", "Hani"), "Hans": ("Hani",), "Hant": ("Hani",),
    "Hanb": ("Hani", "Bopo"), "Hrkt": ("Hira", "Kana"), "Aran": ("Arab",), "Cyrs": ("Cyrl",), "Latf": ("Latn",),
    "Latg": ("Latn",), "Syre": ("Syrc",), "Syrj": ("Syrc",), "Syrn": ("Syrc",), "Geok": ("Geor",),
}  # fmt: skip
_SYLLABLES = ("Hira", "Kana", "Hang", "Ethi", "Yiii", "Cher", "Cans", "Bopo", "Vaii")


@dataclass(frozen=True, eq=False)
class Characters:
    """The characters of a batch of sentences, one after the other, each sentence followed by a line end.

    Attributes:
        points: uint32 [characters]: code points, those above the table as its last one.
        kinds: uint8 [characters]: their classes.
        ends: int64 [sentences]: where the next sentence begins.
        classes: int64 [sentences, CLASSES]: how many characters of each class, the added line ends left out.
    """

    points: NDArray[np.uint32]
    kinds: NDArray[np.uint8]
    ends: NDArray[np.int64]
    classes: NDArray[np.int64]

    def rows_of(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sentences to which the characters at ``places`` belong [places]."""
        return np.searchsorted(self.ends, places, side="right")


RUN = 9  # the same character so often in a row is a rule or a leader, no spelling
_LINE_END = 10


def unicode_scripts(script: str) -> tuple[str, ...]:
    """Return the Unicode scripts that an ISO 15924 code stands for: ``Jpan`` gives Han and both kana."""
    return _PARTS.get(script, (script,))


def is_script(code: str) -> bool:
    """Tell whether ``code`` is the ISO 15924 code of a script that Unicode has letters of."""
    try:
        return bool(code.isalpha() and all(regex.compile(rf"\p{{Script={part}}}") for part in unicode_scripts(code)))
    except regex.error:
        return False


@functools.lru_cache(maxsize=8)
def character_table(scripts: tuple[str, ...]) -> NDArray[np.uint8]:
    """Return the class of each code point below ``TABLE_SIZE`` for a language written in ``scripts``.

    Args:
        scripts: ISO 15924 codes. Letters of Latin script are ``LATIN`` whether they are among them or not.

    Returns:
        uint8 [TABLE_SIZE]. Marks go with the letters of their script; letters and marks that Unicode gives to no one
        script (the long vowel sign of kana, combining accents) are ``OTHER``.
    """
    every = "".join(map(chr, range(TABLE_SIZE)))
    table = np.full(TABLE_SIZE, OTHER, dtype=np.uint8)

    def mark(pattern: str, kind: int) -> None:
        for found in regex.finditer(f"(?V1){pattern}+", every):
            table[found.start() : found.end()] = kind

    mark(r"[\p{L}\p{M}--\p{Script=Zyyy}--\p{Script=Zinh}]", FOREIGN)
    for part in dict.fromkeys(part for script in scripts for part in unicode_scripts(script)):
        kind = OWN_IDEOGRAPH if part == "Hani" else OWN_SYLLABLE if part in _SYLLABLES else OWN
        mark(rf"[\p{{Script={part}}}&&[\p{{L}}\p{{M}}]]", kind)
    mark(r"[\p{Script=Latn}&&[\p{L}\p{M}]]", LATIN)
    mark(r"\p{Nd}", DIGIT)
    mark(r"\p{Z}", SPACE)
    mark(r"[\p{Cs}\uFFFD]", BROKEN)
    mark(r"[<&@/{}\[\]]", SIGN)
    return table


def read_characters(texts: Sequence[str], table: NDArray[np.uint8]) -> Characters:
    """Look up the characters of a batch of sentences.

    Args:
        texts: any number of sentences; some may be empty.
        table: from ``character_table``.
    """
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)) + 1
    points = code_points("\n".join([*texts, ""]) if texts else "")
    np.minimum(points, TABLE_SIZE - 1, out=points)  # nothing above tells one character from another here
    kinds = table[points]
    cells = np.repeat(np.arange(0, len(texts) * CLASSES, CLASSES), lengths)
    cells += kinds
    classes = np.bincount(cells, minlength=len(texts) * CLASSES).reshape(len(texts), CLASSES)
    classes[:, OTHER] -= 1
    return Characters(points, kinds, np.cumsum(lengths), classes)


def has_run(characters: Characters) -> NDArray[np.bool_]:
    """Tell in which sentences one character other than a space stands ``RUN`` times in a row [sentences]."""
    points = characters.points
    found = np.zeros(len(characters.classes), dtype=np.bool_)
    if len(points) < RUN:
        return found
    same = (points[1:] == points[:-1]) & (characters.kinds[1:] != SPACE) & (points[1:] != _LINE_END)
    for step in (1, 2, 4):  # runs of 2, then 3, 5 and 9 characters
        same = same[:-step] & same[step:]
    found[characters.rows_of(np.flatnonzero(same))] = True
    return found


def has_pair(characters: Characters, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell in which sentences a character that ``first`` marks stands before one that ``second`` marks [sentences].

    Args:
        first, second: [characters].
    """
    found = np.zeros(len(characters.classes), dtype=np.bool_)
    found[characters.rows_of(np.flatnonzero(first[:-1] & second[1:]))] = True
    return found


def code_points(text: str) -> NDArray[np.uint32]:
    """Return the code points of a text, uint32 [characters]; lone surrogates are let through."""
    return np.frombuffer(bytearray(text.encode("utf-32-le", "surrogatepass")), dtype="<u4")
