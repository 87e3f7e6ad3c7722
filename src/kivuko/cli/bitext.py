"""``kivuko bitext``: check, clean and sample parallel text."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from kivuko.cli.options import SEED, Command, Several
from kivuko.errors import UsageError
from kivuko.text import pluralize

if TYPE_CHECKING:
    from kivuko.bitext.leak import LeakReport
    from kivuko.bitext.prepare import BitextCheck
    from kivuko.bitext.verdict import Account, SideStatistics

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_SHOWN = 90  # characters of a sentence


@click.group("bitext", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Check, clean and sample parallel text.

    A SPEC names parallel text: a file (TSV, CSV, TMX, Parquet, JSON Lines, gettext PO or MO, XLIFF or TBX, compressed
    or not), two files that match line by line (sw.txt,en.txt, or the prefix of an OPUS pair such as corpus.en-sw), a
    folder of shards, a data set of Hugging Face's (hf:NAME), a URL (https://, s3://), or - for standard input.
    """


_OPTIONS = [
    click.argument("spec"),
    click.option("-l", "--language", required=True, metavar="CODE", help="The language that is not English."),
    click.option(
        "--format", metavar="FORMAT",
        help="tsv, csv, moses, tmx, parquet, jsonl, po, mo, xliff or tbx.  [default: by the file]",
    ),
    click.option(
        "--columns", metavar="A,B",
        help="Columns of the language and of English: positions from 1, or headings.  [default: by the file]",
    ),
    click.option("--keep-copied", is_flag=True, help="Keep pairs whose sides are the same."),
    click.option(
        "--language-id", type=click.Choice(["fast", "full"]),
        help="Identify the language of every sentence (full), or where known words do not decide.  [default: fast]",
    ),
    click.option("--no-language-id", is_flag=True, help="Do not identify languages."),
    click.option(
        "--script", multiple=True, metavar="CODE",
        help="ISO 15924 code of the script, if it is not the usual one of the language.",
    ),
    click.option(
        "--max-length-ratio", type=click.FloatRange(min=0), default=3.0, show_default=True,
        help="Largest ratio of the longer side to the shorter; 0: any.",
    ),
    click.option(
        "--max-translations", type=click.IntRange(0, 250), default=20, show_default=True,
        help="Pairs that may share one side; 0: any number.",
    ),
    click.option(
        "--expected-pairs", type=click.IntRange(min=1000), default=10_000_000, show_default=True,
        help="Memory for duplicates, about 9 bytes per pair.",
    ),
    click.option("--first", type=click.IntRange(min=1), metavar="N", help="Read only the first N pairs."),
    click.option(
        "--against", cls=Several, metavar="CAPTIONS",
        help="Evaluation captions: emoji, a caption set such as xm3600:FOLDER, or a file with one caption per line.",
    ),
]  # fmt: skip


def _bitext_options(command: Decorated) -> Decorated:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@command.command("check", cls=Command)
@_bitext_options
@click.option("--examples", is_flag=True, help="Show examples of what would be left out.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_context
def check(ctx: click.Context, /, spec: str, examples: bool, as_json: bool, **options: Any) -> None:
    """Show statistics of parallel text, and a verdict: usable, usable with care, or not usable.

    Nothing is written. --against also searches both sides for captions of evaluation sets.

    \b
    Examples:
      kivuko bitext check sw.tsv.gz -l sw
      kivuko bitext check corpus.en-sw -l sw --against emoji xm3600:crossmodal-3600
      kivuko bitext check corpus.tmx -l sw --first 100000 --json
    """
    import json

    from kivuko.bitext.prepare import check_bitext

    result = check_bitext(spec, **_arguments(options))
    if as_json:
        click.echo(json.dumps(result.to_dict(), ensure_ascii=False))
        return
    _print_account(result.account, result.format, examples=examples)
    _print_statistics(result.account)
    if result.leaks is not None:
        _print_leaks(result.leaks)
    _print_verdict(result, spec, _given(ctx))


@command.command("clean", cls=Command)
@_bitext_options
@click.option(
    "--out", type=click.Path(path_type=Path), required=True,
    help="Tab-separated file; compressed if it ends in .gz, .zst, .bz2 or .xz.",
)  # fmt: skip
@click.option(
    "--rejected", type=click.Path(path_type=Path), metavar="FILE",
    help="Write the pairs that were left out: reason, place, sentence, English.",
)  # fmt: skip
def clean(spec: str, out: Path, rejected: Path | None, **options: Any) -> None:
    """Write the pairs that pass every rule, and count the others by reason.

    The text is read as a stream, in constant memory. --against also leaves out pairs with a caption of an evaluation
    set on either side.

    \b
    Examples:
      kivuko bitext clean corpus.en-sw -l sw --out sw.tsv.gz
      kivuko bitext clean sw.tsv.gz -l sw --against emoji --out sw.clean.tsv --rejected sw.rejected.tsv
      zcat sw.tsv.gz | kivuko bitext clean - -l sw --out sw.clean.tsv.zst
    """
    from kivuko.bitext.prepare import clean_bitext

    result = clean_bitext(spec, out=out, rejected=rejected, **_arguments(options))
    _print_account(result.account, result.format, examples=False)
    if (leaks := result.leaks) is not None:
        _print(
            f"evaluation captions: {leaks.total:,} of {leaks.captions:,} were in {pluralize(leaks.pairs, 'pair')}, now "
            "left out."
        )
    _print(f"{out}: {pluralize(result.account.kept, 'pair')}.")
    _print(f"Next: kivuko distill --bitext {shlex.quote(f'{result.account.language}={out}')} --out my-model")


@command.command("sample", cls=Command)
@click.argument("bitext", nargs=-1, required=True, metavar="CODE=SPEC...")
@click.option("--pairs", type=click.IntRange(min=1), required=True, help="Pairs of all languages together.")
@click.option(
    "--temperature", type=click.FloatRange(min=1), default=5.0, show_default=True,
    help="1: shares in proportion to the languages' sizes; higher: more equal shares.",
)  # fmt: skip
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the sample.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for one file per language.")
@click.option("--compress", type=click.Choice(["gz", "zst", "bz2", "xz"]), help="Compress the files.  [default: no]")
def sample(bitext: tuple[str, ...], pairs: int, temperature: float, seed: int, out: Path, compress: str | None) -> None:
    """Sample the parallel text of several languages, with temperature.

    A language with n pairs gets a share in proportion to n to the power of 1/T. No pair is taken twice, and a share
    that a language cannot fill goes to the others. Every file is read twice and never held in memory. The same seed
    gives the same sample, and a smaller sample is part of a larger one.

    \b
    Example:
      kivuko bitext sample sw=sw.tsv.gz so=so.tsv.gz --pairs 200000 --temperature 5 --out sampled
    """
    from kivuko.bitext.prepare import sample_bitext

    sources: dict[str, str] = {}
    for word in bitext:
        code, equals, spec = word.partition("=")
        if not equals or not spec:
            raise UsageError(f"{word}: give CODE=SPEC, such as sw=sw.tsv.gz")
        if code in sources:
            raise UsageError(f"{word}: {code} was named before; give each language once")
        sources[code] = spec
    parts = sample_bitext(
        sources, out, pairs=pairs, temperature=temperature, seed=seed, compress=compress or ""
    )  # fmt: skip
    for code, part in parts.items():
        where = part.path or "nothing taken"
        _print(f"{code}: {part.taken:,} of {pluralize(part.pairs, 'pair')} ({part.share:.1%} by temperature): {where}")
    if (total := sum(part.taken for part in parts.values())) < pairs:
        _print(f"note: there are only {pluralize(total, 'pair')}; all were taken.")
    named = " ".join(shlex.quote(f"{code}={part.path}") for code, part in parts.items() if part.path)
    _print(f"Next: kivuko distill --bitext {named} --out my-model")


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the library's calls for the options of ``check`` and ``clean``."""
    from kivuko.bitext.rules import Rules
    from kivuko.datasets.spec import evaluation_captions
    from kivuko.languages import other_than_english

    language = other_than_english(options["language"])
    if options["no_language_id"] and options["language_id"]:
        raise UsageError(f"--no-language-id and --language-id {options['language_id']} contradict each other")
    rules = Rules(
        keep_copied=options["keep_copied"],
        language_id="off" if options["no_language_id"] else options["language_id"] or "auto",
        scripts=options["script"],
        max_length_ratio=options["max_length_ratio"] or None,
        max_translations=options["max_translations"] or None,
        expected_pairs=options["expected_pairs"],
    )
    return {
        "language": language, "rules": rules, "format": options["format"], "first": options["first"],
        "columns": _parse_columns(options["columns"]),
        "captions": evaluation_captions(options["against"], language) if options["against"] else None,
    }  # fmt: skip


def _parse_columns(columns: str | None) -> tuple[int, int] | tuple[str, str] | None:
    """Parse ``2,1`` as positions and ``sw,en`` as headings."""
    if columns is None:
        return None
    parts = [part.strip() for part in columns.split(",")]
    if len(parts) != 2 or not all(parts):
        raise UsageError(f"--columns {columns}: give two, such as 2,1 or sw,en")
    if all(part.isascii() and part.isdigit() for part in parts):
        return int(parts[0]), int(parts[1])
    return parts[0], parts[1]


def _given(ctx: click.Context) -> str:
    """Return the given options that ``clean`` takes too, to suggest it with the same ones."""
    words: list[str] = []
    for option in clean.params:
        name = str(option.name)
        if name in ("spec", "language", "first") or ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = ctx.params[name]
        words.append(option.opts[0])
        if value is not True:
            several = value if isinstance(value, tuple) else (value,)
            flag = f" {option.opts[0]} " if not isinstance(option, Several) else " "
            words.append(flag.join(shlex.quote(str(one)) for one in several))
    return "".join(f" {word}" for word in words)


def _print(line: str) -> None:
    from kivuko.progress import out

    out.print(line, soft_wrap=True)


def _print_account(account: Account, form: str, *, examples: bool) -> None:
    """Print the number of kept pairs, and a table of the others by reason."""
    from rich.table import Table

    from kivuko.languages import language
    from kivuko.progress import out

    share = account.kept / account.seen if account.seen else 0.0
    named = f"{account.source} ({form}, {language(account.language).name})"
    _print(f"{named}: {account.seen:,} read, {account.kept:,} usable ({share:.1%}).")
    if account.dropped:
        table = Table(box=None, pad_edge=False, show_edge=False)
        table.add_column("left out")
        table.add_column("pairs", justify="right")
        table.add_column("share", justify="right")
        table.add_column("first at", overflow="fold")
        folder = f"{Path(account.source).parent}/"  # printed above, and too long for a column
        for reason, count, first in account.by_reason():
            table.add_row(reason, f"{count:,}", f"{count / account.seen:.2%}", first.removeprefix(folder))
        out.print(table)
    if examples:
        for reason, _, _ in account.by_reason():
            for one in account.examples.get(reason, []):
                _print(f"  {reason}, {one.place}: {_short(one.text)} | {_short(one.english)}")
    for note in account.notes:
        _print(f"note: {note}.")


def _print_statistics(account: Account) -> None:
    from kivuko.languages import language

    figures = account.gathering.statistics()
    if not figures.pairs:
        return
    _print(_side(language(account.language).name, figures.text))
    _print(_side("English", figures.english))
    low, middle, high = figures.length_ratio
    _print(
        f"length ratio: median {middle:.2f}, 90 % between {low:.2f} and {high:.2f}; letters in the language's script: "
        f"{figures.script_share:.1%}" + (f"; copies: {figures.copied:,}" if figures.copied else "") + "."
    )


def _print_leaks(leaks: LeakReport) -> None:
    """Print the number of evaluation captions in the text, by kind of match, and examples."""
    ways = ", ".join(f"{count:,} {kind}" for kind, count in leaks.leaked.items())
    _print(
        f"evaluation captions: {leaks.total:,} of {leaks.captions:,} in the text ({leaks.share:.1%}), in "
        f"{leaks.pairs:,} of {pluralize(leaks.looked, 'pair')}: {ways}."
    )
    for one in leaks.examples:
        _print(f"  {one.kind}, {one.place}: {_short(one.sentence)} | {_short(one.caption)}")


def _print_verdict(result: BitextCheck, spec: str, options: str) -> None:
    """Print the verdict, the findings, and the next command, with the same options."""
    verdict, account = result.verdict, result.account
    _print(f"VERDICT: {verdict.level}.")
    for finding in verdict.findings:
        _print(f"  - {finding}")
    for advice in verdict.advice:
        _print(f"  > {advice}")
    code = account.language
    if verdict.level == "not usable":
        return
    if account.kept < account.seen:
        out = next(name for name in _cleaned_names(code) if not Path(name).exists())
        _print(f"Next: kivuko bitext clean {shlex.quote(spec)} -l {code}{options} --out {out}")
    else:
        _print(f"Next: kivuko distill --bitext {shlex.quote(f'{code}={spec}')} --out my-model")


def _cleaned_names(code: str) -> list[str]:
    return [f"{code}.clean{number}.tsv.gz" for number in ("", *(f".{count}" for count in range(2, 1000)))]


def _side(name: str, side: SideStatistics) -> str:
    return (
        f"{name}: {pluralize(side.words, 'word')}, {pluralize(side.characters, 'character')}; of a sentence: mean "
        f"{side.mean:.0f}, median {side.median:,}, 95 % below {side.percentile_95 + 1:,}, longest {side.longest:,}."
    )


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
