"""``kivuko collection``: text collections: look at one, build one from Wikipedia, translate one, measure a run."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kivuko.cli.options import SEED
from kivuko.errors import DataError
from kivuko.text import pluralize

if TYPE_CHECKING:
    from array import array

    from kivuko.datasets.collections import Collection

_HELP = {"help_option_names": ["-h", "--help"]}
_SPEC = "ir:ID or trec:FOLDER"


@click.group("collection", context_settings=_HELP)
def command() -> None:
    """Text collections: look at one, build one from Wikipedia, translate one, measure a run."""


@command.command("show", context_settings=_HELP)
@click.argument("spec", metavar="SPEC")
@click.option("--documents", "read_documents", is_flag=True, help="Read all documents and check them, too.")
def show(spec: str, read_documents: bool) -> None:
    """Show what is in a collection: ir:ID (of ir_datasets) or trec:FOLDER.

    \b
    A folder holds, each perhaps compressed:
      queries.sw.tsv         id<TAB>text; or .jsonl; or TREC topics (.xml, .trec, .txt); one file per language
      documents.en.jsonl.gz  id, text, perhaps title; or .tsv; or TREC's SGML; or a folder of such files
      qrels.txt              query iteration document grade; or qrels.test.tsv as BEIR has it: trec:FOLDER#test
      collection.json        if the names do not say it: {"query_language": "sw", "document_language": "en"}

    \b
    Examples:
      kivuko collection show trec:wikiclir-sw-en
      kivuko collection show ir:clirmatrix/sw/bi139-base/en/test1
    """
    from kivuko.cli.progress import out as screen
    from kivuko.datasets.collections import open_collection
    from kivuko.evaluation.run import answerable
    from kivuko.evaluation.tables import compact_table

    collection = open_collection(spec)
    judgments = collection.judgments()
    can_answer = set(answerable(judgments))
    table = compact_table(collection.name)
    for heading in ("queries in", "n", "with relevant documents", "not judged", "an example"):
        table.add_column(heading, justify="left" if heading in ("queries in", "an example") else "right")
    for code in collection.query_languages:
        queries = collection.queries(code)
        told = (len(queries), len(can_answer & set(queries)), len(set(queries) - set(judgments)))
        table.add_row(code, *(f"{count:,}" for count in told), next(iter(queries.values()))[:60])
    screen.print(table)
    grades = Counter(grade for own in judgments.values() for grade in own.values())
    graded = ", ".join(f"grade {grade}: {count:,}" for grade, count in sorted(grades.items(), reverse=True))
    screen.print(f"Judgments of {_queries(len(judgments))}: {graded}.")
    count = collection.document_count()
    known = pluralize(count, "document") if count else "Documents"
    screen.print(f"{known} in {collection.document_language}{'' if count else ' (not counted; see --documents)'}.")
    if read_documents:
        screen.print(_documents_line(collection, judgments), soft_wrap=True)


def _queries(count: int) -> str:
    return pluralize(count, "query", "queries")


def _documents_line(collection: Collection, judgments: Any) -> str:
    from array import array

    from kivuko.cli.progress import bars, late_task

    hashes = array("q")  # 8 bytes of each id: there may be millions
    relevant = {name for grades in judgments.values() for name, grade in grades.items() if grade > 0}
    wanted, count, empty, characters = len(relevant), 0, 0, 0
    total = collection.document_count() or 0
    with bars() as progress:
        tell = late_task(progress, "reading documents")
        for document in collection.documents():
            count += 1
            hashes.append(hash(document.id))
            characters += len(document.text)
            empty += not document.whole
            relevant.discard(document.id)
            if count % 10_000 == 0:
                tell(count, max(total, count))
    if not count:
        raise DataError(f"{collection.spec} has no document; give at least one.")
    _refuse_twice(collection, hashes)
    mean = characters // count
    return (
        f"Read {pluralize(count, 'document')}: {mean:,} characters on average, {empty:,} empty; "
        f"{wanted - len(relevant):,} of {pluralize(wanted, 'relevant document')} found."
    )


def _refuse_twice(collection: Collection, hashes: array[int]) -> None:
    """Raise DataError if two documents have one id, told by hashes; which one it is takes a second reading."""
    import numpy as np

    values, times = np.unique(np.frombuffer(hashes, dtype=np.int64), return_counts=True)
    doubtful = set(values[times > 1].tolist())
    if not doubtful:
        return
    seen: set[str] = set()
    for document in collection.documents():
        if hash(document.id) in doubtful:
            if document.id in seen:
                told = f"two documents have the id {document.id}; ids must be unique in a collection"
                raise DataError(f"{collection.spec}: {told}.")
            seen.add(document.id)


@command.command("measure", context_settings=_HELP)
@click.argument("spec", metavar="SPEC")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--measure", "measures", multiple=True, metavar="NAME", help="Such as nDCG@10 or P@5; may be said again.")
def measure(spec: str, run: Path, measures: tuple[str, ...]) -> None:
    """Measure a TREC run file (query Q0 document rank score tag) on a collection's judgments.

    Figures stand in two rows: with equal scores ordered as trec_eval orders them (by document id, falling), and
    pessimistically (relevant documents last among equals). Where they differ, ties decide.

    \b
    Example:
      kivuko collection measure trec:wikiclir-sw-en my.run --measure nDCG@10 --measure R@100
    """
    from kivuko.cli.progress import console
    from kivuko.cli.progress import out as screen
    from kivuko.datasets.collections import open_collection
    from kivuko.evaluation.collection import COLLECTION_MEASURES
    from kivuko.evaluation.run import TIES, answerable, measure_run, read_run
    from kivuko.evaluation.tables import compact_table

    chosen = measures or COLLECTION_MEASURES
    judgments = open_collection(spec).judgments()
    found = read_run(run)
    queries = answerable(judgments)
    if not queries:
        raise DataError(f"{spec}: no query has a relevant document in the qrels, a grade above 0; nothing to measure.")
    table = compact_table(f"{run.name} on {spec}: {_queries(len(queries))}")
    table.add_column("equal scores", no_wrap=True)
    for name in chosen:
        table.add_column(name, justify="right", no_wrap=True)
    for ties in TIES:
        values = measure_run(found, judgments, queries, chosen, ties)
        table.add_row(ties, *(f"{values[name].mean():.4f}" for name in chosen))
    screen.print(table)
    if missing := len([query for query in queries if query not in found]):
        console.print(f"note: not in the run, so that the score is zero: {_queries(missing)}.")
    if unknown := len(set(found) - set(judgments)):
        console.print(f"note: left out, in the run but not judged: {_queries(unknown)}.")
    if unanswerable := len(judgments) - len(queries):
        console.print(f"note: left out, judged but without a relevant document: {_queries(unanswerable)}.")


@command.command("wikiclir", context_settings=_HELP)
@click.argument("dumps", type=click.Path(path_type=Path))
@click.option("--queries", "query_language", required=True, metavar="CODE", help="Language of the queries.")
@click.option("--documents", "document_language", default="en", show_default=True, metavar="CODE")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the collection.")
@click.option(
    "--words", type=click.IntRange(0), default=200, show_default=True, help="Words of a document; 0: whole articles."
)
@click.option("--least-words", type=click.IntRange(1), default=3, show_default=True, help="Words of a query at least.")
@click.option("--most-queries", type=click.IntRange(1), help="A random choice of so many queries.  [default: all]")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of that choice.")
@click.option("--query-articles", type=click.Path(path_type=Path), help="File or folder, if its name is another.")
@click.option("--document-articles", type=click.Path(path_type=Path), help="File or folder, if its name is another.")
def wikiclir(
    dumps: Path,
    query_language: str,
    document_language: str,
    out: Path,
    words: int,
    least_words: int,
    most_queries: int | None,
    seed: int,
    query_articles: Path | None,
    document_articles: Path | None,
) -> None:
    """Build a WikiCLIR collection from DUMPS, a folder with the dumps of two Wikipedias.

    A query is the first sentence of an article without its title's words; the article behind its language link is
    relevant (2), and so are articles in mutual link with that one (1).

    \b
    DUMPS holds, from https://dumps.wikimedia.org, of one day:
      swwiki-…-pages-articles.xml.bz2   or WikiExtractor's JSON, or a CirrusSearch dump; likewise enwiki
      swwiki-…-langlinks.sql.gz         or enwiki's
      enwiki-…-pagelinks.sql.gz         and enwiki-…-linktarget.sql.gz, since 2024
      enwiki-…-page.sql.gz and enwiki-…-redirect.sql.gz, if the articles are JSON (XML holds redirects itself)

    \b
    Example:
      kivuko collection wikiclir dumps/ --queries sw --documents en --out wikiclir-sw-en
    """
    from kivuko.cli.progress import console
    from kivuko.cli.progress import out as screen
    from kivuko.datasets.wikiclir import Options, build_wikiclir, find_dumps
    from kivuko.languages import language

    own, other = language(query_language).code, language(document_language).code
    found = find_dumps(dumps, own, other, query_articles=query_articles, document_articles=document_articles)
    options = Options(own, other, words or None, least_words, most_queries, seed)
    with _file_bars() as watch:
        built = build_wikiclir(found, options, out, watch)
    for reason, count in built.left_out.most_common():
        console.print(f"left out, {reason}: {count:,}", soft_wrap=True)
    screen.print(
        f"{_queries(built.queries)} in {own}, {pluralize(built.documents, 'document')} in {other}, "
        f"{pluralize(built.mates, 'judgment')} of grade 2 and {built.mutual:,} of grade 1: {out}",
        soft_wrap=True,
    )
    screen.print(f"Next: kivuko evaluate MODEL --dataset trec:{out}", soft_wrap=True)


@command.command("translate", context_settings=_HELP)
@click.argument("spec", metavar="SPEC")
@click.option("--translator", required=True, metavar="MODEL", help="NLLB, M2M100, OPUS-MT …: a folder or hub name.")
@click.option("--to", "target", required=True, metavar="CODE", help="Language to write.")
@click.option("--from", "source", default="en", show_default=True, metavar="CODE", help="Language of the texts.")
@click.option("--only", type=click.Choice(["queries", "documents"]), help="Translate this side alone; copy the other.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the new collection.")
@click.option("--sample", type=click.IntRange(0), default=50, show_default=True, help="Of either side, to be checked.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the sample.")
def translate(
    spec: str, translator: str, target: str, source: str, only: str | None, out: Path, sample: int, seed: int
) -> None:
    """Translate a collection's queries and documents by machine, as mMARCO was made; judgments stay.

    What is finished is kept in OUT.parts; the same command goes on from there. OUT/sample.tsv lays translations beside
    their originals for a person to judge.

    \b
    Example:
      kivuko collection translate ir:msmarco-passage/dev/small --translator facebook/nllb-200-distilled-600M \\
        --to sw --out marco-sw
    """
    from kivuko.cli.progress import bars, console, late_task
    from kivuko.cli.progress import out as screen
    from kivuko.datasets.collections import open_collection
    from kivuko.translation.collection import Plan, translate_collection
    from kivuko.translation.pretrained import load_translator_into

    collection = open_collection(spec)
    plan = Plan(source, target, only != "documents", only != "queries", sample=sample, seed=seed)
    model = load_translator_into(translator, target)
    with bars() as progress:
        done = translate_collection(collection, model, plan, out, late_task(progress, "translating documents"))
    for reason, count in done.suspicious.most_common():
        console.print(f"looks wrong, {reason}: {count:,}", soft_wrap=True)
    screen.print(f"{_queries(done.queries)} and {pluralize(done.documents, 'document')}: {out}", soft_wrap=True)
    screen.print(f"Next: let a person fill in {out / 'sample.tsv'}", soft_wrap=True)


@contextlib.contextmanager
def _file_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Yield what shows a bar for each file that is read; a file that is read again begins anew."""
    from kivuko.cli.progress import bars

    with bars() as progress:
        tasks: dict[str, Any] = {}

        def tell(name: str, done: int, total: int) -> None:
            megabytes = -(-total // 1_000_000)
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=megabytes, figures="MB")
            progress.update(tasks[name], completed=-(-done // 1_000_000))

        yield tell
