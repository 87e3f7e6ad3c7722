"""Text: numbers with their nouns, cleaning, words, scripts, sentences, and how alike two spellings are."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping

import regex


def pluralize(number: int, noun: str, nouns: str = "") -> str:
    """Return a number and its noun; ``nouns`` is the plural where it is not the noun with an s.

    >>> pluralize(1, "query", "queries"), pluralize(2000, "pair")
    ('1 query', '2,000 pairs')
    """
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


# Format characters that no reader sees and no spelling needs: soft hyphen, left-to-right and other direction marks,
# word joiner and invisible operators, byte order mark, annotations.
# Joiners (U+200C, U+200D), variation selectors and emoji tags stay: Marathi, Persian and emoji need them.
_INVISIBLE = re.compile("[\u00ad\u061c\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
# A control character is a separator in the place of a space. The zero-width space separates words in Khmer, Burmese and
# Thai, so it counts as space, not as nothing.
_PARTING = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b]")


def clean_text(text: str) -> str:
    """Return ``text`` in Unicode NFC, without invisible characters, each run of white space one space.

    Line separators of any kind (U+0085, U+2028, vertical tab) and control characters are white space like any other.
    """
    # Most sentences hold nothing to clean, and to see that takes a quarter of the time that cleaning does: everything
    # invisible, and all white space but the space, is what Python calls not printable.
    if text.isprintable():
        if "  " in text or text != text.strip():
            text = " ".join(text.split())
    else:
        text = " ".join(_INVISIBLE.sub("", _PARTING.sub(" ", text)).split())
    return text if text.isascii() else unicodedata.normalize("NFC", text)


# Elements that format letters within a word; any other tag of HTML, wikitext or SGML separates words.
_INLINE = (
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|includeonly|ins|kbd|mark|noinclude|nowiki|"
    "onlyinclude|q|rb|rt|rtc|ruby|s|samp|small|span|strike|strong|sub|sup|time|tt|u|var|wbr"
)
_INLINE_TAG = re.compile(rf"</?(?:{_INLINE})(?=[\s/>])[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


# Elements of HTML by themselves, without the brackets: what other formats call so may be anything.
_PARTING_NAME = re.compile(
    "blockquote|br|caption|dd|div|dl|dt|h[1-6]|hr|img|lb|li|ol|p|pb|pre|section|table|tab|td|th|tr|ul", re.IGNORECASE
)


def without_inline_tags(text: str) -> str:
    return _INLINE_TAG.sub("", text)


def without_tags(text: str) -> str:
    """Return a text without tags, with a space in place of each that separates words.

    >>> without_tags("Bandari<br/>Ziwa <b>M</b>oja<p>Mbili")
    'Bandari Ziwa Moja Mbili'
    """
    return _TAG.sub(" ", _INLINE_TAG.sub("", text))


def separates_words(markup: str) -> bool:
    """Return True if the name of an element, or markup with tags, separates words.

    >>> separates_words("br"), separates_words("hi"), separates_words("<b>"), separates_words("x<p>")
    (True, False, False, True)
    """
    if markup.isalnum():
        return _PARTING_NAME.fullmatch(markup) is not None
    return _TAG.search(_INLINE_TAG.sub("", markup)) is not None


# Letters and marks that people and keyboards write for an apostrophe. Those that Unicode counts as letters join the
# words beside them, so that a tokenizer cuts "dʼeau" otherwise than "d’eau".
APOSTROPHES = "\u2018\u201b\u02bb\u02bc\u02bd\u02c8\u02b9\u2032\u055a\ua78c\uff07\u0060\u00b4"
APOSTROPHE = "\u2019"
_ONE_APOSTROPHE = str.maketrans(dict.fromkeys([*APOSTROPHES, "'"], APOSTROPHE))


def one_apostrophe(text: str) -> str:
    """Return a text with ’ for all that is written for an apostrophe."""
    return text.translate(_ONE_APOSTROPHE)


def table_lookup(table: Mapping[str, str]) -> Callable[[str, str], str]:
    """Return a function from a word and a default to the word's entry, whichever apostrophe either is written with.

    >>> table_lookup({"d’eau": "water"})("dʼeau", "")
    'water'
    """
    alike: dict[str, str] = {}
    for word, entry in table.items():
        alike.setdefault(one_apostrophe(word), entry)
    return lambda word, default: table[word] if word in table else alike.get(one_apostrophe(word), default)


def words_normalized(text: str) -> str:
    """Return a text in NFKC with one kind of apostrophe and no İ, as lists of words are made and looked up.

    >>> words_normalized("feu d'artifice") == words_normalized("feu d\u02bcartifice")
    True
    """
    # Folding the case of İ leaves an i with a second dot, which no list holds.
    return unicodedata.normalize("NFKC", one_apostrophe(text)).replace("İ", "i")


def without_controls(text: str) -> str:
    """Return a text with a space in place of each control character that is no white space."""
    return text if text.isprintable() else _PARTING.sub(" ", text)


def single_spaced(text: str) -> str:
    """Return a text on one line: white space and control characters, in runs, are one space each."""
    if not text.isprintable():
        text = _PARTING.sub(" ", text)
    return " ".join(text.split())


# Letters with their marks (Marathi's vowel signs are marks) and numbers; apostrophes, dots and hyphens within a word.
_WORD = regex.compile(r"[\p{L}\p{N}][\p{L}\p{M}\p{N}]*(?:[’'.-][\p{L}\p{N}][\p{L}\p{M}\p{N}]*)*")


def word_list(text: str) -> list[str]:
    """Return the words of a text, case folded, in order, punctuation left out.

    >>> word_list("Flag: Guinea-Bissau, paka mweusi")
    ['flag', 'guinea-bissau', 'paka', 'mweusi']
    """
    words: list[str] = _WORD.findall(text.casefold())
    return words


def word_forms(text: str) -> list[str]:
    """Return the words of a text as they are written, in order, punctuation left out."""
    forms: list[str] = _WORD.findall(text)
    return forms


def word_spans(text: str) -> list[tuple[str, int, int]]:
    """Return the words of a text with their places: (word, case folded; first character; the one after the last).

    >>> word_spans("Paka, MBWA")
    [('paka', 0, 4), ('mbwa', 6, 10)]
    """
    return [(match.group().casefold(), *match.span()) for match in _WORD.finditer(text)]


_SCRIPTS = (
    "Arab", "Armn", "Beng", "Deva", "Ethi", "Geor", "Gujr", "Guru", "Hebr", "Khmr", "Knda", "Laoo", "Mlym", "Mymr",
    "Orya", "Sinh", "Taml", "Telu", "Thai", "Tibt", "Hani", "Hira", "Kana", "Hang",
)  # fmt: skip


def script_of(text: str) -> str:
    """Return the ISO 15924 script of a text; "Latn" also for Greek, Cyrillic and others that share Latin's fonts.

    >>> script_of("paka"), script_of("काली बिल्ली")
    ('Latn', 'Deva')
    """
    return next((one for one in _SCRIPTS if regex.search(rf"\p{{Script={one}}}", text)), "Latn")


def spelling_likeness(first: str, second: str) -> float:
    """Return how alike two words are spelled: Dice's coefficient over their letter trigrams, edges included; 0 to 1.

    >>> spelling_likeness("kompyuta", "computer") < spelling_likeness("kamera", "camera")
    True
    """
    ours, theirs = trigrams(first), trigrams(second)
    return 2 * len(ours & theirs) / (len(ours) + len(theirs))


def trigrams(word: str) -> frozenset[str]:
    marked = f"<{word}>"
    return frozenset(marked[place : place + 3] for place in range(max(1, len(marked) - 2)))


# Latin, Arabic, Devanagari, Burmese, Khmer, Ethiopic, Armenian, Tibetan and the full-width marks of East Asia.
_SENTENCE_END = regex.compile(r"[.!?…‽؟۔।॥၊။។៕።፧፨։༎。！？｡]+[\"'”’»)\]）」』】]*")
_FULL_WIDTH = frozenset("。！？｡")  # no space follows these
_INITIAL = regex.compile(r"(?:^|[\s(\[“\"'«])(?:\p{Lu}\p{M}*|(?:\p{L}\p{M}*\.)+\p{L}\p{M}*)\.$")
_ABBREVIATION = regex.compile(r"(?:^|[\s(\[])\p{L}{1,4}\.$")
_BRACKET_SPAN = 400  # characters; an earlier bracket was never closed
_BEGINS_SENTENCE = regex.compile(r"[\s]+[\"'“‘«(\[]*(?:[\p{Lu}\p{Lt}\p{Lo}\p{N}]|[¿¡])")


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text in order; together they hold all its words.

    A full stop ends a sentence if white space follows and then a capital letter, a digit, or a letter of a script
    without capitals; but not after an initial, letters with dots ("U.S. Army"), a short word with a capital or before a
    digit ("St. John", "Na. 5"), or inside brackets.

    >>> list(sentences("Dr. J. K. Nyerere (b. 1922. Butiama) led Tanzania. He was a teacher."))
    ['Dr. J. K. Nyerere (b. 1922. Butiama) led Tanzania.', 'He was a teacher.']
    >>> list(sentences("काली बिल्ली। लाल सेब।"))
    ['काली बिल्ली।', 'लाल सेब।']
    """
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if end.end() < len(text) and not _ends(text, start, end):
            continue
        if sentence := text[start : end.end()].strip():
            yield sentence
        start = end.end()
    if rest := text[start:].strip():
        yield rest


def first_sentence(text: str) -> str:
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
    # "Na. 5", "St. John": a short word with a full stop that begins with a capital or is followed by a digit.
    short = _ABBREVIATION.search(tail)
    return not (short and (follows.isdigit() or short.group().strip(" ([")[0].isupper()))
