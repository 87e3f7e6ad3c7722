"""``kivuko bitext check``: what parallel text is worth, and why."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from kivuko.cli.bitext_options import asked, bitext_options, open_bitext, rules_for
from kivuko.cli.options import Command

if TYPE_CHECKING:
    from kivuko.bitext.leak import LeakReport
    from kivuko.bitext.verdict import Account, Verdict


@click.command("check", cls=Command)
@bitext_options
@click.option("--examples", is_flag=True, help="Show examples of what would be left out.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def check(examples: bool, as_json: bool, **options: Any) -> None:
    """Read parallel text, say what is in it, and give a verdict: usable, usable with care, or not.

    Nothing is written. With --against, look on both sides for captions that a model is to be evaluated on.

    \b
    Examples:
      kivuko bitext check sw.tsv.gz -l sw
      kivuko bitext check corpus.en-sw -l sw --against emoji xm3600:crossmodal-3600
      kivuko bitext check corpus.tmx -l sw --first 100000 --json
    """
    import json

    from kivuko.cli.bitext_account import print_account, print_leaks, print_statistics, print_verdict
    from kivuko.cli.bitext_captions import load_captions
    from kivuko.cli.progress import reading_bar

    wanted = asked(options)
    rules, said = rules_for(wanted)
    source = open_bitext(wanted)

    from kivuko.bitext.cleaning import sift
    from kivuko.bitext.leak import LeakCheck
    from kivuko.bitext.verdict import judge_bitext

    captions = LeakCheck(load_captions(wanted.against, wanted.language)) if wanted.against else None
    sifting = sift(source, rules, captions=captions)
    with reading_bar(source, "checking") as bar:
        for _ in sifting.batches():
            bar.show(sifting.account.seen)
    account = sifting.account
    account.notes.extend(said)
    leaks = captions.report() if captions else None
    verdict = judge_bitext(account, leaks)
    if as_json:
        click.echo(json.dumps(_as_json(account, leaks, verdict, source.format), ensure_ascii=False))
        return
    print_account(account, source.format, examples=examples)
    print_statistics(account)
    if leaks is not None:
        print_leaks(leaks)
    print_verdict(verdict, account, wanted.spec)


def _as_json(account: Account, leaks: LeakReport | None, verdict: Verdict, form: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "verdict": verdict.level, "findings": verdict.findings, "advice": verdict.advice,
        "source": account.source, "format": form, "language": account.language, "read": account.seen,
        "usable": account.kept, "left_out": dict(account.dropped), "first": account.first,
        "examples": {reason: [one._asdict() for one in some] for reason, some in account.examples.items()},
        "statistics": dataclasses.asdict(account.statistics()), "swapped": account.swapped, "notes": account.notes,
    }  # fmt: skip
    if leaks is not None:
        found["leaks"] = {
            "captions": leaks.captions, "found": leaks.found, "pairs": leaks.pairs, "pairs_looked_at": leaks.looked,
            "examples": [one._asdict() for one in leaks.examples],
        }  # fmt: skip
    return found
