"""``kivuko report``: a study's records as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kivuko.evaluation import Header, Record


@click.command("report", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("records", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The page.  [default: RECORDS, ending in .html]")
def command(records: Path, out: Path | None) -> None:
    """Make one self-contained HTML page of a study's RECORDS, low-resource or robustness.

    The page gives the answer in one sentence, plots, every test and the protocol. It opens in any browser, from a
    file, without a network. The per-query scores must lie beside RECORDS, where the study wrote them.

    \b
    Example:
      kivuko report low-resource.jsonl --out low-resource.html
    """
    from kivuko.errors import UsageError
    from kivuko.evaluation import per_query_path, read_records
    from kivuko.evaluation.robustness import examples_path
    from kivuko.files import refuse_unwritable, write_text
    from kivuko.report.low_resource.inline_svg import check_plotting

    page = records.with_suffix(".html") if out is None else out
    if page.resolve() in {path.resolve() for path in (records, per_query_path(records), examples_path(records))}:
        raise UsageError(f"{page}: the page would take the place of the records. Name another file with --out.")
    check_plotting()
    refuse_unwritable(page)
    header, found = read_records(records)
    pages = {"robustness": _robustness}
    sentence, text = pages.get(str(header.protocol.get("study")), _low_resource)(records, header, found)
    write_text(page, text)
    click.echo(sentence)
    click.echo(f"page: {page}")


def _low_resource(path: Path, header: Header, records: Sequence[Record]) -> tuple[str, str]:
    from kivuko.evaluation import read_per_query
    from kivuko.report.low_resource import examine, render_page

    findings = examine(header, records, read_per_query(path))
    return findings.answer.sentence, render_page(findings)


def _robustness(path: Path, header: Header, records: Sequence[Record]) -> tuple[str, str]:
    from kivuko.evaluation import read_per_query
    from kivuko.evaluation.robustness import read_examples
    from kivuko.report.robustness import examine, render_page

    findings = examine(header, records, read_per_query(path), read_examples(path))
    return findings.answer.sentence, render_page(findings)
