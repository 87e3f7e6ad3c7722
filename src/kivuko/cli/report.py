"""``kivuko report``: a study's records as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("records", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The page.  [default: RECORDS, ending in .html]")
def command(records: Path, out: Path | None) -> None:
    """Make one self-contained HTML page of a low-resource study's RECORDS.

    The page gives the answer in one sentence, plots, every test and the protocol. It opens in any browser, from a
    file, without a network. The per-query scores must lie beside RECORDS, where the study wrote them.

    \b
    Example:
      kivuko report low-resource.jsonl --out low-resource.html
    """
    from kivuko.errors import UsageError
    from kivuko.evaluation import per_query_path, read_per_query, read_records
    from kivuko.files import refuse_unwritable, write_text
    from kivuko.report.low_resource import examine, render_page
    from kivuko.report.low_resource.inline_svg import check_plotting

    page = records.with_suffix(".html") if out is None else out
    if page.resolve() in (records.resolve(), per_query_path(records).resolve()):
        raise UsageError(f"{page}: the page would take the place of the records. Name another file with --out.")
    check_plotting()
    refuse_unwritable(page)
    header, found = read_records(records)
    findings = examine(header, found, read_per_query(records))
    write_text(page, render_page(findings))
    click.echo(findings.answer.sentence)
    click.echo(f"page: {page}")
