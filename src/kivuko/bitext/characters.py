"""Classes of characters from one language's view (own letters, Latin letters, others), and of words.

Whole batches are looked up at once: a Python loop over characters would be the slowest part of cleaning.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import regex
from numpy.typing import NDArray

from kivuko.bitext.duplicates import Keys, mixed

OTHER, SPACE, DIGIT, LATIN, OWN, OWN_SYLLABLE, OWN_IDEOGRAPH, FOREIGN, BROKEN, SIGN = range(10)
CLASSES = 10  # SIGN: what addresses and markup cannot do without

# Planes 0 to 3 hold every letter; planes above (tags, private use) are looked up as the last point, no letter.
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
    """The characters of a batch of sentences, one after the other, each sentence followed by a line end."""

    points: NDArray[np.uint32]  # [characters], code points, those above the table as its last one
    kinds: NDArray[np.uint8]  # [characters], their classes
    ends: NDArray[np.int64]  # [sentences], start of the next sentence
    classes: NDArray[np.int64]  # [sentences, CLASSES], characters of each class, without the added line ends

    def rows_of(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sentence of each character at ``places`` [places]."""
        return np.searchsorted(self.ends, places, side="right")


RUN = 9  # the same character so often in a row is a rule or a leader, no spelling
_LINE_END = 10


def unicode_scripts(script: str) -> tuple[str, ...]:
    """Return the Unicode scripts that an ISO 15924 code stands for: ``Jpan`` gives Han and both kana."""
    return _PARTS.get(script, (script,))


def is_script(code: str) -> bool:
    """Return True if ``code`` is the ISO 15924 code of a script that Unicode has letters of."""
    try:
        return bool(code.isalpha() and all(regex.compile(rf"\p{{Script={part}}}") for part in unicode_scripts(code)))
    except regex.error:
        return False


@functools.lru_cache(maxsize=8)
def character_table(scripts: tuple[str, ...]) -> NDArray[np.uint8]:
    """Return uint8 [TABLE_SIZE]: the class of each code point for a language written in ``scripts``.

    Latin letters are always ``LATIN``. Marks go with the letters of their script; letters and marks of no one script
    (the long vowel sign of kana, combining accents) are ``OTHER``.
    """
    every = "".join(map(chr, range(TABLE_SIZE)))
    table = np.full(TABLE_SIZE, OTHER, dtype=np.uint8)

    def mark(pattern: str, kind: int) -> None:
        for match in regex.finditer(f"(?V1){pattern}+", every):
            table[match.start() : match.end()] = kind

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
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)) + 1
    points = code_points("\n".join([*texts, ""]) if texts else "")
    np.minimum(points, TABLE_SIZE - 1, out=points)  # points above need not be distinguished here
    kinds = table[points]
    cells = np.repeat(np.arange(0, len(texts) * CLASSES, CLASSES), lengths)
    cells += kinds
    classes = np.bincount(cells, minlength=len(texts) * CLASSES).reshape(len(texts), CLASSES)
    classes[:, OTHER] -= 1
    return Characters(points, kinds, np.cumsum(lengths), classes)


def has_run(characters: Characters) -> NDArray[np.bool_]:
    """Return True for sentences with one character, no space, ``RUN`` times in a row [sentences]."""
    points = characters.points
    rows = np.zeros(len(characters.classes), dtype=np.bool_)
    if len(points) < RUN:
        return rows
    same = (points[1:] == points[:-1]) & (characters.kinds[1:] != SPACE) & (points[1:] != _LINE_END)
    for step in (1, 2, 4):  # runs of 2, then 3, 5 and 9 characters
        same = same[:-step] & same[step:]
    rows[characters.rows_of(np.flatnonzero(same))] = True
    return rows


def has_pair(characters: Characters, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return True for sentences with a character marked in ``first`` before one marked in ``second`` [sentences]."""
    rows = np.zeros(len(characters.classes), dtype=np.bool_)
    rows[characters.rows_of(np.flatnonzero(first[:-1] & second[1:]))] = True
    return rows


def code_points(text: str) -> NDArray[np.uint32]:
    """Return the code points of a text, uint32 [characters]; lone surrogates are let through."""
    return np.frombuffer(bytearray(text.encode("utf-32-le", "surrogatepass")), dtype="<u4")


# English takes about three letters and spaces where Chinese takes one ideograph, and about two for a kana, a Hangul
# block or an Ethiopic sign; every other script counts letter by letter, vowel signs included.
_WEIGHTS = np.ones(CLASSES)
_WEIGHTS[OWN_IDEOGRAPH] = 3.0
_WEIGHTS[OWN_SYLLABLE] = 2.0


def weighted_lengths(classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return lengths in letters of an alphabet, from classes [sentences, CLASSES]."""
    lengths: NDArray[np.float64] = classes @ _WEIGHTS
    return lengths


def length_ratios(
    text: NDArray[np.float64], english: NDArray[np.float64], allowance: float = 0.0
) -> NDArray[np.float64]:
    """Return the language's length over the English one [sentences], ``allowance`` added to both; never NaN."""
    return (text + allowance) / np.maximum(english + allowance, 1.0)


LETTERS = (LATIN, OWN, OWN_SYLLABLE, OWN_IDEOGRAPH, FOREIGN)


def letter_counts(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many letters, with their marks, each sentence has [sentences], from classes [sentences, CLASSES]."""
    counts: NDArray[np.int64] = classes[:, list(LETTERS)].sum(axis=1)
    return counts


def own_kinds(scripts: Sequence[str]) -> tuple[int, ...]:
    latin = any("Latn" in unicode_scripts(script) for script in scripts)
    return (OWN, OWN_SYLLABLE, OWN_IDEOGRAPH) + ((LATIN,) if latin else ())


def script_shares(classes: NDArray[np.int64], kinds: Sequence[int]) -> NDArray[np.float64]:
    """Return the share of each sentence's letters that are of ``kinds`` [sentences]; 1 where it has no letter."""
    letters = letter_counts(classes)
    own = classes[:, list(kinds)].sum(axis=1)
    return np.where(letters == 0, 1.0, own / np.maximum(letters, 1))


# The key of a word is the sum of a fixed random number for each letter, upper and lower case alike, so words of the
# same letters in another order share one. That is close enough to detect copies and repetitions, and takes two passes
# over the letters.

_IN_WORD = np.zeros(CLASSES, dtype=np.bool_)
_IN_WORD[[DIGIT, LATIN, OWN, OWN_SYLLABLE, OWN_IDEOGRAPH, FOREIGN]] = True
_ROW_BITS = 24  # of a number that holds a row and the upper bits of a key


@dataclass(frozen=True, eq=False)
class WordKeys:
    """The words of a batch of sentences."""

    keys: Keys  # [words]
    rows: NDArray[np.int64]  # [words], the sentence of each, ascending
    numbers: NDArray[np.int64]  # [sentences], words of each


def find_words(characters: Characters) -> WordKeys:
    within = np.zeros(len(characters.points) + 1, dtype=np.bool_)
    within[1:] = _IN_WORD[characters.kinds]
    edges = np.flatnonzero(within[1:] != within[:-1])  # every sentence ends in a line end, so ends come in time
    starts, ends = edges[::2], edges[1::2]
    numbers = _numbers()[characters.points]
    with np.errstate(over="ignore"):
        sums = np.cumsum(numbers)
        keys = mixed(sums[ends - 1] - sums[starts] + numbers[starts])
    numbers_of_words = np.diff(np.searchsorted(starts, characters.ends), prepend=0)
    return WordKeys(keys, np.repeat(np.arange(len(numbers_of_words)), numbers_of_words), numbers_of_words)


def word_keys(words: Sequence[str]) -> Keys:
    return find_words(read_characters(words, character_table(("Latn",)))).keys


def count_different(sides: tuple[WordKeys, WordKeys]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return how many different words each side of each pair has, and how many both share: three of [pairs]."""
    different = [_each_once(_with_rows(side)) for side in sides]
    length = len(sides[0].numbers)
    together = np.sort(np.concatenate(different))
    shared = together[1:][together[1:] == together[:-1]]
    rows = ((some >> np.uint64(64 - _ROW_BITS)).astype(np.int64) for some in (*different, shared))
    first, second, both = (np.bincount(some, minlength=length) for some in rows)
    return first, second, both


def _with_rows(words: WordKeys) -> Keys:
    upper = words.rows.astype(np.uint64) << np.uint64(64 - _ROW_BITS)
    return upper | (words.keys >> np.uint64(_ROW_BITS))


def _each_once(keys: Keys) -> Keys:
    keys.sort()  # np.unique takes several times as long
    once: Keys = keys[np.concatenate((keys[:1] == keys[:1], keys[1:] != keys[:-1]))]
    return once


@functools.cache
def _numbers() -> Keys:
    """Return a number for each code point, the same for its upper and lower case [TABLE_SIZE]."""
    folded = np.array([ord(chr(point).casefold()[0]) for point in range(TABLE_SIZE)], dtype=np.uint64)
    return mixed(folded + np.uint64(1))
