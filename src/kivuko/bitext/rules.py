"""The rules of cleaning: thresholds, scripts, and patterns of boilerplate and broken encodings."""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from kivuko.bitext.characters import LATIN, SIGN, Characters, WordKeys, has_pair, is_script, word_keys
from kivuko.bitext.duplicates import Keys
from kivuko.bitext.pairs import MARKUP, MAX_CHARACTERS, WEB_ADDRESS, WEB_FURNITURE
from kivuko.errors import UsageError, check_number
from kivuko.languages import written_scripts

LanguageId = Literal["auto", "fast", "full", "off"]

MAX_COUNTED = 250  # translations of one sentence: more is not counted, a counter is one byte


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Thresholds of the rules; each can be turned off."""

    max_characters: int = MAX_CHARACTERS
    max_length_ratio: float | None = 3.0  # of the longer side to the shorter, weighted by script; None: any
    length_allowance: int = 15  # characters added to both lengths, so that short sentences may differ more
    keep_copied: bool = False  # keep pairs with the same words on both sides
    min_script_share: float = 0.4  # names and loans in Latin letters may well be half of a sentence
    scripts: tuple[str, ...] = ()  # ISO 15924 codes for the language's side; empty: those the language is written in
    boilerplate: bool = True  # drop web addresses, markup, numbers, repetitions and web furniture
    duplicates: bool = True  # drop a pair that came before, ignoring case
    max_translations: int | None = 20  # pairs that may share one side, 1 to ``MAX_COUNTED``; None: any number
    expected_pairs: int = 10_000_000  # sizes the memory for duplicates
    language_id: LanguageId = "auto"

    def __post_init__(self) -> None:
        check_number("max_characters", self.max_characters, least=1, whole=True)
        check_number("max_length_ratio", self.max_length_ratio, least=1, optional=True)
        check_number("length_allowance", self.length_allowance, least=0, whole=True)
        check_number("min_script_share", self.min_script_share, least=0, most=1)
        check_number("max_translations", self.max_translations, least=1, most=MAX_COUNTED, whole=True, optional=True)
        check_number("expected_pairs", self.expected_pairs, least=1000, whole=True)
        if self.language_id not in get_args(LanguageId):
            raise UsageError(f"language_id {self.language_id!r}: give {', '.join(get_args(LanguageId))}")
        for script in self.scripts:
            if not is_script(script):
                raise UsageError(f"unknown script {script!r}: give an ISO 15924 code such as Latn, Deva or Arab")


def scripts_of(language: str, chosen: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the ISO 15924 scripts that a language's side may be in; empty where none is known.

    A code with a script (``sr-Latn``) is held to that; ``chosen`` scripts take precedence.
    """
    if chosen:
        return tuple(chosen)
    return tuple(script for script in written_scripts(language) if is_script(script))


_ADDRESS = re.compile(
    r"(?:https?://|ftp://|www\.)\S+|\S+@\S+\.\w{2,}|\b[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|edu|gov|info)\b(?:/\S*)?",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_LEAST_WORDS = 3  # with an address; fewer are a caption to it

_MARKUP = re.compile(
    r"</?[a-z!][^<>]{0,300}>|&(?:[a-z]{2,8}|#\d{2,7}|#x[0-9a-f]{2,6});|\{\{|\}\}|\[\[|\]\]", re.IGNORECASE
)

# What UTF-8 becomes that was read as Windows-1252. Closing quotation marks and dashes are left out of the second
# character: they may well follow a capital à with a tilde.
_MOJIBAKE = re.compile(
    "[\u00c2\u00c3][\u00a1-\u00ba\u00bc-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    "\u201a\u201c\u201e\u2020-\u2022\u2030\u2039\u20ac\u2122]|\u00e2\u20ac"
)

# English lines that are nothing but furniture: pages are translated with it, so the English side is enough. Words that
# are also in dictionaries (home, search, save) are not among them.
_LINES = frozenset((
    "home page", "main menu", "search results", "log in", "login", "log out", "logout", "sign in", "sign up",
    "sign out", "unsubscribe", "read more", "learn more", "see more", "show more", "view more", "load more",
    "more info", "more information", "click here", "continue reading", "next page", "previous page", "next post",
    "previous post", "back to top", "skip to content", "skip to main content", "skip to navigation", "contact us",
    "about us", "privacy policy", "terms of use", "terms of service", "terms and conditions", "cookie policy",
    "sitemap", "site map", "share this", "share on facebook", "share on twitter", "follow us",
    "follow us on twitter", "print this page", "leave a reply", "leave a comment", "post a comment", "post comment",
    "no comments", "add to basket", "buy now", "your cart", "download now", "free download", "loading",
    "please wait", "page not found", "404 not found", "advertisement", "advertisements", "sponsored",
    "related posts", "related articles", "recent posts", "popular posts", "powered by wordpress",
))  # fmt: skip
_LONGEST_LINE = max(map(len, _LINES)) + 8

# Phrases that mark a line as furniture wherever they occur in it.
_PHRASES = (
    "all rights reserved", "cookies on this", "uses cookies", "use of cookies", "cookie policy", "privacy policy",
    "terms of service", "your email address will not be published", "required fields are marked",
    "javascript is disabled", "enable javascript", "browser does not support", "click here to", "add to cart",
    "our newsletter", "powered by wordpress", "you must be logged in", "lorem ipsum", "share on facebook",
    "skip to content", "no comments yet", "forgot your password",
)  # fmt: skip


def find_boilerplate(
    texts: Sequence[str], english: Sequence[str], characters: tuple[Characters, Characters], words: WordKeys
) -> Iterator[tuple[int, str]]:
    """Yield the rows of a batch of cleaned pairs that are boilerplate, with the reason.

    A side is a web address if it has fewer than three other words; a tag, an entity or wiki brackets are markup.
    """
    signs, lines = np.zeros(len(texts), dtype=np.bool_), characters[1].classes.sum(axis=1) <= _LONGEST_LINE
    for side in characters:
        signs |= side.classes[:, SIGN] > 0
        signs |= has_pair(side, side.points == ord("."), side.kinds == LATIN)  # a dot within an address
    lines[words.rows[np.isin(words.keys, _telling_words())]] = True
    for row in np.flatnonzero(signs | lines).tolist():
        reason = _reason_against(texts[row]) or _reason_against(english[row]) if signs[row] else None
        if reason is None and lines[row] and is_furniture(english[row]):
            reason = WEB_FURNITURE
        if reason:
            yield row, reason


def is_furniture(english: str) -> bool:
    lower = english.lower()
    if len(lower) <= _LONGEST_LINE and lower.strip(" .:!…«»<>|[]") in _LINES:
        return True
    return any(phrase in lower for phrase in _PHRASES)


def find_mojibake(texts: Sequence[str], characters: Characters) -> list[int]:
    """Return the rows of texts with UTF-8 that was read in another encoding: ``Ã©`` for é, ``â€`` before quotes."""
    points = characters.points
    every = np.ones(len(points), dtype=np.bool_)
    suspects = has_pair(characters, (points | 1) == 0xC3, every)
    suspects |= has_pair(characters, points == 0xE2, points == 0x20AC)
    return [row for row in np.flatnonzero(suspects).tolist() if _MOJIBAKE.search(texts[row])]


def _reason_against(side: str) -> str | None:
    if _mostly_address(side):
        return WEB_ADDRESS
    return MARKUP if _MARKUP.search(side) else None


@functools.cache
def _telling_words() -> Keys:
    """Return keys of the longest word of each phrase: without it, the phrase need not be looked for."""
    return word_keys([max(phrase.split(), key=len) for phrase in _PHRASES])


def _mostly_address(side: str) -> bool:
    rest, count = _ADDRESS.subn(" ", side)
    return count > 0 and len(_WORD.findall(rest)) < _LEAST_WORDS
