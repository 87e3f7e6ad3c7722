"""``kivuko collection``: describe text collections, build them from Wikipedia, translate them, and score runs."""

from pathlib import Path

import click

from kivuko.cli.options import PATH, SEED, Command, Several
from kivuko.cli.output import show, warn
from kivuko.text import pluralize


@click.group("collection")
def command() -> None:
    """Describe text collections, build them from Wikipedia, translate them, and score runs."""


@command.command("show", cls=Command)
@click.argument("spec", metavar="SPEC")
@click.option("--documents", "read_documents", is_flag=True, help="Also read and check all documents.")
def show_collection(spec: str, read_documents: bool) -> None:
    """Show the queries, documents and judgments of a collection: ir:ID (of ir_datasets) or trec:FOLDER.

    \b
    Files of a folder, which may be compressed:
      queries.sw.tsv         id<TAB>text; or .jsonl; or TREC topics (.xml, .trec, .txt); one file per language
      documents.en.jsonl.gz  id, text and optionally title; or .tsv; or TREC's SGML; or a folder of such files
      qrels.txt              query iteration document grade; or qrels.test.tsv as in BEIR: trec:FOLDER#test
      collection.json        languages, if not in the names: {"query_language": "sw", "document_language": "en"}

    \b
    Examples:
      kivuko collection show trec:wikiclir-sw-en
      kivuko collection show ir:clirmatrix/sw/bi139-base/en/test1
    """
    from kivuko.datasets.spec import summarize_collection
    from kivuko.evaluation.tables import compact_table

    summary = summarize_collection(spec, read_documents=read_documents)
    table = compact_table(summary.name)
    for heading in ("queries in", "n", "with relevant documents", "not judged", "an example"):
        table.add_column(heading, justify="left" if heading in ("queries in", "an example") else "right")
    for code, *counts, example in summary.queries:
        table.add_row(code, *(f"{count:,}" for count in counts), str(example)[:60])
    show(table)
    graded = ", ".join(f"grade {grade}: {count:,}" for grade, count in summary.grades.items())
    show(f"Judgments of {_queries(summary.judged_queries)}: {graded}.")
    count, language = summary.document_count, summary.document_language
    known = f"{pluralize(count, 'document')} in {language}" if count else f"Documents in {language}"
    show(f"{known}." if count else f"{known} (not counted; see --documents).")
    if read := summary.documents:
        show(
            f"Read {pluralize(read.documents, 'document')}: {read.characters:,} characters on average, {read.empty:,} "
            f"empty; {read.relevant_present:,} of {pluralize(read.relevant, 'relevant document')} present.",
        )


def _queries(count: int) -> str:
    return pluralize(count, "query", "queries")


@command.command("measure", cls=Command)
@click.argument("spec", metavar="SPEC")
@click.argument("run", type=PATH)
@click.option("--measure", "measures", cls=Several, metavar="NAME", help="Measures such as nDCG@10 or P@5.")
@click.option(
    "--ignore-identical-ids", is_flag=True, help="Leave out, of each query, the document that has the query's id."
)
def measure(spec: str, run: Path, measures: tuple[str, ...], ignore_identical_ids: bool) -> None:
    """Score a TREC run file (query Q0 document rank score tag) with the judgments of a collection.

    The two rows differ in the order of equal scores: as in trec_eval (by descending document id), and pessimistic
    (relevant documents last).

    \b
    Example:
      kivuko collection measure trec:wikiclir-sw-en my.run --measure nDCG@10 R@100
    """
    from kivuko.evaluation.measures import measure_run_file
    from kivuko.evaluation.tables import compact_table

    result = measure_run_file(run, spec, measures, ignore_identical_ids)
    table = compact_table(f"{run.name} on {spec}: {_queries(result.queries)}")
    table.add_column("equal scores", no_wrap=True)
    for name in next(iter(result.values.values())):
        table.add_column(name, justify="right", no_wrap=True)
    for ties, values in result.values.items():
        table.add_row(ties, *(f"{value:.4f}" for value in values.values()))
    show(table)
    for count, about in (
        (result.missing, "not in the run, so their score is zero"),
        (result.not_judged, "left out, in the run but not judged"),
        (result.unanswerable, "left out, judged but without a relevant document"),
    ):
        if count:
            warn(f"note: {about}: {_queries(count)}.")
    if result.identical:
        left = "left out" if ignore_identical_ids else "measured; leave it out with --ignore-identical-ids"
        warn(f"note: a document with the query's own id is {left}: {_queries(result.identical)}.")


@command.command("wikiclir", cls=Command)
@click.argument("dumps", type=PATH)
@click.option("--queries", "query_language", required=True, metavar="CODE", help="Language of the queries.")
@click.option("--documents", "document_language", default="en", show_default=True, metavar="CODE")
@click.option("--out", type=PATH, required=True, help="Folder of the collection.")
@click.option("--words", type=int, default=200, show_default=True, help="Words of a document; 0: whole articles.")
@click.option("--least-words", type=int, default=3, show_default=True, help="Fewest words of a query.")
@click.option("--most-queries", type=int, help="Size of a random sample of queries.  [default: all]")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the sample.")
@click.option("--query-articles", type=PATH, help="Articles in the queries' language, if the file has another name.")
@click.option("--document-articles", type=PATH, help="Articles in the documents' language, likewise.")
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

    A query is the first sentence of an article without the words of its title. The article that it links to in the
    other language is relevant (grade 2), and so are articles that link to that one and back (grade 1).

    \b
    Files in DUMPS, from https://dumps.wikimedia.org, of the same day:
      swwiki-…-pages-articles.xml.bz2   or WikiExtractor's JSON, or a CirrusSearch dump; the same for enwiki
      swwiki-…-langlinks.sql.gz         or that of enwiki
      enwiki-…-pagelinks.sql.gz         and enwiki-…-linktarget.sql.gz, since 2024
      enwiki-…-page.sql.gz and enwiki-…-redirect.sql.gz, if the articles are JSON (XML has redirects)

    \b
    Example:
      kivuko collection wikiclir dumps/ --queries sw --documents en --out wikiclir-sw-en
    """
    from kivuko.datasets.wikiclir.build import Options, build_wikiclir
    from kivuko.datasets.wikiclir.dumps import find_dumps

    chosen = Options(query_language, document_language, **options)  # type: ignore[arg-type]
    files = find_dumps(
        dumps, query_language, document_language, query_articles=query_articles, document_articles=document_articles
    )
    built = build_wikiclir(files, chosen, out)
    for reason, count in built.left_out.most_common():
        warn(f"left out, {reason}: {count:,}")
    show(
        f"{_queries(built.queries)} in {built.query_language}, {pluralize(built.documents, 'document')} in "
        f"{built.document_language}, {pluralize(built.mates, 'judgment')} of grade 2 and {built.mutual:,} of grade 1: "
        f"{out}",
    )
    show(f"Next: kivuko evaluate MODEL --dataset trec:{out}")


@command.command("translate", cls=Command)
@click.argument("spec", metavar="SPEC")
@click.option("--translator", required=True, metavar="MODEL", help="NLLB, M2M100, OPUS-MT …: a folder or hub name.")
@click.option("--to", "target", required=True, metavar="CODE", help="Language to translate into.")
@click.option("--from", "source", default="en", show_default=True, metavar="CODE", help="Language of the texts.")
@click.option("--only", type=click.Choice(["queries", "documents"]), help="Translate one side, and copy the other.")
@click.option("--out", type=PATH, required=True, help="Folder of the new collection.")
@click.option("--sample", type=int, default=50, show_default=True, help="Queries and documents in sample.tsv.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the sample.")
def translate(
    spec: str, translator: str, target: str, source: str, only: str | None, out: Path, sample: int, seed: int
) -> None:
    """Translate the queries and documents of a collection by machine, as in mMARCO, and keep its judgments.

    Run the same command again to resume a stopped run; finished parts are in OUT.parts. OUT/sample.tsv lists
    translations with their originals for a person to judge.

    \b
    Example:
      kivuko collection translate ir:msmarco-passage/dev/small --translator facebook/nllb-200-distilled-600M \\
        --to sw --out marco-sw
    """
    from kivuko.translation.collection import Plan, translate_collection

    plan = Plan(source, target, only != "documents", only != "queries", sample=sample, seed=seed)
    done = translate_collection(spec, translator, plan, out)
    for reason, count in done.suspicious.most_common():
        warn(f"looks wrong, {reason}: {count:,}")
    show(f"{_queries(done.queries)} and {pluralize(done.documents, 'document')}: {out}")
    show(f"Next: let a person fill in {out / 'sample.tsv'}")
