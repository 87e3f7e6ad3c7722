"""Dictionaries as bitext: ``dict:FILE`` names one of dictd (FreeDict), StarDict, TEI or Wiktextract."""

from __future__ import annotations

import html
import re
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from kivuko.bitext import pairs as reasons
from kivuko.bitext.columns import code_of
from kivuko.bitext.formats import FileSource
from kivuko.bitext.pairs import JoinedSource, PairSource, RawPair
from kivuko.errors import DataError, MissingDependencyError, UsageError, wrap_errors
from kivuko.files import exists, refuse_unreadable
from kivuko.streams import ByteInput, json_lines, plain_name

PREFIX = "dict:"
_READERS = {".index": "DictOrg", ".dict": "DictOrg", ".ifo": "Stardict", ".tei": "FreeDict", ".xml": "FreeDict"}
_SIDES = re.compile(r"(?:^|[^a-z])([a-z]{2,3})-([a-z]{2,3})(?:[^a-z]|$)", re.IGNORECASE)
_EXAMPLE = "freedict-swh-eng.index"
_LONGEST = 60  # characters of a translation; what is longer explains
_REMARK = re.compile(r"see\b.*:|(?:synonyms?|antonyms?|notes?|usage|cross ref\w*|etymology)\s*:", re.IGNORECASE)
_NUMBER = re.compile(r"\s*\d+[.)]\s+")
_LINK = re.compile(r"</?a\b[^>]*>")
# Grammar, pronunciation and subject: <n, masc>, /hɛd/, //hɛd//, (fig.), [bot.], {pl}.
_ASIDE = re.compile(r"<[^<>]*>|\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}|(?<=\s)/+(?=[^\s/])[^/]*/+")
_NO_ASIDE = re.compile(r"[^<(\[{/]*")
_HALF = re.compile("[\ud800-\udfff]")
_ARTICLE = re.compile(r"\A(?:to|an?|the) (?=\w)", re.IGNORECASE)
_SHOWN = ", ".join(f"{name}: {suffixes}" for name, suffixes in (
    ("dictd", ".index beside .dict or .dict.dz"), ("StarDict", ".ifo"), ("TEI", ".tei"), ("Wiktextract", ".jsonl"),
))  # fmt: skip


def is_dictionary_spec(spec: str) -> bool:
    """Return True for ``dict:FILE``."""
    return spec.startswith(PREFIX)


def dictionary_source(spec: str, language: str) -> PairSource:
    """Open a dictionary, or in a folder, such as /usr/share/dictd, all of a language and English by their names."""
    path = Path(spec.removeprefix(PREFIX))
    if not path.name:
        raise UsageError(f"{spec!r}: names no file; give {PREFIX}FILE ({_SHOWN}).")
    if not exists(path):
        path = _index_of(path)
    if not exists(path):
        raise DataError(f"{PREFIX}{path}: no such file; check the path.")
    refuse_unreadable(path)
    if not path.is_dir():
        return DictionarySource(path, language)
    files = dictionaries_of(path, language)
    if not files:
        raise DataError(f"{spec}: holds no dictionary of {language} and English, such as {_EXAMPLE}; name a file.")
    return JoinedSource(spec, [DictionarySource(file, language) for file in files])


def dictionaries_of(folder: Path, language: str) -> list[Path]:
    """Return the dictionaries of a language and English in a folder, by their names, in order."""
    wanted = {"en", language.partition("-")[0]}
    return [
        file
        for file in sorted(folder.glob("*"))
        if file.suffix in (".index", ".ifo", ".tei")
        and any(
            wanted == {(code_of(one) or "").partition("-")[0] for one in pair} for pair in _SIDES.findall(file.name)
        )
    ]


class DictionarySource(FileSource):
    """The words of a dictionary and their translations, a pair for each; see ``PairSource``.

    English may be either side: a file's name or its entries say which. Grammar, pronunciation, examples, remarks and
    definitions in the other language are left out; "to" before a verb and articles are too.
    """

    format = "dictionary"

    def __init__(self, path: Path, language: str) -> None:
        path = _index_of(path)
        refuse_unreadable(path)
        super().__init__(ByteInput(path), language)
        self.name, self._path = f"{PREFIX}{path}", path
        suffix = Path(plain_name(path.name)).suffix.lower()
        self._reader = _READERS.get(suffix, "Wiktextract" if suffix in (".jsonl", ".json", ".ndjson") else "")
        if not self._reader:
            raise DataError(f"{self.name}: not the name of a dictionary that is read ({_SHOWN}); check the file.")

    def __iter__(self) -> Iterator[RawPair]:
        entries = self._wiktextract() if self._reader == "Wiktextract" else self._glossary()
        number = 0
        for word, translations in entries:
            number += 1
            if not translations:
                yield RawPair(number, word, None, reasons.NO_TRANSLATION)
            for translation in translations:
                # JSON may hold halves of characters.
                whole = (word + translation).isascii() or not _HALF.search(word + translation)
                yield RawPair(number, word, translation, None if whole else reasons.BROKEN_CHARACTERS)
        if not number:
            raise DataError(f"{self.name}: holds no entry for {self.language}; check the file and its language.")

    def _glossary(self) -> Iterator[tuple[str, list[str]]]:
        english_first = _is_english_first(self._path, self.language, self.name)
        for word, definition in _entries(self._path, self._reader, self.name):
            for headword, translations in _senses(word, definition):
                if not english_first:
                    yield headword, [_without_article(one) for one in translations]
                    continue
                for one in translations:
                    yield one, [_without_article(headword)]
                if not translations:
                    yield headword, []

    def _wiktextract(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the words of this language in a dump of the English Wiktionary, and translations below English ones."""
        base = self.language.partition("-")[0]

        def is_own(code: Any) -> bool:
            return isinstance(code, str) and code_of(code) in (self.language, base)

        for _, entry in json_lines(self._source):
            word, code = entry.get("word"), entry.get("lang_code")
            if not isinstance(word, str):
                continue
            if is_own(code):
                glosses = [
                    gloss
                    for sense in _list(entry.get("senses"))
                    if isinstance(sense, dict) and not sense.get("form_of") and not sense.get("alt_of")
                    for gloss in _list(sense.get("glosses"))[-1:]
                    if isinstance(gloss, str)
                ]
                parts = (_without_article(part) for gloss in glosses for part in _translations(gloss))
                yield _plain(word), list(dict.fromkeys(parts))
            elif code == "en":
                senses = (sense for sense in _list(entry.get("senses")) if isinstance(sense, dict))
                listed = [*_list(entry.get("translations")), *(t for s in senses for t in _list(s.get("translations")))]
                for one in listed:
                    if not isinstance(one, dict) or not is_own(one.get("code") or one.get("lang_code")):
                        continue
                    if isinstance(one.get("word"), str):
                        yield _plain(one["word"]), [_without_article(_plain(word))]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _index_of(path: Path) -> Path:
    """Return the index of a dictd dictionary that is named by its other file, the .ifo of one of StarDict."""
    name = path.name
    info = path.with_name(name.partition(".")[0] + ".ifo")
    if name.endswith((".dict.dz", ".dict")) and info.is_file():
        return info
    for suffix in (".dict.dz", ".dict"):
        if name.endswith(suffix):
            return path.with_name(name.removesuffix(suffix) + ".index")
    return path


def _is_english_first(path: Path, language: str, name: str) -> bool:
    """Return True if a dictionary's words are English by the name of its file, such as freedict-eng-swh.index."""
    codes = [(code_of(first), code_of(second)) for first, second in _SIDES.findall(path.name)]
    sides = [pair for pair in codes if "en" in pair and None not in pair]
    if not sides:
        return False
    first, second = sides[-1]
    other = second if first == "en" else first
    if other is not None and other.partition("-")[0] != language.partition("-")[0]:
        raise DataError(f"{name}: is a dictionary of {other} by its name, not of {language}; check the language.")
    return first == "en"


def _entries(path: Path, reader: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield the headword and the definition, in HTML, of each entry."""
    try:
        from pyglossary.glossary_v2 import Glossary
    except ImportError as problem:
        raise MissingDependencyError(
            f"{name}: dictionaries need pyglossary. Run: pip install 'kivuko[dictionaries]'"
        ) from problem
    import logging

    logging.getLogger("pyglossary").setLevel(logging.CRITICAL)
    Glossary.init()
    with tempfile.TemporaryDirectory() as folder:
        file = _unpacked(path, Path(folder)) if reader == "DictOrg" else path
        glossary = Glossary()

        def damaged(reason: str) -> DataError:
            return DataError(f"{name}: does not read as a dictionary ({reason}); check the file and those beside it.")

        with wrap_errors(damaged):
            opened = glossary.directRead(str(file), formatName=reader)
        if not opened:
            raise damaged("damaged, or of another format")
        entries = iter(glossary)
        while True:
            with wrap_errors(damaged):
                entry = next(entries, None)
            if entry is None:
                return
            if not entry.isData() and not entry.l_term[0].replace("-", "").startswith("00database"):
                yield entry.l_term[0], entry.defi


def _unpacked(index: Path, folder: Path) -> Path:
    """Copy a dictd dictionary unpacked into a folder: to find an entry in a packed one takes twenty times as long."""
    base = index.stem
    packed, plain = index.with_name(f"{base}.dict.dz"), index.with_name(f"{base}.dict")
    if not packed.is_file():
        packed = plain
    if not packed.is_file():
        raise DataError(f"{PREFIX}{index}: there is no {base}.dict or {base}.dict.dz beside it; put them together.")
    for source, target in ((index, folder / index.name), (packed, folder / f"{base}.dict")):
        with ByteInput(source).opened() as stream, target.open("wb") as copy:
            while block := stream.read(1 << 20):
                copy.write(block)
    return folder / index.name


class _Lines(HTMLParser):
    """The lines of a definition; examples, grammar and pronunciation are left out."""

    _VOID = frozenset({"br", "hr", "img", "wbr"})

    def __init__(self) -> None:
        super().__init__()
        self.lines, self._line, self._left_out = [], "", 0  # type: tuple[list[str], str, int]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("a", "b", "i", "span", "font"):
            self._end()
        attributes = dict(attrs)
        aside = "example" in (attributes.get("class") or "") or (tag == "font" and "color" in attributes)
        if tag not in self._VOID and (self._left_out or aside):
            self._left_out += 1

    def handle_endtag(self, tag: str) -> None:
        if self._left_out and tag not in self._VOID:
            self._left_out -= 1
        if tag not in ("a", "b", "i", "span", "font"):
            self._end()

    def handle_data(self, data: str) -> None:
        if not self._left_out:
            self._line += data

    def _end(self) -> None:
        self.lines += [line for line in self._line.split("\n") if line.strip()]
        self._line = ""

    def close(self) -> None:
        super().close()
        self._end()


def _senses(word: str, definition: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the headword and the translations of each entry in a definition."""
    for entry in definition.split("<hr>"):
        lines = _lines(entry)
        if not lines:
            continue
        first, wanted = _plain(lines[0]), _letters(word)
        # dictd repeats the word, with its grammar; then comes a line for each sense, and what explains it. Its index
        # has letters only, and a line may have several spellings.
        headword = next((one.strip() for one in (first, *first.split(",")) if _letters(one) == wanted), "")
        repeated = bool(headword)
        senses = lines[1:] if repeated else lines
        if repeated:
            senses = [line for place, line in enumerate(senses) if not place or _NUMBER.match(line)]
        kept = [_NUMBER.sub("", line) for line in senses if not _REMARK.match(line.strip())]
        kept = [line for line in kept if not line.lstrip().startswith('"')]
        translations = dict.fromkeys(one for line in kept for one in _translations(line))
        yield headword if repeated else _plain(word), list(translations)


def _lines(entry: str) -> list[str]:
    if "<div" not in entry and "<li" not in entry:  # dictd's HTML has no blocks, and to split it is 20 times as fast
        return [
            line for line in html.unescape(_LINK.sub("", entry).replace("<br />", "\n")).split("\n") if line.strip()
        ]
    reader = _Lines()
    reader.feed(entry)
    reader.close()
    return reader.lines


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _translations(line: str) -> list[str]:
    """Return the translations on a line, which commas and semicolons separate."""
    parts = map(_plain, re.split("[,;]", _without_asides(line)))
    return [part for part in parts if len(part) <= _LONGEST and any(map(str.isalpha, part))]


def _without_article(text: str) -> str:
    return _ARTICLE.sub("", text)


def _plain(text: str) -> str:
    # "Plural of zulia: rug" is a rug.
    return " ".join(_without_asides(text).rpartition(": ")[2].split()).strip(" ,;.!:")


def _without_asides(text: str) -> str:
    # Most of a large dictionary is plain, and to see that takes a tenth of the time.
    return text if _NO_ASIDE.fullmatch(text) else _ASIDE.sub(" ", f" {text}")
