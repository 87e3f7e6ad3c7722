"""The words of a text, and which tokens make up each: for showing people what a model sees as subwords."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import regex

Span = tuple[int, int]  # where a stretch of text begins and ends, in characters

# Ethiopic texts may separate words by U+1361 instead of a space.
_WORD = regex.compile(r"[^\s\u1361]+")
# Scripts written without spaces between words, with the punctuation that goes with them.
_UNSPACED = regex.compile(r"[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Thai}\p{scx=Lao}\p{scx=Khmer}\p{scx=Myanmar}]+")


@dataclass(frozen=True)
class Words:
    """The words of a text as spans in it, and for each token the number of its word."""

    spans: tuple[Span, ...]
    of_token: tuple[int, ...]


def group_tokens(text: str, tokens: Sequence[Span]) -> Words:
    """Group tokens into the words of the text that they come from.

    Words are what stands between spaces, punctuation included as it is written. A stretch in a script without spaces
    (Thai, Chinese, Japanese and the like) has no such words: there each token is one, unless it begins or ends within
    a grapheme cluster. Words that one token spans count as one word.

    Args:
        tokens: where in ``text`` each token comes from, in order. A token of spaces alone, or of nothing, belongs to
            the word that follows it, or to the last word.

    >>> group_tokens("paka mweusi", [(0, 4), (4, 7), (7, 11)])
    Words(spans=((0, 4), (5, 11)), of_token=(0, 1, 1))
    """
    spans = _join(_spans(text, tokens), tokens)
    ends = [end for _, end in spans]
    last = len(spans) - 1
    of_token = (min(bisect_right(ends, token[0]), last) for token in tokens) if spans else ()
    return Words(tuple(spans), tuple(of_token))


def _spans(text: str, tokens: Sequence[Span]) -> list[Span]:
    edges = sorted({edge for token in tokens for edge in token})
    clusters = {found.start() for found in regex.finditer(r"\X", text)}
    spans: list[Span] = []
    for word in _WORD.finditer(text):
        cuts = {word.start(), word.end()}
        for run in _UNSPACED.finditer(text, word.start(), word.end()):
            cuts |= {run.start(), run.end()} | {
                *edges[bisect_left(edges, run.start()) : bisect_right(edges, run.end())]
            }
        kept = sorted(cut for cut in cuts if cut in clusters or cut in word.span())
        spans += pairwise(kept)
    return spans


def _join(spans: list[Span], tokens: Sequence[Span]) -> list[Span]:
    """Make one span of those that some token spans together."""
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    glued = set()  # numbers of the spans that belong to the span before them
    for start, end in tokens:
        glued |= set(range(bisect_right(ends, start) + 1, bisect_left(starts, end)))
    joined: list[Span] = []
    for number, span in enumerate(spans):
        if number in glued:
            joined[-1] = (joined[-1][0], span[1])
        else:
            joined.append(span)
    return joined
