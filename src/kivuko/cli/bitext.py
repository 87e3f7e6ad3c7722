"""``kivuko bitext``: see what parallel text is worth, clean it, and take samples of it."""

from __future__ import annotations

import click

from kivuko.cli.bitext_check import check
from kivuko.cli.bitext_clean import clean
from kivuko.cli.bitext_sample import sample


@click.group("bitext", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """See what parallel text is worth, clean it, and take samples of it.

    A SPEC names parallel text: a file (TSV, TMX, Parquet or JSON Lines, compressed or not), two files that match line
    by line (sw.txt,en.txt, or the prefix of an OPUS pair such as corpus.en-sw), a folder of shards, a data set of
    Hugging Face's (hf:NAME), or - for standard input.
    """


command.add_command(check)
command.add_command(clean)
command.add_command(sample)
