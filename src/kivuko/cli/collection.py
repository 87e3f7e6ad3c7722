"""``kivuko collection``: text collections: look at one, build one from Wikipedia, translate one, measure a run."""

from __future__ import annotations

from pathlib import Path

import click

from kivuko.cli.options import SEED, Command, Several
from kivuko.text import pluralize

_FILE = click.Path(path_type=Path)


@click.group("collection", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Text collections: look at one, build one from Wikipedia, translate one, measure a run."""


@command.command("show", cls=Command)
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
    from kivuko.datasets.collections import summarize_collection
    from kivuko.evaluation.tables import compact_table

    found = summarize_collection(spec, read_documents=read_documents)
    table = compact_table(found.name)
    for heading in ("queries in", "n", "with relevant documents", "not judged", "an example"):
        table.add_column(heading, justify="left" if heading in ("queries in", "an example") else "right")
    for code, *counts, example in found.queries:
        table.add_row(code, *(f"{count:,}" for count in counts), str(example)[:60])
    screen.print(table)
    graded = ", ".join(f"grade {grade}: {count:,}" for grade, count in found.grades.items())
    screen.print(f"Judgments of {_queries(found.judged_queries)}: {graded}.")
    count, language = found.document_count, found.document_language
    known = f"{pluralize(count, 'document')} in {language}" if count else f"Documents in {language}"
    screen.print(f"{known}." if count else f"{known} (not counted; see --documents).")
    if read := found.documents:
        screen.print(
            f"Read {pluralize(read.documents, 'document')}: {read.characters:,} characters on average, {read.empty:,} "
            f"empty; {read.relevant_present:,} of {pluralize(read.relevant, 'relevant document')} found.",
            soft_wrap=True,
        )


def _queries(count: int) -> str:
    return pluralize(count, "query", "queries")


@command.command("measure", cls=Command)
@click.argument("spec", metavar="SPEC")
@click.argument("run", type=_FILE)
@click.option("--measure", "measures", cls=Several, metavar="NAME", help="Such as nDCG@10 or P@5; repeatable.")
def measure(spec: str, run: Path, measures: tuple[str, ...]) -> None:
    """Measure a TREC run file (query Q0 document rank score tag) on a collection's judgments.

    There are two rows of figures: with equal scores ordered as trec_eval orders them (by document id, falling), and
    pessimistically (relevant documents last among equals). If they differ, ties decide.

    \b
    Example:
      kivuko collection measure trec:wikiclir-sw-en my.run --measure nDCG@10 R@100
    """
    from kivuko.cli.progress import console
    from kivuko.cli.progress import out as screen
    from kivuko.evaluation.tables import compact_table
    from kivuko.evaluation.trec_runs import measure_run_file

    result = measure_run_file(run, spec, measures)
    table = compact_table(f"{run.name} on {spec}: {_queries(result.queries)}")
    table.add_column("equal scores", no_wrap=True)
    for name in next(iter(result.values.values())):
        table.add_column(name, justify="right", no_wrap=True)
    for ties, values in result.values.items():
        table.add_row(ties, *(f"{value:.4f}" for value in values.values()))
    screen.print(table)
    for count, about in (
        (result.missing, "not in the run, so that the score is zero"),
        (result.not_judged, "left out, in the run but not judged"),
        (result.unanswerable, "left out, judged but without a relevant document"),
    ):
        if count:
            console.print(f"note: {about}: {_queries(count)}.")


@command.command("wikiclir", cls=Command)
@click.argument("dumps", type=_FILE)
@click.option("--queries", "query_language", required=True, metavar="CODE", help="Language of the queries.")
@click.option("--documents", "document_language", default="en", show_default=True, metavar="CODE")
@click.option("--out", type=_FILE, required=True, help="Folder of the collection.")
@click.option("--words", type=int, default=200, show_default=True, help="Words of a document; 0: whole articles.")
@click.option("--least-words", type=int, default=3, show_default=True, help="Words of a query at least.")
@click.option("--most-queries", type=int, help="A random choice of so many queries.  [default: all]")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of that choice.")
@click.option("--query-articles", type=_FILE, help="File or folder, if its name is another.")
@click.option("--document-articles", type=_FILE, help="File or folder, if its name is another.")
def wikiclir(
    dumps: Path,
    query_language: str,
    document_language: str,
    out: Path,
    query_articles: Path | None,
    document_articles: Path | None,
    **options: int | None,
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

    chosen = Options(query_language, document_language, **options)  # type: ignore[arg-type]
    files = find_dumps(
        dumps, query_language, document_language, query_articles=query_articles, document_articles=document_articles
    )
    built = build_wikiclir(files, chosen, out)
    for reason, count in built.left_out.most_common():
        console.print(f"left out, {reason}: {count:,}", soft_wrap=True)
    screen.print(
        f"{_queries(built.queries)} in {built.query_language}, {pluralize(built.documents, 'document')} in "
        f"{built.document_language}, {pluralize(built.mates, 'judgment')} of grade 2 and {built.mutual:,} of grade 1: "
        f"{out}",
        soft_wrap=True,
    )
    screen.print(f"Next: kivuko evaluate MODEL --dataset trec:{out}", soft_wrap=True)


@command.command("translate", cls=Command)
@click.argument("spec", metavar="SPEC")
@click.option("--translator", required=True, metavar="MODEL", help="NLLB, M2M100, OPUS-MT …: a folder or hub name.")
@click.option("--to", "target", required=True, metavar="CODE", help="Language to write.")
@click.option("--from", "source", default="en", show_default=True, metavar="CODE", help="Language of the texts.")
@click.option("--only", type=click.Choice(["queries", "documents"]), help="Translate this side alone; copy the other.")
@click.option("--out", type=_FILE, required=True, help="Folder of the new collection.")
@click.option("--sample", type=int, default=50, show_default=True, help="Of either side, to be checked.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the sample.")
def translate(
    spec: str, translator: str, target: str, source: str, only: str | None, out: Path, sample: int, seed: int
) -> None:
    """Translate a collection's queries and documents by machine, as mMARCO was made; judgments stay.

    Finished parts are kept in OUT.parts; the same command resumes from there. OUT/sample.tsv has translations beside
    their originals for a person to judge.

    \b
    Example:
      kivuko collection translate ir:msmarco-passage/dev/small --translator facebook/nllb-200-distilled-600M \\
        --to sw --out marco-sw
    """
    from kivuko.cli.progress import console
    from kivuko.cli.progress import out as screen
    from kivuko.translation.collection import Plan, translate_collection

    plan = Plan(source, target, only != "documents", only != "queries", sample=sample, seed=seed)
    done = translate_collection(spec, translator, plan, out)
    for reason, count in done.suspicious.most_common():
        console.print(f"looks wrong, {reason}: {count:,}", soft_wrap=True)
    screen.print(f"{_queries(done.queries)} and {pluralize(done.documents, 'document')}: {out}", soft_wrap=True)
    screen.print(f"Next: let a person fill in {out / 'sample.tsv'}", soft_wrap=True)
