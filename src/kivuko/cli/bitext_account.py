"""The account of parallel text on the screen: what was left out, figures, leaks, and the verdict."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from kivuko.text import pluralize

if TYPE_CHECKING:
    from kivuko.bitext.leak import LeakReport
    from kivuko.bitext.verdict import Account, SideStatistics, Verdict

_SHOWN = 90  # characters of a sentence


def print_account(account: Account, form: str, *, examples: bool) -> None:
    """Print what was kept, and a table of what was not."""
    from rich.table import Table

    from kivuko.cli.progress import out
    from kivuko.languages import language

    share = account.kept / account.seen if account.seen else 0.0
    named = f"{account.source} ({form}, {language(account.language).name})"
    out.print(f"{named}: {account.seen:,} read, {account.kept:,} usable ({share:.1%}).", soft_wrap=True)
    if account.dropped:
        table = Table(box=None, pad_edge=False, show_edge=False)
        table.add_column("left out")
        table.add_column("pairs", justify="right")
        table.add_column("share", justify="right")
        table.add_column("first at", overflow="fold")
        folder = f"{Path(account.source).parent}/"  # said above, and often too long for a column
        for reason, count, first in account.by_reason():
            table.add_row(reason, f"{count:,}", f"{count / account.seen:.2%}", first.removeprefix(folder))
        out.print(table)
    if examples:
        for reason, _, _ in account.by_reason():
            for one in account.examples.get(reason, []):
                out.print(f"  {reason}, {one.place}: {_short(one.text)} | {_short(one.english)}", soft_wrap=True)
    for note in account.notes:
        out.print(f"note: {note}.", soft_wrap=True)


def print_statistics(account: Account) -> None:
    """Print figures about what is usable."""
    from kivuko.cli.progress import out
    from kivuko.languages import language

    figures = account.statistics()
    if not figures.pairs:
        return
    out.print(_side(language(account.language).name, figures.text), soft_wrap=True)
    out.print(_side("English", figures.english), soft_wrap=True)
    low, middle, high = figures.length_ratio
    out.print(
        f"length ratio: median {middle:.2f}, 90 % between {low:.2f} and {high:.2f}; letters in the language's script: "
        f"{figures.script_share:.1%}" + (f"; copies: {figures.copied:,}" if figures.copied else "") + ".",
        soft_wrap=True,
    )


def print_leaks(leaks: LeakReport) -> None:
    """Print how many captions were found, how, and examples."""
    from kivuko.cli.progress import out

    ways = ", ".join(f"{count:,} {kind}" for kind, count in leaks.found.items())
    out.print(
        f"evaluation captions: {leaks.total:,} of {leaks.captions:,} found ({leaks.share:.1%}), in {leaks.pairs:,} of "
        f"{pluralize(leaks.looked, 'pair')}: {ways}.",
        soft_wrap=True,
    )
    for one in leaks.examples:
        out.print(f"  {one.kind}, {one.place}: {_short(one.sentence)} | {_short(one.caption)}", soft_wrap=True)


def print_verdict(verdict: Verdict, account: Account, spec: str) -> None:
    """Print the verdict, what speaks against the text, and what to do next."""
    from kivuko.cli.progress import out

    out.print(f"VERDICT: {verdict.level}.")
    for finding in verdict.findings:
        out.print(f"  - {finding}", soft_wrap=True)
    for one in verdict.advice:
        out.print(f"  > {one}", soft_wrap=True)
    code = account.language
    if verdict.level == "not usable":
        return
    if account.kept < account.seen:
        command = f"kivuko bitext clean {shlex.quote(spec)} -l {code} --out {code}.clean.tsv.gz"
        out.print(f"Next: {command}", soft_wrap=True)
    else:
        out.print(f"Next: kivuko distill --bitext {shlex.quote(f'{code}={spec}')} --out my-model", soft_wrap=True)


def _side(name: str, side: SideStatistics) -> str:
    return (
        f"{name}: {side.words:,} words, {side.characters:,} characters; of a sentence: mean {side.mean:.0f}, "
        f"median {side.median:,}, 95 % below {side.percentile_95 + 1:,}, longest {side.longest:,}."
    )


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
