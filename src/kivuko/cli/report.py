"""``kivuko report``: records as one HTML page."""

from pathlib import Path

import click

from kivuko.cli.options import PATH


@click.command("report")
@click.argument("records", type=PATH)
@click.option("--out", type=PATH, help="The page.  [default: RECORDS, ending in .html]")
def command(records: Path, out: Path | None) -> None:
    """Write the RECORDS of a study, an evaluation or an attack run as one self-contained HTML page.

    The page gives the answer in one sentence, plots, every test and the protocol. It opens in any browser, from a
    file, without a network. A study's per-query scores must be beside RECORDS, where the study wrote them.

    \b
    Examples:
      kivuko report low-resource.jsonl --out low-resource.html
      kivuko report attack.jsonl
    """
    from kivuko.report.writing import report

    written = report(records, out)
    click.echo(written.answer)
    click.echo(f"page: {written.path}")
