"""``kivuko bitext sample``: fewer pairs of languages that have many, more of those that have few."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from kivuko.cli.bitext_options import other_language, refuse_overwriting
from kivuko.cli.options import SEED
from kivuko.errors import UsageError
from kivuko.text import pluralize


@click.command("sample")
@click.argument("bitext", nargs=-1, required=True, metavar="CODE=SPEC...")
@click.option("--pairs", type=click.IntRange(min=1), required=True, help="How many, of all languages together.")
@click.option(
    "--temperature", type=click.FloatRange(min=1), default=5.0, show_default=True,
    help="1: in proportion to what there is; the higher, the more alike.",
)  # fmt: skip
@click.option("--seed", type=SEED, default=0, show_default=True, help="Chooses the sample.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder; one file per language in it.")
@click.option(
    "--compress", type=click.Choice(["gz", "zst", "bz2", "xz"]), help="Compress the files.  [default: they are plain]"
)
def sample(bitext: tuple[str, ...], pairs: int, temperature: float, seed: int, out: Path, compress: str | None) -> None:
    """Take a sample of several languages' parallel text, by temperature.

    A language with n pairs gets a share in proportion to n to the power of 1/T; no pair is taken twice, and what a
    language cannot fill goes to the others. Every file is read twice and never held in memory. The same seed gives the
    same sample; a smaller one lies within a larger one.

    \b
    Example:
      kivuko bitext sample sw=sw.tsv.gz so=so.tsv.gz --pairs 200000 --temperature 5 --out sampled
    """
    from kivuko.bitext import open_source
    from kivuko.bitext.sampling import count_ranks, quotas, sampled, tempered_shares
    from kivuko.bitext.writing import pair_writer
    from kivuko.cli.progress import out as screen
    from kivuko.cli.progress import reading_bar

    specs = _specs(bitext)
    ranks = {}
    for code, spec in specs.items():
        source = open_source(spec, code)
        with reading_bar(source, f"counting {code}") as bar:
            ranks[code] = count_ranks(source, seed, bar.show)
    counts = {code: found.pairs for code, found in ranks.items()}
    shares, taken = tempered_shares(counts, temperature), quotas(counts, pairs, temperature)
    suffix = f".tsv.{compress}" if compress else ".tsv"
    written = {code: out / f"{code}{suffix}" for code in specs if taken[code]}
    refuse_overwriting(list(specs.values()), list(written.values()))
    for code, place in written.items():
        source = open_source(specs[code], code)
        with pair_writer(place, code) as writer, reading_bar(source, f"sampling {code}") as bar:
            for texts, english in sampled(source, ranks[code], taken[code], bar.show):
                writer.write(texts, english)
    for code in specs:
        told = written.get(code, "nothing taken")
        screen.print(
            f"{code}: {taken[code]:,} of {pluralize(counts[code], 'pair')} ({shares[code]:.1%} by temperature): {told}",
            soft_wrap=True,
        )
    if sum(taken.values()) < pairs:
        screen.print(f"note: there are only {pluralize(sum(taken.values()), 'pair')}; all were taken.", soft_wrap=True)
    named = " ".join(shlex.quote(f"{code}={place}") for code, place in written.items())
    screen.print(f"Next: kivuko distill --bitext {named} --out my-model", soft_wrap=True)


def _specs(bitext: tuple[str, ...]) -> dict[str, str]:
    """Read CODE=SPEC; refuse what cannot be read twice."""
    specs: dict[str, str] = {}
    for word in bitext:
        code, equals, spec = word.partition("=")
        if not equals or not spec:
            raise UsageError(f"{word}: give CODE=SPEC, such as sw=sw.tsv.gz")
        code = other_language(code)
        if spec == "-":
            raise UsageError(f"{word}: a sample is read twice, which standard input cannot be; give a file")
        if code in specs:
            raise UsageError(f"{word}: {code} was named before; give each language once")
        specs[code] = spec
    return specs
