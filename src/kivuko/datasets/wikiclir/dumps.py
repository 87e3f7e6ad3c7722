"""The files that a collection is built from, found by the names that Wikimedia gives them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from kivuko.errors import DataError

# BCP 47 codes whose Wikipedia has another one: its database's name and the code in language links.
_WIKI = {"fil": "tl", "yue": "zh-yue", "nan": "zh-min-nan", "lzh": "zh-classical", "be-tarask": "be-x-old", "nb": "no",
         "rup": "roa-rup", "sgs": "bat-smg", "vro": "fiu-vro", "gsw": "als", "sr-Latn": "sr", "zh-Hant": "zh",
         "zh-Hans": "zh"}  # fmt: skip
_ARTICLES = (
    r"-pages-articles\.xml", r"-pages-articles-multistream\.xml", r"-cirrussearch-content\.json", r"-articles\.jsonl?",
    r"-extracted",
)  # fmt: skip
_PACKED = r"(?:\.gz|\.bz2|\.xz|\.zst)?"


@dataclass(frozen=True)
class WikiDumps:
    """The dumps of two Wikipedias: that of the queries and that of the documents.

    ``langlinks`` may be of either: ``query_langlinks`` goes from the queries' articles, ``document_langlinks`` from the
    documents'. The other tables are the documents' wiki's. ``page`` and ``redirect`` are needed only where the articles
    do not hold redirects (WikiExtractor's JSON); ``linktarget`` only beside a ``pagelinks`` made since 2024.
    """

    query_articles: Path
    document_articles: Path
    pagelinks: Path
    query_langlinks: Path | None = None
    document_langlinks: Path | None = None
    linktarget: Path | None = None
    page: Path | None = None
    redirect: Path | None = None

    def __post_init__(self) -> None:
        if self.query_langlinks is None and self.document_langlinks is None:
            raise DataError("no langlinks dump: it says which article is which in the other language; give one")
        for path in self.files().values():
            if not path.exists():
                raise DataError(f"{path}: no such file; check the path")

    def files(self) -> dict[str, Path]:
        """Return the files that are there, by what they are."""
        found = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: path for name, path in found if path is not None}


def wiki_code(language: str) -> str:
    """Return the code by which a language's Wikipedia goes, as language links write it: ``tl`` for ``fil``."""
    return _WIKI.get(language, language.lower())


def find_dumps(folder: Path, query_language: str, document_language: str, **named: Path | None) -> WikiDumps:
    """Find the dumps of two Wikipedias in one folder: ``swwiki-20240101-langlinks.sql.gz`` and so on.

    Of the articles, XML dumps (``…-pages-articles.xml.bz2``, ``…-pages-articles-multistream.xml.bz2``), CirrusSearch
    dumps (``…-cirrussearch-content.json.gz``) and WikiExtractor's JSON (``swwiki-articles.jsonl``, or a folder
    ``swwiki-extracted``) are known. A dump in several parts goes into a folder of its own, which is then named.

    Args:
        named: files that are not to be looked for, by their names in ``WikiDumps``.

    Raises:
        DataError: a file is missing, or several fit; the message says which.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Put the dumps of both Wikipedias into one and name it.")
    names = sorted(folder.iterdir())
    own, other = _database(query_language), _database(document_language)
    looked_for = {
        "query_articles": (own, _ARTICLES), "document_articles": (other, _ARTICLES),
        "query_langlinks": (own, [r"-langlinks\.sql"]), "document_langlinks": (other, [r"-langlinks\.sql"]),
        "pagelinks": (other, [r"-pagelinks\.sql"]), "linktarget": (other, [r"-linktarget\.sql"]),
        "page": (other, [r"-page\.sql"]), "redirect": (other, [r"-redirect\.sql"]),
    }  # fmt: skip
    found: dict[str, Path | None] = {}
    for part, (wiki, endings) in looked_for.items():
        found[part] = named.get(part) or _only(names, wiki, endings)
    for part, example in (
        ("query_articles", f"{own}-…-pages-articles.xml.bz2"),
        ("document_articles", f"{other}-…-pages-articles.xml.bz2"),
        ("pagelinks", f"{other}-…-pagelinks.sql.gz"),
    ):  # fmt: skip
        if found[part] is None:
            raise DataError(
                f"{folder}: no {example} in it. Fetch it from https://dumps.wikimedia.org or name the file."
            )
    if found["query_langlinks"] is not None:
        found["document_langlinks"] = None  # one is enough, and the queries' wiki has usually the smaller one
    elif found["document_langlinks"] is None:
        raise DataError(
            f"{folder}: no {own}-…-langlinks.sql.gz (or {other}-…-langlinks.sql.gz) in it. Fetch one of them."
        )
    return WikiDumps(**found)  # type: ignore[arg-type]


def _database(language: str) -> str:
    return wiki_code(language).replace("-", "_") + "wiki"


def _only(names: Sequence[Path], wiki: str, endings: Sequence[str]) -> Path | None:
    """Return the one file with such a name; of several kinds of articles, the first kind that is there."""
    for ending in endings:
        pattern = re.compile(rf"{re.escape(wiki)}(?:-(?:\d{{8}}|latest))?{ending}{_PACKED}")
        fitting = [path for path in names if pattern.fullmatch(path.name)]
        if len(fitting) > 1:
            listed = ", ".join(path.name for path in fitting[:3])
            raise DataError(f"{fitting[0].parent}: several fit: {listed}; keep one, or name the one that is meant.")
        if fitting:
            return fitting[0]
    return None
