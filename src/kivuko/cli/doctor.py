"""``kivuko doctor``: find out what is wrong with a model, its tokenizer or its gallery."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kivuko.cli.options import Command, split_codes
from kivuko.errors import KivukoError, UsageError

if TYPE_CHECKING:
    from kivuko.doctor import Finding, Sentences

_COLORS = {"ok": "green", "note": "cyan", "warning": "yellow", "fault": "red"}


@click.command("doctor", cls=Command)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--gallery", type=click.Path(path_type=Path), help="A gallery that MODEL shall search.")
@click.option("--teacher", help="Hub id or folder of the English teacher.  [default: the model's own]")
@click.option(
    "-l", "--languages", "languages", multiple=True, metavar="CODES",
    callback=lambda _ctx, _param, values: split_codes(values) if values else (),
    help="Languages to try, such as sw so.  [default: the model's own]",
)  # fmt: skip
@click.option(
    "-b", "--bitext", "bitexts", multiple=True, metavar="CODE=FILE",
    help="Sentences to try a language on.  [default: names of emoji]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--cldr", type=click.Path(path_type=Path), help="Folder that holds CLDR's annotations/, if not the system's."
)
def command(
    model: Path,
    gallery: Path | None,
    teacher: str | None,
    languages: tuple[str, ...],
    bitexts: tuple[str, ...],
    as_json: bool,
    cldr: Path | None,
) -> None:
    """Examine MODEL: its tokenizer in each language, its agreement with its teacher, and a gallery it shall search.

    MODEL is a folder of Kivuko's, of sentence-transformers, or an encoder (CLIP too) of transformers; or the id of one
    on the hub. Each finding is ok, a note, a warning or a fault, with what to do about it. Exit status 1 if there is a
    fault.

    \b
    Examples:
      kivuko doctor kivuko-demo/model
      kivuko doctor my-model --gallery my.index -l sw so
      kivuko doctor xlm-roberta-base -l sw --bitext sw=sw.tsv.gz
      kivuko doctor clip-model --teacher clip-model --bitext sw=sw.tsv.gz --json
    """
    import json
    from dataclasses import asdict

    from kivuko.cli.progress import bars
    from kivuko.cli.progress import out as screen
    from kivuko.doctor import Request, examine, worst_level
    from kivuko.encoders.loading import local_folder
    from kivuko.encoders.model import quiet

    asked, model = model, local_folder(str(model))
    sentences, silent = _sentences(model, languages, bitexts, cldr)
    codes = tuple(dict.fromkeys([*languages, *(one.language for one in sentences)]))
    named = tuple(one.origin for one in sentences if one.origin != "emoji names")
    with bars() as progress:
        task = progress.add_task("examining", total=None, figures="")
        with quiet():
            found = examine(
                Request(model, codes, tuple(sentences), teacher, gallery, named),
                lambda check, done, count: progress.update(task, completed=done, total=count, figures=check),
            )
    found = [*found, *silent]
    worst = worst_level(found)
    if as_json:
        told = {"model": str(asked), "level": worst, "findings": [asdict(one) for one in found]}
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        for one in found:
            _show(one)
        counts = [(level, sum(one.level == level for one in found)) for level in ("fault", "warning", "note")]
        summary = ", ".join(f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts if count)
        screen.print(f"{asked}: {summary or 'nothing to say against it'}.", soft_wrap=True)
    if worst == "fault":
        sys.stdout.flush()
        sys.exit(1)


def _sentences(
    model: Path, languages: tuple[str, ...], bitexts: tuple[str, ...], cldr: Path | None
) -> tuple[list[Sentences], list[Finding]]:
    """Return the sentences of each language to be tried, and notes on those without any."""
    from kivuko.doctor import Finding, bitext_sentences, emoji_sentences
    from kivuko.encoders.model import read_about
    from kivuko.errors import CorruptFileError

    found = []
    for given in bitexts:
        code, equals, spec = given.partition("=")
        if not equals or not spec:
            raise UsageError(f"--bitext {given}: write it as CODE=FILE, for example sw=sw.tsv.")
        found.append(bitext_sentences(code, spec))
    try:
        about = read_about(model)
    except CorruptFileError:
        about = None  # told as a fault when the model is loaded
    wanted = languages or (about.languages if about and not bitexts else ())
    silent: list[Finding] = []
    for code in wanted:
        if any(one.language == code for one in found):
            continue
        try:
            found.append(emoji_sentences(code, cldr))
        except KivukoError as problem:
            if cldr is not None:
                raise
            silent.append(Finding("note", "tokens", f"no sentences to try: {problem}", f"--bitext {code}=FILE", code))
    if not wanted and not found:
        told = "no language was named, so no sentence was tried"
        silent.append(Finding("note", "tokens", told, "Name some: -l sw so"))
    return found, silent


def _show(finding: Finding) -> None:
    from rich.text import Text

    from kivuko.cli.progress import out as screen

    about = f"{finding.check} {finding.language}" if finding.language else finding.check
    line = Text(f"{finding.level:8}", style=_COLORS[finding.level])
    line.append(f"{about}: {finding.what}", style="default")
    screen.print(line, soft_wrap=True)
    if finding.do and finding.level != "ok":
        screen.print(f"        → {finding.do}", soft_wrap=True)
