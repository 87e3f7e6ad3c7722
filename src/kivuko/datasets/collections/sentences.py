"""Where sentences end, in any script: good enough to take the first one, or to translate a passage in pieces."""

from __future__ import annotations

from collections.abc import Iterator

import regex

# Latin, Arabic, Devanagari, Burmese, Khmer, Ethiopic, Armenian, Tibetan and the full-width marks of East Asia.
_END = regex.compile(r"[.!?…‽؟۔।॥၊။។៕።፧፨։༎。！？｡]+[\"'”’»)\]）」』】]*")
_FULL_WIDTH = frozenset("。！？｡")  # no space follows these
_INITIAL = regex.compile(r"(?:^|[\s(\[“\"'«])(?:\p{Lu}\p{M}*|(?:\p{L}\p{M}*\.)+\p{L}\p{M}*)\.$")
_ABBREVIATION = regex.compile(r"(?:^|[\s(\[])\p{L}{1,4}\.$")
_BRACKET_SPAN = 400  # characters; a bracket that was opened before them was never closed
_BEGINS_SENTENCE = regex.compile(r"[\s]+[\"'“‘«(\[]*(?:[\p{Lu}\p{Lt}\p{Lo}\p{N}]|[¿¡])")


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text in order; together they hold all its words.

    A full stop ends a sentence where white space follows and then a capital letter, a digit, or a letter of a script
    without capitals; but not after an initial ("J. Nyerere"), letters with dots ("U.S. Army"), a short word
    with a capital or before a digit ("St. John", "Na. 5"), or inside brackets.

    >>> list(sentences("Dr. J. K. Nyerere (b. 1922. Butiama) led Tanzania. He was a teacher."))
    ['Dr. J. K. Nyerere (b. 1922. Butiama) led Tanzania.', 'He was a teacher.']
    >>> list(sentences("काली बिल्ली। लाल सेब।"))
    ['काली बिल्ली।', 'लाल सेब।']
    """
    start = 0
    for end in _END.finditer(text):
        if end.end() < len(text) and not _ends(text, start, end):
            continue
        if sentence := text[start : end.end()].strip():
            yield sentence
        start = end.end()
    if rest := text[start:].strip():
        yield rest


def first_sentence(text: str) -> str:
    """Return the first sentence of a text; empty where there is none."""
    return next(sentences(text), "")


def _ends(text: str, start: int, end: regex.Match[str]) -> bool:
    before = text[max(start, end.end() - _BRACKET_SPAN) : end.end()]
    if before.count("(") > before.count(")") or before.count("（") > before.count("）"):
        return False
    if end.group()[0] in _FULL_WIDTH:
        return True
    if not _BEGINS_SENTENCE.match(text, end.end()):
        return False
    if end.group() != ".":
        return True
    tail = before[-24:]
    if _INITIAL.search(tail):
        return False
    follows = text[end.end() :].lstrip()[:1]
    # "Na. 5", "St. John": a short word with a full stop that begins with a capital or stands before a digit.
    short = _ABBREVIATION.search(tail)
    return not (short and (follows.isdigit() or short.group().strip(" ([")[0].isupper()))
