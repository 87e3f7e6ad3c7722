"""Plain text from wikitext: enough of MediaWiki's markup to leave the sentences of an article, in linear time.

What is dropped: templates, tables, references, files, categories, comments, headings, lists' bullets, tags. What
stays: the text of links, bold and italic words. A real parser would expand templates too; here their text is lost.
"""

from __future__ import annotations

import html
import re

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
# What these hold is no prose; a tag that closes itself holds nothing.
_DROPPED = (
    "ref|gallery|math|chem|timeline|score|syntaxhighlight|source|pre|code|imagemap|style|templatestyles|hiero|graph"
)
_ELEMENT = re.compile(rf"<({_DROPPED})\b[^<>]*?/>|<({_DROPPED})\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
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
    """Return the sentences of an article, a paragraph per line.

    >>> plain_text("{{Infobox|x={{y}}}}'''Paka''' ni [[mnyama|mnyama wa nyumbani]].<ref>A</ref>[[File:A.jpg|thumb|B]]")
    'Paka ni mnyama wa nyumbani.'
    """
    text = _without_elements(_COMMENT.sub("", wikitext))
    text = _links(_without_braces(text))
    text = _EXTERNAL.sub(lambda link: link[1] or "", text)
    text = _BARE_ADDRESS.sub("", text)
    text = _QUOTES.sub("", _MAGIC.sub("", _HEADING.sub("", text)))
    text = html.unescape(_TAG.sub("", _BULLET.sub("", text)))
    text = _SPACE_BEFORE_MARK.sub(r"\1", _EMPTY_BRACKETS.sub("", text))
    return "\n".join(cleaned for line in text.split("\n") if (cleaned := " ".join(line.split())))


def _without_elements(text: str) -> str:
    """Drop ``<ref>…</ref>`` and its kin with what they hold; one that is never closed drops its tag alone."""
    kept, position = [], 0
    lowered: str | None = None
    closed_from: dict[str, bool] = {}
    while found := _ELEMENT.search(text, position):
        kept.append(text[position : found.start()])
        position = found.end()
        if (name := found[2]) is None:
            continue
        name = name.lower()
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
    """Drop templates and tables, nested ones too; braces that are never closed stay, as MediaWiki shows them."""
    spans, opened = [], []
    for found in _BRACES.finditer(text):
        mark = found.group()
        if mark in ("{{", "{|"):
            opened.append((mark, found.start()))
        elif opened and opened[-1][0] == ("{{" if mark == "}}" else "{|"):
            _, start = opened.pop()
            spans.append((start, found.end()))
    return _without(text, spans)


def _links(text: str) -> str:
    """Put a link's words in its place; files, categories and links to other wikis are dropped."""
    kept: list[list[str]] = [[]]
    position = 0
    for found in _BRACKETS.finditer(text):
        kept[-1].append(text[position : found.start()])
        position = found.end()
        if found.group() == "[[":
            kept.append([])
        elif len(kept) > 1:
            inner = "".join(kept.pop())
            kept[-1].append(_shown(inner))
    kept[-1].append(text[position:])
    return "".join("".join(level) for level in kept)


def _shown(link: str) -> str:
    """Return what a reader sees of ``target|words``: nothing of a file, a category, or another wiki's article."""
    target, bar, words = link.partition("|")
    prefix, colon, _ = target.partition(":")
    if colon and not target.startswith(":") and prefix.strip() and " " not in prefix.strip() and not bar:
        # "Category:Cats" in any language; a title with a colon is written with a space behind it.
        return target if target[len(prefix) + 1 : len(prefix) + 2] == " " else ""
    if colon and bar and ("|" in words or words.strip() in ("thumb", "frame", "right", "left", "center")):
        return ""  # [[File:A.jpg|thumb|caption]], whatever "File" is called in this language
    if colon and bar and re.search(r"\.(?:jpe?g|png|svg|gif|tiff?|webp|og[gv]|webm|pdf)\s*$", target, re.IGNORECASE):
        return ""
    return words.rpartition("|")[2] if bar else target.removeprefix(":")


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    kept, position = [], 0
    for start, end in sorted(spans):
        if start >= position:
            kept.append(text[position:start])
        position = max(position, end)
    kept.append(text[position:])
    return "".join(kept)
