"""``kivuko words``: the word table of a model."""

from __future__ import annotations

from pathlib import Path

import click

from kivuko.cli.options import MODEL, PATH, Command
from kivuko.cli.output import show, show_json
from kivuko.errors import UsageError
from kivuko.text import pluralize


@click.command("words", cls=Command)
@click.argument("model", type=MODEL)
@click.argument("language", metavar="LANGUAGE")
@click.argument("words", nargs=-1, metavar="[WORD]...")
@click.option("--out", type=PATH, help="Write the table to a file instead: word, English and share, separated by tabs.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def command(model: Path | str, language: str, words: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Show the English words that the words of a language go with in MODEL, and the share of each.

    They come from the aligned sentences that the model was trained on and from dictionaries. A word that is wrong here
    is wrong in a search: add sentences or a dictionary that have it right.

    \b
    Examples:
      kivuko words my-model sw
      kivuko words my-model sw gari jekundu
      kivuko words my-model sw --out words.tsv
    """
    from kivuko.encoders.model import load_model
    from kivuko.files import write_text

    if as_json and out is not None:
        raise UsageError("--out writes a file and --json prints: give one of them.")
    table = load_model(model, device="cpu").words(language, words or None)
    if as_json:
        show_json(table)
    elif out is not None:
        lines = [f"{word}\t{text}\t{share:.3f}\n" for word, own in table.items() for text, share in own.items()]
        write_text(out, "".join(lines))
        show(f"{out}: {pluralize(sum(map(bool, table.values())), 'word')} of {language}")
    else:
        show(*(f"{word}: {_listed(own)}" for word, own in table.items()))


def _listed(shares: dict[str, float]) -> str:
    return ", ".join(f"{text} {share:.2f}" for text, share in shares.items()) or "(not in the table)"
