"""``kivuko doctor``: find out what is wrong with a model, its tokenizer or its index."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kivuko.cli.options import CLDR, CODE, MODEL, PATH, Command, Several, split_codes, split_sources
from kivuko.cli.output import show, show_json, warn

if TYPE_CHECKING:
    from kivuko.doctor.finding import Finding

_COLORS = {"ok": "green", "note": "cyan", "warning": "yellow", "fault": "red"}


@click.command("doctor", cls=Command)
@click.argument("model", type=MODEL)
@click.option("--index", type=PATH, help="An index that MODEL is to search.")
@click.option("--gallery", type=PATH, hidden=True)
@click.option("--teacher", help="Hub id or folder of the English teacher.  [default: the model's own]")
@click.option(
    "-l", "--languages", "languages", cls=Several, follows=CODE, metavar="CODES",
    callback=lambda _ctx, _param, values: split_codes(values) if values else (),
    help="Languages to try, such as sw so.  [default: the model's own]",
)  # fmt: skip
@click.option(
    "-b", "--bitext", "bitexts", cls=Several, follows=f"{CODE}=.+", metavar="CODE=FILE",
    help="Sentences to try a language on.  [default: names of emoji]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@CLDR
def command(
    model: Path | str,
    index: Path | None,
    gallery: Path | None,
    teacher: str | None,
    languages: tuple[str, ...],
    bitexts: tuple[str, ...],
    as_json: bool,
    cldr: Path | None,
) -> None:
    """Examine MODEL: its tokenizer in each language, its agreement with its teacher, and an index it is to search.

    MODEL is a folder of Kivuko's, of sentence-transformers, or an encoder (CLIP too) of transformers; or the id of one
    on the hub. Each finding is ok, a note, a warning or a fault, with what to do about it. Exit status 1 if there is a
    fault.

    \b
    Examples:
      kivuko doctor kivuko-demo/model
      kivuko doctor my-model --index my.index -l sw so
      kivuko doctor xlm-roberta-base -l sw --bitext sw=sw.tsv.gz
      kivuko doctor clip-model --teacher clip-model --bitext sw=sw.tsv.gz --json
    """
    from dataclasses import asdict

    bitext = split_sources(bitexts)
    from kivuko.doctor.examination import examine
    from kivuko.doctor.finding import worst_level

    if gallery is not None:
        warn("note: --gallery is now --index; the old name works for one more release.")
        index = index or gallery

    findings = examine(model, languages=languages, bitext=bitext, teacher=teacher, index=index, cldr=cldr)
    worst = worst_level(findings)
    if as_json:
        described = {"model": str(model), "level": worst, "findings": [asdict(one) for one in findings]}
        show_json(described)
    else:
        _show(model, findings)
    if worst == "fault":
        sys.stdout.flush()
        sys.exit(1)


def _show(model: Path | str, findings: list[Finding]) -> None:
    for _, same in groupby(findings, key=lambda one: (one.level, one.check, one.what, one.do)):
        _show_once(list(same))
    counts = [(level, sum(one.level == level for one in findings)) for level in ("fault", "warning", "note")]
    summary = ", ".join(f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts if count)
    show(f"{model}: {summary or 'nothing wrong'}.")


def _show_once(findings: Iterable[Finding]) -> None:
    """Print findings that differ only in their language as one."""
    from rich.text import Text

    first, *_ = findings = list(findings)
    subject = " ".join([first.check, ", ".join(one.language for one in findings if one.language)]).strip()
    line = Text(f"{first.level:8}", style=_COLORS[first.level])
    line.append(f"{subject}: {first.what}", style="default")
    show(line)
    if first.do and first.level != "ok":
        show(f"        → {first.do}")
