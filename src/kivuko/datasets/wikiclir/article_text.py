"""From an article to a query (its first sentence without its title) and to a document (its first words)."""

from __future__ import annotations

import regex

from kivuko.bitext.words import word_list, word_spans
from kivuko.datasets.collections.sentences import first_sentence

_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]")
_CHARACTERS_PER_WORD = 8  # what a document's length in words may come to at most, for scripts without spaces
_EDGE = " \t,;:.–—-·•()[]（）、，。।"


def query_text(title: str, text: str) -> str:
    """Return an article's first sentence with the words of its title taken out, case folded; "" if none is left.

    As Schamoni et al. 2014 make queries: with the title in it, a query that names what it looks
    for would find it by its name alone.

    >>> query_text("Paka mweusi", "Paka mweusi ni mnyama wa nyumbani. Hula panya.")
    'ni mnyama wa nyumbani.'
    """
    sentence = first_sentence(_opening(title, text))
    if _UNSPACED.search(title):
        sentence = sentence.replace(title.partition(" (")[0], " ")
    names = set(word_list(title))
    kept, position = [], 0
    for word, start, end in word_spans(sentence):
        if word in names:
            kept.append(sentence[position:start])
            position = end
    kept.append(sentence[position:])
    joined = regex.sub(r"\([,;:\s]*\)|\"\s*\"|“\s*”|«\s*»", " ", "".join(kept))
    cleaned = " ".join(joined.split()).lstrip(_EDGE)
    return cleaned if regex.search(r"\p{L}", cleaned) else ""


def query_length(text: str) -> int:
    """Return the number of words of a query; two letters count for one where words are not spaced."""
    words = word_list(text)
    return sum(max(1, len(word) // 2) if _UNSPACED.search(word) else 1 for word in words)


def document_text(title: str, text: str, words: int | None) -> str:
    """Return an article's text in one line, at most its first ``words`` words (and 8 characters for each of them)."""
    body = _without_title(title, text)
    if words is None:
        return " ".join(body.split())
    cut = " ".join(body[: 4 * _CHARACTERS_PER_WORD * words].split()[:words])
    return cut[: _CHARACTERS_PER_WORD * words].rstrip()


def _opening(title: str, text: str) -> str:
    """Return the first paragraph that holds words, in one line."""
    paragraphs = (" ".join(line.split()) for line in _without_title(title, text).split("\n"))
    return next((paragraph for paragraph in paragraphs if word_list(paragraph)), "")


def _without_title(title: str, text: str) -> str:
    """Drop a first line that repeats the title, as WikiExtractor writes it."""
    first, _, rest = text.lstrip().partition("\n")
    return rest if first.strip() == title.strip() else text
