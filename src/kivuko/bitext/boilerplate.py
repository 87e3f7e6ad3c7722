"""What web crawls leave in bitext that is no sentence: addresses, markup, repetitions, the furniture of pages."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence

import numpy as np

from kivuko.bitext.bloom_filter import Keys
from kivuko.bitext.characters import LATIN, SIGN, Characters, has_pair
from kivuko.bitext.reasons import MARKUP, WEB_ADDRESS, WEB_FURNITURE
from kivuko.bitext.word_keys import WordKeys, word_keys

_ADDRESS = re.compile(
    r"(?:https?://|ftp://|www\.)\S+|\S+@\S+\.\w{2,}|\b[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|edu|gov|info)\b(?:/\S*)?",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_LEAST_WORDS = 3  # beside an address; fewer are a caption to it

_MARKUP = re.compile(
    r"</?[a-z!][^<>]{0,300}>|&(?:[a-z]{2,8}|#\d{2,7}|#x[0-9a-f]{2,6});|\{\{|\}\}|\[\[|\]\]", re.IGNORECASE
)

# What UTF-8 becomes that was read as Windows-1252. Closing quotation marks and dashes are left out of the second
# character: they may well follow a capital à with a tilde.
_MOJIBAKE = re.compile(
    "[\u00c2\u00c3][\u00a1-\u00ba\u00bc-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    "\u201a\u201c\u201e\u2020-\u2022\u2030\u2039\u20ac\u2122]|\u00e2\u20ac"
)

# English lines that are nothing but furniture: pages are translated with it, so the English side tells. Words that are
# also words of a dictionary (home, search, save) are not among them.
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

# Phrases that mark a line as furniture wherever they stand in it.
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
    """Yield the rows of a batch of pairs that are boilerplate, with why, as named in ``kivuko.bitext.reasons``.

    A side is a web address if fewer than three words stand beside one; a tag, an entity or a wiki's brackets anywhere
    are markup.

    Args:
        texts, english: cleaned sides.
        characters: of both.
        words: of the English side.
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
    """Tell whether an English line is a page's furniture rather than its text."""
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
    """Keys of the longest word of each phrase: without it, the phrase need not be looked for."""
    return word_keys([max(phrase.split(), key=len) for phrase in _PHRASES])


def _mostly_address(side: str) -> bool:
    rest, found = _ADDRESS.subn(" ", side)
    return found > 0 and len(_WORD.findall(rest)) < _LEAST_WORDS
