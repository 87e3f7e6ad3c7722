"""Which column, key, file or variant is in which language, by tags, names of languages, and headings in use."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from kivuko.bitext.pairs import Columns
from kivuko.errors import DataError, UsageError
from kivuko.languages import known_code

_LONGEST = 60  # characters of a tag or a name; a file may have anything in its place

# Tags that files bear and no registry has; of the modifiers of POSIX locales (sr_RS@latin), those that name scripts.
_UNREGISTERED = {
    "zh-chs": "zh-Hans", "zh-cht": "zh-Hant", "chs": "zh-Hans", "cht": "zh-Hant", "zhs": "zh-Hans", "zht": "zh-Hant",
    "zh-gb": "zh-Hans", "zh-big5": "zh-Hant", "pob": "pt-BR", "ptb": "pt-BR", "pb": "pt-BR", "ptg": "pt-PT",
    "no-nb": "nb", "no-nn": "nn", "no-bokmal": "nb", "no-nynorsk": "nn", "sr-latin": "sr-Latn",
    "sr-cyrillic": "sr-Cyrl",
}  # fmt: skip
_SCRIPT_MODIFIERS = {"latin": "Latn", "latn": "Latn", "cyrillic": "Cyrl", "cyrl": "Cyrl", "devanagari": "Deva"}
_TAG = re.compile(r"(?P<language>[a-z]{2,3})(?P<script>[-_][a-z]{4})?(?P<rest>(?:[-_][a-z0-9]{2,8})*)", re.IGNORECASE)


@lru_cache(maxsize=4096)
def code_of(text: str) -> str | None:
    """Return the normalized code of a language's tag or name, such as ``EN-US``, ``swh_Latn`` or ``Kiswahili``.

    None where it is none. A region or variant that does not exist (``sr-SP``) is left out.
    """
    text = text.strip()
    if not text or len(text) > _LONGEST or not text.isprintable():
        return None
    locale, _, modifier = text.partition("@")
    locale = locale.partition(".")[0] if modifier or "_" in text else locale  # sr_RS.UTF-8@latin
    if not (tag := _TAG.fullmatch(locale)):
        return _code_by_name(text) or (known_code(text) if text.replace("-", "").replace("_", "").isalnum() else None)
    script = _SCRIPT_MODIFIERS.get(modifier.lower(), "")
    if script and not tag["script"]:
        locale = f"{tag['language']}-{script}{tag['rest']}"
    if named := _UNREGISTERED.get(locale.replace("_", "-").lower()):
        return known_code(named)
    if code := known_code(locale):
        return code
    return (known_code(tag["language"] + (tag["script"] or "")) if tag["rest"] else None) or _code_by_name(text)


_QUALIFIED = re.compile(r"(.+?)\s*[(（]\s*(.+?)\s*[)）]")


def _code_by_name(name: str) -> str | None:
    letters = sum(map(str.isalpha, name))
    if letters < (4 if name.isascii() else 2) or len(name.split()) > 5 or any(map(str.isdigit, name)):
        return None
    code = _named("language", name)
    if code is None and (parts := _QUALIFIED.fullmatch(name)):
        base, qualifier = parts.groups()  # Chinese (Simplified), 中文（繁體）, Português (Brasil)
        code = _named("language", f"{qualifier} {base}") or _named("language", qualifier + base)
        subtag = _named("script", qualifier) or _named("territory", qualifier)
        if code is None and subtag and (language := _named("language", base)):
            code = f"{language}-{subtag}"
    return known_code(code) if code else None


def _named(kind: str, name: str) -> str | None:
    """Return the code of a language, script or territory by its name in any language."""
    from language_data.names import TRIES, name_to_code, normalize_name

    code: str | None = name_to_code(kind, name)
    # It also takes the beginning of a text for a name: "English is hard".
    return code if normalize_name(name) in TRIES[f"und/name_to_{kind}"] else None


@lru_cache(maxsize=4096)
def fit(wanted: str, code: str | None) -> int | None:
    """Return how well a code fits the wanted one: 0 the same, higher is worse, None not at all.

    One of them may be less exact than the other: ``pt`` fits ``pt-BR``, ``zh-TW`` fits ``zh-Hant`` and ``zh``.
    """
    import langcodes

    if code is None or wanted == code:
        return None if code is None else 0
    ours, theirs = langcodes.Language.get(wanted), langcodes.Language.get(code)
    if ours.language != theirs.language:
        return 3 if (ours.language, theirs.language) == ("no", "nn") else None
    if ours.territory and theirs.territory and ours.territory != theirs.territory:
        return None
    if ours.script and theirs.script:
        return 1 if ours.script == theirs.script else None
    usual = [one.maximize().script for one in (ours, theirs)]
    if usual[0] == usual[1]:
        return 1
    # Where both scripts are in use in one country, as in Serbia, a region says nothing of the script.
    for scripted, other in ((ours, theirs), (theirs, ours)):
        if scripted.script and other.territory:
            alone = langcodes.Language.make(language=scripted.language, script=scripted.script)
            return 2 if alone.maximize().territory == other.territory else None
    return 2


def fitting(wanted: str, codes: Sequence[str | None]) -> int | None:
    """Return which of the codes is the wanted language's: the first of those that fit best."""
    fits = [(how, index) for index, code in enumerate(codes) if (how := fit(wanted, code)) is not None]
    return min(fits)[1] if fits else None


def check_columns(columns: Columns) -> None:
    """Raise ``UsageError`` unless two different positions (from 1) or two different headings are given."""
    if len(columns) != 2 or len({type(column) for column in columns}) != 1 or columns[0] == columns[1]:
        raise UsageError(f"columns {columns!r}: give two different positions or two different headings")
    if any(isinstance(column, int) and column < 1 for column in columns):
        raise UsageError(f"columns {columns!r}: positions count from 1")


Positions = tuple[int, int]  # of the language's side and of English, from 0

# (language's side, English side) pairs of headings that are in use for bitext.
_HEADINGS = (
    ("text", "english"), ("source", "target"), ("non_english", "english"), ("src", "tgt"),
    ("source_text", "target_text"), ("source_sentence", "target_sentence"), ("src_text", "tgt_text"),
)  # fmt: skip
# Words of headings: of columns with sentences, and of all others.
_OF_SENTENCES = frozenset((
    "text", "string", "sentence", "translation", "segment", "source", "target", "src", "tgt", "trg", "side", "language",
    "lang",
))  # fmt: skip
_OF_OTHERS = frozenset((
    "id", "ids", "score", "scores", "source", "target", "no", "nr", "num", "number", "index", "idx", "line", "url",
    "uri", "domain", "doc", "document", "docid", "corpus", "origin", "split", "quality", "similarity", "laser", "labse",
    "comet", "bicleaner", "margin", "alignment", "cosine", "probability", "prob", "license", "date", "time",
    "author", "user", "username", "key", "name", "title", "category", "label", "topic", "genre", "note", "notes",
    "comment", "comments", "file", "filename", "page", "section", "dataset", "collection", "provenance", "length",
    "ratio", "tokens", "hash", "type", "status",
))  # fmt: skip
_EDGES = " \t\r\n\ufeff\u200b\u200e\u200f\"'`“”„‘’«»*#"


def headings(cells: Sequence[str]) -> list[str]:
    """Return cells as headings: case folded, without quotation marks, byte order mark and spaces around them.

    Capitals within a word part it: ``sourceString`` is ``source_string``.
    """
    return [
        re.sub(r"(?<=[a-z])(?=[A-Z][a-z])|(?<=[a-z])(?=ID\b)", "_", cell.strip(_EDGES)).casefold() for cell in cells
    ]


def _tokens(name: str) -> list[str]:
    return [token for token in re.split(r"[\s_./:()\[\]-]+", name) if token]


@lru_cache(maxsize=4096)
def _heading_code(name: str) -> str | None:
    """Return the language that a heading names: ``sw-KE``, ``swahili``, ``text_sw``, ``english (en)``."""
    tokens = _tokens(name)
    others = [token for token in tokens if token in _OF_OTHERS - _OF_SENTENCES]
    if others and len(tokens) > 1 and not (name == name.replace("_", "-") and code_of(name)):
        return None
    if code := code_of(name):
        return code
    rest = [token for token in tokens if token not in _OF_SENTENCES]
    if not rest or len(rest) > 3:
        return None
    parts = [code_of(token) for token in rest]  # "English (en)": both are the same
    alike = None not in parts and len({(part or "").partition("-")[0] for part in parts}) == 1
    return min(filter(None, parts), key=len) if alike else code_of("-".join(rest)) if len(rest) < len(tokens) else None


def sides_in_header(cells: Sequence[str], language: str) -> Positions | None:
    """Return the columns of both sides by the headings in a table's first row, or None where it does not name them.

    Headings name languages, by tag or name, or are ``text`` and ``english``, ``source`` and ``target`` or the like.
    """
    names = headings(cells)
    codes = [_heading_code(name) for name in names]
    english = fitting("en", codes)
    text = fitting(language, [None if index == english else code for index, code in enumerate(codes)])
    if text is not None and english is not None:
        return text, english
    for pair in _HEADINGS:
        if pair[0] in names and pair[1] in names:
            return names.index(pair[0]), names.index(pair[1])
    known = english if text is None else text
    rest = [i for i, name in enumerate(names) if i != known and name and _OF_SENTENCES.issuperset(_tokens(name))]
    if known is None or len(rest) != 1 or any(code for i, code in enumerate(codes) if i not in (known, *rest)):
        return None
    return (rest[0], known) if text is None else (known, rest[0])


def is_header(cells: Sequence[str], language: str) -> bool:
    """Return True if a table's first row is a header, also one that does not tell which columns are the two sides."""
    if sides_in_header(cells, language) is not None:
        return True
    named = {name: _heading_code(name) for name in headings(cells) if name}
    known = all(code or (_OF_SENTENCES | _OF_OTHERS).issuperset(_tokens(name)) for name, code in named.items())
    if not known or len(named) < 2:
        return False
    languages = {name: code for name, code in named.items() if code and name not in _OF_OTHERS}
    ours = any(fit(one, code) is not None for code in languages.values() for one in ("en", language))
    # Short codes are words of many languages ("so", "is"); tags with a region, and names, are not.
    if len({code.partition("-")[0] for code in languages.values()}) > 1:
        return ours or all(len(name) > 3 for name in languages)
    return not languages or (ours and len(languages) < len(named))


def header_columns(cells: Sequence[str], language: str, place: str) -> Positions | None:
    """Return the columns of both sides by a table's first row; None where it is a pair, DataError for other headers."""
    sides = sides_in_header(cells, language)
    if sides is None and is_header(cells, language):
        raise DataError(
            f"{place}: the header names {_listed(cells)}, not {language} and en; give the language the file is in, or "
            f"name the two columns (--columns 2,1)"
        )
    return sides


def named_columns(cells: Sequence[str], columns: tuple[str, str], place: str) -> Positions:
    """Return the places of two headings in a table's first row, whatever their case."""
    names, wanted = headings(cells), headings(columns)
    missing = [column for column, name in zip(columns, wanted, strict=True) if name not in names]
    if missing:
        raise DataError(f"{place}: no column {' nor '.join(missing)} in the header, which has: {_listed(cells)}")
    return names.index(wanted[0]), names.index(wanted[1])


TRANSLATION = "translation"  # OPUS on the Hugging Face hub: {"translation": {"en": ..., "sw": ...}}

FieldPath = tuple[str, ...]  # the names that lead to a field


class Sides(NamedTuple):
    """The names that lead to the two sides: of a column, or of a struct and a field in it."""

    text: FieldPath
    english: FieldPath


def sides_of(fields: Mapping[str, Sequence[str]], language: str, columns: Columns | None, place: str) -> Sides:
    """Return the sides among the fields of a record, or raise DataError with a list of the fields.

    ``fields``: name -> names of the fields in it, none where it is no struct. ``columns``: two positions from 1, or two
    names; ``translation.sw`` is the field ``sw`` in ``translation``.
    """
    paths: dict[str, FieldPath] = {}
    for name, inner in fields.items():
        for path in ((name, one) for one in inner) if inner else [(name,)]:
            paths.setdefault(".".join(path), path)
    if columns is None:
        return _detected(fields, list(paths), language, place)
    text, english = columns
    if isinstance(text, str) and isinstance(english, str):
        chosen = named_columns(list(paths), (text, english), place)
        return Sides(*(list(paths.values())[index] for index in chosen))
    if isinstance(text, str) or isinstance(english, str):
        raise UsageError(f"columns {columns!r}: give two positions or two headings")
    names = list(fields)
    if max(text, english) > len(names):
        raise DataError(f"{place}: there are {len(names)} columns, not {max(text, english)}: {_listed(names)}")
    return Sides((names[text - 1],), (names[english - 1],))


def _detected(fields: Mapping[str, Sequence[str]], paths: Sequence[str], language: str, place: str) -> Sides:
    flat = [name for name, inner in fields.items() if not inner]
    if where := sides_in_header(flat, language):
        return Sides((flat[where[0]],), (flat[where[1]],))
    for name, inner in sorted(fields.items(), key=lambda field: field[0].casefold() != TRANSLATION):
        if inner and (where := sides_in_header(inner, language)):
            return Sides((name, inner[where[0]]), (name, inner[where[1]]))
    raise DataError(f"{place}: no columns for {language} and en, but: {_listed(paths)}; name two of them as columns")


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(name.strip(_EDGES)[:40] for name in names[:10])
    return (listed + (", ..." if len(names) > 10 else "")) or "none"
