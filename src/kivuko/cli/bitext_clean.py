"""``kivuko bitext clean``: parallel text without what should not be trained on."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from kivuko.cli.bitext_options import asked, bitext_options, open_bitext, refuse_overwriting, rules_for
from kivuko.cli.options import Command
from kivuko.errors import DataError
from kivuko.text import pluralize


@click.command("clean", cls=Command)
@bitext_options
@click.option(
    "--out", type=click.Path(path_type=Path), required=True,
    help="Tab-separated file; compressed if it ends in .gz, .zst, .bz2 or .xz.",
)  # fmt: skip
@click.option(
    "--rejected", type=click.Path(path_type=Path), metavar="FILE",
    help="Write what was left out: reason, place, sentence, English.",
)  # fmt: skip
def clean(out: Path, rejected: Path | None, **options: Any) -> None:
    """Write the pairs that pass every rule, and count the others by reason.

    The text streams by: memory does not grow with it. With --against, pairs that hold a caption of an evaluation set,
    on either side, are left out too.

    \b
    Examples:
      kivuko bitext clean corpus.en-sw -l sw --out sw.tsv.gz
      kivuko bitext clean sw.tsv.gz -l sw --against emoji --out sw.clean.tsv --rejected sw.rejected.tsv
      zcat sw.tsv.gz | kivuko bitext clean - -l sw --out sw.clean.tsv.zst
    """
    from kivuko.bitext.cleaning import sift
    from kivuko.bitext.leak import LeakCheck
    from kivuko.bitext.writing import RejectedWriter, pair_writer, text_stream
    from kivuko.cli.bitext_account import print_account
    from kivuko.cli.bitext_captions import load_captions
    from kivuko.cli.progress import out as screen
    from kivuko.cli.progress import reading_bar

    wanted = asked(options)
    refuse_overwriting([wanted.spec], [out] if rejected is None else [out, rejected])
    rules, said = rules_for(wanted)
    source = open_bitext(wanted)
    captions = LeakCheck(load_captions(wanted.against, wanted.language)) if wanted.against else None
    with ExitStack() as stack:
        writer = stack.enter_context(pair_writer(out, wanted.language))
        told = RejectedWriter(stack.enter_context(text_stream(rejected))) if rejected is not None else None
        sifting = sift(source, rules, captions=captions, rejected=told.write if told else None)
        bar = stack.enter_context(reading_bar(source, "cleaning"))
        for _, texts, english in sifting.batches():
            writer.write(texts, english)
            bar.show(sifting.account.seen)
        account = sifting.account
        if not account.kept:
            reason, count, first = next(iter(account.by_reason()), ("nothing in it", 0, source.name))
            raise DataError(f"{first}: no pair is left: {count:,} {reason}; kivuko bitext check tells more")
    account.notes.extend(said)
    print_account(account, source.format, examples=False)
    if captions is not None:
        leaks = captions.report()
        line = (
            f"evaluation captions: {leaks.total:,} of {leaks.captions:,} were in {pluralize(leaks.pairs, 'pair')}, now "
            "left out."
        )
        screen.print(line, soft_wrap=True)
    screen.print(f"{out}: {pluralize(writer.written, 'pair')}.", soft_wrap=True)
    screen.print(f"Next: kivuko distill --bitext {wanted.language}={out} --out my-model", soft_wrap=True)
