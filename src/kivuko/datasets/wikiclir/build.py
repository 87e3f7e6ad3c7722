"""Building a WikiCLIR collection: queries from one Wikipedia, documents from another, relevance from their links.

Schamoni, Hieber, Sokolov and Riezler 2014, "Learning Translational and Knowledge-based Similarities from Relevance
Rankings for Cross-Language Retrieval" (ACL): a query is the first sentence of an article without its title; most
relevant is the article that a language link leads to (its mate), less so every article in mutual link with the mate.
Their grades 3 and 2 are 2 and 1 here. Everything is streamed: lookups in SQLite, links in buckets on disk.
"""

import hashlib
import json
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from kivuko.datasets.collections.collection import Document
from kivuko.datasets.collections.trec_folder import ABOUT, write_document
from kivuko.datasets.wikiclir.articles import document_text, query_length, query_text, read_articles
from kivuko.datasets.wikiclir.dumps import SqlDump, WikiDumps, wiki_code
from kivuko.datasets.wikiclir.links import LinkTargets, MutualLinks, PageTable, open_database, read_links, title_key
from kivuko.errors import DataError, KivukoError, UsageError
from kivuko.files import atomic_path, refuse_foreign
from kivuko.languages import language as describe
from kivuko.progress import Report, bars, late_task
from kivuko.streams import open_compressed

MATE, MUTUAL = 2, 1  # grades of the article behind the language link, and of those in mutual link with it


@dataclass(frozen=True)
class Options:
    """Settings of a collection."""

    query_language: str
    document_language: str
    words: int | None = 200  # of a document; None or 0 for whole articles
    least_words: int = 3  # of a query
    most_queries: int | None = None  # a random choice of so many; None for all
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("words", 0), ("least_words", 1), ("most_queries", 1), ("seed", 0)):
            if (value := getattr(self, name)) is not None and value < least:
                raise UsageError(f"{name} = {value}: give at least {least}")


@dataclass
class Built:
    """Counts of a collection that was built."""

    query_language: str
    document_language: str
    queries: int = 0
    documents: int = 0
    mates: int = 0
    mutual: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # articles without query or document, by reason


def build_wikiclir(dumps: WikiDumps, options: Options, out: Path, progress: bool | None = None) -> Built:
    """Write a collection as a folder that ``open_folder`` reads, whole or not at all."""
    options = _checked(options)
    refuse_foreign(out, ABOUT, "a collection", error=UsageError)
    with atomic_path(out) as temporary, bars(progress) as display:
        temporary.mkdir()
        with tempfile.TemporaryDirectory(dir=temporary) as scratch:
            build = _Build(dumps, options, temporary, Path(scratch), display)
            try:
                built = build.run()
            except sqlite3.Error as problem:
                raise KivukoError(f"{out}: the disk is full or cannot be written ({problem}). Make room.") from problem
            finally:
                build.database.close()
    return built


def _checked(options: Options) -> Options:
    own, other = describe(options.query_language).code, describe(options.document_language).code
    if wiki_code(own) == wiki_code(other):
        raise UsageError(f"queries and documents are both in {own}: name two languages.")
    return replace(options, query_language=own, document_language=other, words=options.words or None)


class _Build:
    """One build: its database and its folders."""

    def __init__(self, dumps: WikiDumps, options: Options, out: Path, scratch: Path, display: Progress) -> None:
        self.dumps, self.options, self.out, self.scratch, self._display = dumps, options, out, scratch, display
        self._bars: dict[str, Report] = {}
        self.database: sqlite3.Connection = open_database(scratch / "build.sqlite")
        self.pages = PageTable(self.database)
        self.built = Built(options.query_language, options.document_language)

    def run(self) -> Built:
        self._read_pages()
        self._read_language_links()
        self._write_queries()
        mutual = self._mutual_links()
        documents = self._write_documents()
        self._write_qrels(mutual, documents)
        self._write_about()
        return self.built

    def _read_pages(self) -> None:
        """Read the titles of the documents' Wikipedia: from its page table, or else from the articles themselves."""
        if self.dumps.page is not None:
            page = SqlDump(self.dumps.page, "page", self._progress(self.dumps.page))
            rows = page.rows("page_id", "page_namespace", "page_title")
            own = ((number, title) for number, space, title in rows if space == b"0")
            self.pages.add_pages((_text(title), page.whole(number), None) for number, title in own)
        else:
            self.pages.add_pages(self._titles())
        if self.dumps.redirect is not None:
            redirect = SqlDump(self.dumps.redirect, "redirect", self._progress(self.dumps.redirect))
            targets = redirect.rows("rd_from", "rd_namespace", "rd_title")
            leading = ((number, title) for number, space, title in targets if space == b"0")
            self.pages.add_redirects((redirect.whole(number), _text(title)) for number, title in leading)
        self.pages.freeze()

    def _titles(self) -> Iterator[tuple[str, int, str | None]]:
        articles = self.dumps.document_articles
        for article in read_articles(articles, self._progress(articles)):
            yield article.title, article.id, article.redirect
            for alias in article.aliases:
                yield alias, article.id, None

    def _read_language_links(self) -> None:
        """Read which document is the mate of which article: by its id or, from the other side, by its title."""
        self.database.execute("CREATE TABLE mate (article, document INTEGER)")
        from_queries = self.dumps.query_langlinks is not None
        path = self.dumps.query_langlinks or self.dumps.document_langlinks
        assert path is not None  # WikiDumps has one of them
        wanted = wiki_code(self.options.document_language if from_queries else self.options.query_language).encode()
        dump = SqlDump(path, "langlinks", self._progress(path))
        rows = dump.rows("ll_from", "ll_lang", "ll_title")
        linked = ((dump.whole(number), _text(title)) for number, code, title in rows if code == wanted and title)
        self.database.executemany(
            "INSERT INTO mate VALUES (?, ?)",
            self._mates(linked) if from_queries else ((title_key(title), number) for number, title in linked),
        )
        self.database.execute("CREATE INDEX mate_of ON mate (article)")
        self.database.commit()

    def _mates(self, linked: Iterator[tuple[int, str]]) -> Iterator[tuple[int, int]]:
        for number, title in linked:
            mate = self.pages.resolve(title)
            if mate is None:
                self.built.left_out["queries: language link to no article"] += 1
            else:
                yield number, mate

    def _write_queries(self) -> None:
        self.database.execute("CREATE TABLE query (id INTEGER PRIMARY KEY, mate INTEGER, lot INTEGER, text TEXT)")
        self.database.executemany("INSERT OR IGNORE INTO query VALUES (?, ?, ?, ?)", self._query_rows())
        if self.options.most_queries is not None:
            self.database.execute(
                "DELETE FROM query WHERE id NOT IN (SELECT id FROM query ORDER BY lot, id LIMIT ?)",
                (self.options.most_queries,),
            )
        self.database.commit()

    def _query_rows(self) -> Iterator[tuple[int, int, int, str]]:
        by_id = self.dumps.query_langlinks is not None
        left_out, articles = self.built.left_out, self.dumps.query_articles
        for article in read_articles(articles, self._progress(articles)):
            if article.redirect is not None:
                continue
            key = article.id if by_id else title_key(article.title)
            row = self.database.execute("SELECT document FROM mate WHERE article = ?", (key,)).fetchone()
            if row is None:
                left_out["queries: no language link"] += 1
                continue
            text = query_text(article.title, article.plain)
            if not text:
                left_out["queries: no first sentence"] += 1
            elif query_length(text) < self.options.least_words:
                left_out["queries: too short without the title"] += 1
            else:
                yield article.id, row[0], _lot(article.id, self.options.seed), text

    def _mutual_links(self) -> MutualLinks:
        mutual = MutualLinks(self._query_mates(), self.scratch)
        targets = None
        pagelinks = SqlDump(self.dumps.pagelinks, "pagelinks", self._progress(self.dumps.pagelinks))
        if self.dumps.linktarget is not None and not pagelinks.has("pl_title"):
            targets = LinkTargets(self.scratch)
            targets.read(
                SqlDump(self.dumps.linktarget, "linktarget", self._progress(self.dumps.linktarget)), self.pages
            )
        for block in read_links(pagelinks, self.pages, targets):
            mutual.add(block)
        return mutual

    def _write_documents(self) -> NDArray[np.int64]:
        written = np.empty(1 << 16, dtype=np.int64)
        path = self.out / f"documents.{self.options.document_language}.jsonl.gz"
        articles = self.dumps.document_articles
        with open_compressed(path, ".gz") as stream:
            for article in read_articles(articles, self._progress(articles)):
                if article.redirect is not None:
                    continue
                text = document_text(article.title, article.plain, self.options.words)
                if not text:
                    self.built.left_out["documents: no text"] += 1
                    continue
                if self.built.documents == len(written):
                    written = np.concatenate([written, np.empty_like(written)])
                written[self.built.documents] = article.id
                self.built.documents += 1
                write_document(stream, Document(str(article.id), text, article.title))
        ids = np.sort(written[: self.built.documents])
        if len(twice := ids[1:][ids[1:] == ids[:-1]]):
            raise DataError(f"{articles}: two articles have the id {twice[0]}; give the dump of one day only")
        return ids

    def _write_qrels(self, mutual: MutualLinks, documents: NDArray[np.int64]) -> None:
        self.database.execute("CREATE INDEX query_of_mate ON query (mate, id)")
        with (self.out / "qrels.txt").open("w", encoding="ascii", newline="\n") as stream:
            for mate in np.setdiff1d(self._query_mates(), documents, assume_unique=True).tolist():
                gone = self.database.execute("DELETE FROM query WHERE mate = ?", (mate,)).rowcount
                self.built.left_out["queries: mate is no document"] += gone
            for query, mate in self.database.execute("SELECT id, mate FROM query ORDER BY mate, id"):
                stream.write(f"{query} 0 {mate} {MATE}\n")
                self.built.mates += 1
            for block in mutual.pairs():
                for mate, other in block[np.isin(block[:, 1], documents)].tolist():
                    for (query,) in self.database.execute("SELECT id FROM query WHERE mate = ? ORDER BY id", (mate,)):
                        stream.write(f"{query} 0 {other} {MUTUAL}\n")
                        self.built.mutual += 1
        if not self.built.mates:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.built.left_out.most_common())
            raise DataError(
                f"{self.dumps.query_articles}: no article gives a query with a document to find "
                f"({reasons or 'none at all'}); are these the dumps of the two languages?"
            )
        path = self.out / f"queries.{self.options.query_language}.tsv"
        with path.open("w", encoding="utf-8", newline="\n") as stream:
            for query, text in self.database.execute("SELECT id, text FROM query ORDER BY id"):
                stream.write(f"{query}\t{text}\n")
                self.built.queries += 1

    def _query_mates(self) -> NDArray[np.int64]:
        rows = self.database.execute("SELECT DISTINCT mate FROM query ORDER BY mate")
        return np.fromiter((row[0] for row in rows), dtype=np.int64)

    def _write_about(self) -> None:
        options, built = self.options, self.built
        about: dict[str, Any] = {
            "name": f"wikiclir-{options.query_language}-{options.document_language}",
            "made_by": "kivuko collection wikiclir",
            "query_language": options.query_language, "document_language": options.document_language,
            "queries": built.queries, "documents": built.documents,
            "grades": {str(MATE): "the article behind the language link",
                       str(MUTUAL): "an article that links to it and is linked from it"},
            "judgments": {str(MATE): built.mates, str(MUTUAL): built.mutual},
            "options": {"words": options.words, "least_words": options.least_words,
                        "most_queries": options.most_queries, "seed": options.seed},
            "left_out": dict(built.left_out),
            "sources": {part: {"file": path.name, "bytes": _size(path)} for part, path in self.dumps.files().items()},
            "license": "text of Wikipedia, CC BY-SA 4.0",
        }  # fmt: skip
        text = json.dumps(about, indent=1, ensure_ascii=False)
        (self.out / ABOUT).write_text(text + "\n", encoding="utf-8")

    def _progress(self, path: Path) -> Callable[[int], None]:
        """Return a callable for the bytes read of a file; a file that is read twice keeps its bar."""
        total = -(-_size(path) // 1_000_000)
        report = self._bars.setdefault(path.name, late_task(self._display, f"{path.name} (MB)"))
        return lambda done: report(-(-done // 1_000_000), total)


def _size(path: Path) -> int:
    return (
        path.stat().st_size if path.is_file() else sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    )


def _text(title: bytes) -> str:
    return title.decode("utf-8", "replace")


def _lot(number: int, seed: int) -> int:
    """Return the random number of a query, a function of its article and the seed."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=7).digest(), "big")
