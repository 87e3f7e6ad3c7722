"""Articles of one Wikipedia, as a stream, and the plain text, the query and the document of each.

They come from its XML dump, from WikiExtractor's JSON, or from a CirrusSearch dump.
"""

import html
import re
import xml.parsers.expat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import regex

from kivuko.datasets.collections.collection import encodable
from kivuko.errors import DataError, at
from kivuko.streams import ByteInput, json_lines
from kivuko.text import first_sentence, single_spaced, without_controls, without_tags, word_list, word_spans

_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]")
_CHARACTERS_PER_WORD = 8  # at most, of a document's length in words, for scripts without spaces
_EDGE = " \t,;:.–—-·•()[]（）、，。।"


def query_text(title: str, text: str) -> str:
    """Return an article's first sentence without the words of its title; "" if none is left.

    As Schamoni et al. 2014 build queries: one with the title in it would retrieve its article by the name alone.

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
    cleaned = single_spaced(joined).lstrip(_EDGE)
    return cleaned if regex.search(r"\p{L}", cleaned) else ""


def query_length(text: str) -> int:
    """Return the number of words of a query; in scripts without spaces, two letters count as one."""
    words = word_list(text)
    return sum(max(1, len(word) // 2) if _UNSPACED.search(word) else 1 for word in words)


def document_text(title: str, text: str, words: int | None) -> str:
    """Return an article's text in one line, at most its first ``words`` words (and 8 characters for each of them)."""
    body = _without_title(title, text)
    if words is None:
        return single_spaced(body)
    cut = " ".join(without_controls(body[: 4 * _CHARACTERS_PER_WORD * words]).split()[:words])
    return cut[: _CHARACTERS_PER_WORD * words].rstrip()


def _opening(title: str, text: str) -> str:
    paragraphs = (" ".join(line.split()) for line in _without_title(title, text).split("\n"))
    return next((paragraph for paragraph in paragraphs if word_list(paragraph)), "")


def _without_title(title: str, text: str) -> str:
    """Drop a first line that repeats the title, as WikiExtractor writes it."""
    first, _, rest = text.lstrip().partition("\n")
    return rest if first.strip() == title.strip() else text


# Plain text from wikitext, in linear time. Dropped: templates, tables, references, files, categories, comments,
# headings, lists' bullets, tags. Kept: the text of links, bold and italic words. The text of templates is lost.
# mwparserfromhell takes six times as long, and keeps captions of files and names of categories (docs/experiments.md).

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
# Elements whose content is no prose; a tag that closes itself has none.
_DROPPED = (
    "ref|gallery|math|chem|ce|timeline|score|syntaxhighlight|source|pre|code|imagemap|style|templatestyles|hiero|graph|"
    "mapframe|maplink|templatedata|inputbox|categorytree|includeonly"
)
_UNSEEN = ("ref", "style", "templatestyles")  # these separate no words
_ELEMENT = re.compile(rf"<({_DROPPED})\b[^<>]*?/>|<({_DROPPED})\b[^<>]*>", re.IGNORECASE)
_BRACES = re.compile(r"\{\{|\}\}|\{\||\|\}")
_BRACKETS = re.compile(r"\[\[|\]\]")
_EXTERNAL = re.compile(r"\[(?:https?:|ftp:|mailto:)?//[^\s\[\]]*+(?:\s+([^\[\]\n]*+))?\]")
_BARE_ADDRESS = re.compile(r"\bhttps?://\S+")
_QUOTES = re.compile(r"'{2,5}")
_HEADING = re.compile(r"^=[^\n]*=[ \t]*$", re.MULTILINE)
_BULLET = re.compile(r"^[*#:;]+[ \t]*", re.MULTILINE)
_MAGIC = re.compile(r"__[A-Z]+__")
_EMPTY_BRACKETS = re.compile(r"\([,;:\s]*\)|（[，、；;,\s]*）")
_SPACE_BEFORE_MARK = re.compile(r"(?<![ \t])[ \t]+([,.;:])(?=\s|$)")  # a run of spaces is tried once


def plain_text(wikitext: str) -> str:
    """Return the text of an article without markup, a paragraph per line.

    >>> plain_text("{{Infobox|x={{y}}}}'''Paka''' ni [[mnyama|mnyama wa nyumbani]].<ref>A</ref>[[File:A.jpg|thumb|B]]")
    'Paka ni mnyama wa nyumbani.'
    """
    text = _without_elements(_COMMENT.sub("", wikitext))
    text = _links(_one_variant(_without_braces(text)))
    text = _EXTERNAL.sub(lambda link: link[1] or "", text)
    text = _BARE_ADDRESS.sub("", text)
    text = _QUOTES.sub("", _MAGIC.sub("", _HEADING.sub("", text)))
    text = html.unescape(without_tags(_BULLET.sub("", text)))
    text = _SPACE_BEFORE_MARK.sub(r"\1", _EMPTY_BRACKETS.sub("", text))
    return "\n".join(cleaned for line in text.split("\n") if (cleaned := " ".join(line.split())))


def _without_elements(text: str) -> str:
    """Drop ``<ref>…</ref>`` and the like with their content; of one that is never closed, the tag alone."""
    kept, position = [], 0
    lowered: str | None = None
    closed_from: dict[str, bool] = {}
    while element := _ELEMENT.search(text, position):
        kept.append(text[position : element.start()])
        position = element.end()
        if (name := element[2]) is None:
            continue
        name = name.lower()
        if name not in _UNSEEN:
            kept.append(" ")
        if not closed_from.get(name, True):
            continue
        lowered = text.lower() if lowered is None or len(lowered) != len(text) else lowered
        end = lowered.find(f"</{name}", position)
        closed_from[name] = end >= 0
        if end >= 0:
            after = text.find(">", end)
            position = len(text) if after < 0 else after + 1
    kept.append(text[position:])
    return "".join(kept)


def _without_braces(text: str) -> str:
    """Drop templates and tables, nested ones too; braces that are never closed are kept, as MediaWiki shows them."""
    spans, opened = [], []
    for brace in _BRACES.finditer(text):
        mark = brace.group()
        if mark in ("{{", "{|"):
            opened.append((mark, brace.start()))
        elif opened and opened[-1][0] == ("{{" if mark == "}}" else "{|"):
            _, start = opened.pop()
            spans.append((start, brace.end()))
    return _without(text, spans)


# -{zh-hans:打印机;zh-hant:印表機}- of wikis in two scripts: words for each, maybe after flags ("H": hidden) and a bar.
_CONVERSION = re.compile(r"-\{([^{}]*)\}-")
_FLAGS = re.compile(r"([\sA-Za-z;-]*)\|")
_CODE = r"(?:zh|[a-z]{2,3}-[a-z]{2,8}(?:-[a-z]{2,8})*)\s*:"
_RULE = re.compile(rf"(?:^|;)\s*(?:[^;:]*=>\s*)?{_CODE}\s*([^;]*(?:;(?!\s*(?:[^;:]*=>\s*)?(?:{_CODE}|$))[^;]*)*)")
_NESTED = 3  # conversions within conversions


def _one_variant(text: str) -> str:
    """Replace conversion marks by the first words that they give for a script."""
    for _ in range(_NESTED if "-{" in text else 0):
        text = _CONVERSION.sub(_variant, text)
    return text


def _variant(mark: re.Match[str]) -> str:
    content = mark[1]
    if flags := _FLAGS.match(content):
        if {"H", "T", "-"} & set(flags[1].upper().replace(" ", "").split(";")):
            return ""
        content = content[flags.end() :]
    rules = [rule.strip() for rule in _RULE.findall(content)]
    return next(filter(None, rules), "") if rules else content


def _links(text: str) -> str:
    """Replace links by their words; files, categories and links to other wikis are dropped."""
    kept: list[list[str]] = [[]]
    position = 0
    for bracket in _BRACKETS.finditer(text):
        kept[-1].append(text[position : bracket.start()])
        position = bracket.end()
        if bracket.group() == "[[":
            kept.append([])
        elif len(kept) > 1:
            inner = "".join(kept.pop())
            kept[-1].append(_shown(inner))
    kept[-1].append(text[position:])
    return "".join("".join(level) for level in kept)


def _shown(link: str) -> str:
    """Return the visible words of ``target|words``: none of a file, a category, or another wiki's article."""
    target, bar, words = link.partition("|")
    prefix, colon, _ = target.partition(":")
    if colon and not target.startswith(":") and prefix.strip() and " " not in prefix.strip() and not bar:
        # "Category:Cats" in any language; a title with a colon is written with a space behind it.
        return target if target[len(prefix) + 1 : len(prefix) + 2] == " " else ""
    if colon and bar and ("|" in words or words.strip() in ("thumb", "frame", "right", "left", "center")):
        return " "  # [[File:A.jpg|thumb|caption]], whatever "File" is called in this language
    if colon and bar and re.search(r"\.(?:jpe?g|png|svg|gif|tiff?|webp|og[gv]|webm|pdf)\s*$", target, re.IGNORECASE):
        return " "
    return words.rpartition("|")[2] if bar else target.removeprefix(":")


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    kept, position = [], 0
    for start, end in sorted(spans):
        if start >= position:
            kept.append(text[position:start])
        position = max(position, end)
    kept.append(text[position:])
    return "".join(kept)


_PIECE = 1 << 16
_ID = re.compile(r"[0-9]{1,18}")
_MOST_TEXT = 8 << 20  # characters of one article: MediaWiki stops at 2 MiB


@dataclass(frozen=True)
class Article:
    """A page of the main namespace."""

    id: int
    title: str
    text: str  # empty for a redirect
    redirect: str | None = None  # title of the target, if it is a redirect
    aliases: tuple[str, ...] = ()  # titles of redirects to it, if the source lists them
    wikitext: bool = False  # ``text`` has markup, which ``plain`` removes at a cost

    @property
    def plain(self) -> str:
        """Return the text without markup, a paragraph per line."""
        return plain_text(self.text) if self.wikitext else self.text


def read_articles(path: Path, progress: Callable[[int], None] | None = None) -> Iterator[Article]:
    """Yield the pages of the main namespace, redirects too; at most one is held in memory.

    A folder is read file by file, in the order of their names (WikiExtractor writes ``AA/wiki_00`` and so on).
    """
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: no file in this folder; put the articles there")
    before = 0
    for file in files:
        yield from _of_file(file, progress and partial(_shifted, progress, before))
        before += file.stat().st_size


def _shifted(progress: Callable[[int], None], before: int, read: int) -> None:
    progress(before + read)


def _of_file(path: Path, progress: Callable[[int], None] | None) -> Iterator[Article]:
    source = ByteInput(path, progress)
    start = source.start().removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise DataError(f"{path}: is empty; give articles as MediaWiki's XML or as JSON lines")
    if start.startswith(b"<doc "):
        raise DataError(f"{path}: WikiExtractor's own format; run it again with --json")
    if start.startswith(b"<"):
        with source.opened() as stream:
            yield from _xml_articles(stream, path)
    elif start.startswith(b"{"):
        yield from _json_articles(source, path)
    else:
        raise DataError(f"{path}: neither MediaWiki's XML nor JSON lines; give the dump or WikiExtractor's output")


class _PageHandler:
    """A handler of expat's events; ``ready`` holds the parts of whole pages by their tags."""

    def __init__(self) -> None:
        self.ready: list[dict[str, str]] = []
        self._path: list[str] = []
        self._page: dict[str, str] = {}
        self._words: list[str] | None = None
        self._size = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        depth = len(self._path)
        if depth == 2:
            self._page = {}
        elif name == "redirect" and depth == 3:
            self._page[name] = attributes.get("title", "")
        # A revision and its contributor have ids of their own, one level down.
        self._words = [] if (name in ("title", "ns", "id") and depth == 3) or (name == "text" and depth == 4) else None
        self._size = 0

    def data(self, words: str) -> None:
        if self._words is not None and self._size <= _MOST_TEXT:
            self._size += len(words)
            self._words.append(words)

    def end(self, name: str) -> None:
        if self._words is not None:
            self._page[name], self._words = "".join(self._words), None
        elif name == "page" and len(self._path) == 2:
            self.ready.append(self._page)
        self._path.pop()


def _xml_articles(stream: BinaryIO, path: Path) -> Iterator[Article]:
    handler = _PageHandler()
    parser = xml.parsers.expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = handler.start, handler.end
    parser.CharacterDataHandler = handler.data

    def refuse(*_: Any) -> None:
        raise DataError(f"{at(path, parser.CurrentLineNumber)}: declares entities, which no dump does; not read")

    parser.EntityDeclHandler = refuse
    piece = b"<"
    while piece:
        piece = stream.read(_PIECE)
        try:
            parser.Parse(piece, not piece)
        except xml.parsers.expat.ExpatError as problem:
            raise DataError(
                f"{at(path, problem.lineno)}: not XML as MediaWiki dumps it ("
                f"{xml.parsers.expat.ErrorString(problem.code)}); the file is damaged or cut short: fetch it again"
            ) from None
        pages, handler.ready = handler.ready, []
        for page in pages:
            if page.get("ns", "").strip() not in ("0", ""):  # dumps before 2012 had no <ns>
                continue
            number, title, text = page.get("id", "").strip(), page.get("title", "").strip(), page.get("text", "")
            if not _ID.fullmatch(number) or not title:
                raise DataError(
                    f"{at(path, parser.CurrentLineNumber)}: a <page> without <id> or <title>; not a Wikipedia dump"
                )
            redirect = page.get("redirect")
            kept = "" if redirect is not None or len(text) > _MOST_TEXT else text
            yield Article(int(number), title, kept, redirect, wikitext=True)


def _json_articles(source: ByteInput, path: Path) -> Iterator[Article]:
    cirrus_id: int | None = None
    for number, row in json_lines(source):
        place = at(path, number)
        if isinstance(index := row.get("index"), dict) and "title" not in row:
            cirrus_id = _whole(index.get("_id"), place)  # a CirrusSearch dump has the id on a line before the article
            continue
        if str(row.get("namespace", 0)) == "0":
            own = row.get("page_id", row.get("id", row.get("pageid")))
            yield _article(row, cirrus_id if own is None else _whole(own, place), place)
        cirrus_id = None


def _article(row: dict[str, Any], number: int | None, place: str) -> Article:
    title, text = row.get("title"), row.get("text")
    if number is None or not isinstance(title, str) or not title.strip():
        raise DataError(f"{place}: no id or no title; give WikiExtractor's JSON or a CirrusSearch dump")
    title, aliases = encodable(title).strip(), _aliases(row.get("redirect"))
    if not isinstance(text, str):
        source = row.get("source_text")
        return Article(number, title, encodable(str(source or "")), None, aliases, wikitext=True)
    if isinstance(opening := row.get("opening_text"), str) and opening.strip():
        # Cirrus flattens the whole article into one line; its first paragraph comes apart.
        text = f"{opening.strip()}\n{text.strip().removeprefix(opening.strip()).strip()}"
    return Article(number, title, encodable(text), None, aliases)


def _aliases(redirects: Any) -> tuple[str, ...]:
    """Return the titles in the main namespace that lead to an article, as CirrusSearch lists them with it."""
    listed = [one for one in redirects if isinstance(one, dict)] if isinstance(redirects, list) else []
    titles = (one.get("title") for one in listed if str(one.get("namespace", 0)) == "0")
    return tuple(encodable(title) for title in titles if isinstance(title, str))


def _whole(value: Any, place: str) -> int:
    if isinstance(value, bool) or not _ID.fullmatch(str(value)):
        raise DataError(f"{place}: id {str(value)[:40]!r} is no whole number")
    return int(value)
