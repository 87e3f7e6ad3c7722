"""``kivuko demo``: the whole route on the emoji world."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kivuko.cli.options import PATH, SEED, Command, languages_option, sources_options
from kivuko.cli.output import show

if TYPE_CHECKING:
    from kivuko.datasets.emoji.world import EmojiWorld


@click.command("demo", cls=Command)
@click.option("--out", type=PATH, default=Path("kivuko-demo"), show_default=True)
@languages_option
@click.option(
    "--student", default="static", show_default=True, metavar="static[+ENCODER]",
    help="static+multilingual-e5-small: that encoder reads unknown words; better, slower, and needs kivuko[e5].",
)  # fmt: skip
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option(
    "--steps", type=click.IntRange(min=1), help="Steps of training, for a quicker look.  [default: the recipes']"
)
@sources_options
def command(
    out: Path,
    languages: tuple[str, ...],
    student: str,
    seed: int,
    steps: int | None,
    cldr: Path | None,
    font: Path | None,
) -> None:
    """Run everything on embedded data: distill, evaluate, search, in a few minutes on two cores.

    \b
    Writes OUT/model (load it with SentenceTransformer), OUT/baseline-mse, OUT/records.jsonl and OUT/examples.png.
    Measures the names of test emoji and, in a table of its own, everyday phrases that are never trained on.
    Examples:
      kivuko demo --out /tmp/demo --languages sw so
      kivuko demo --out demo-large --student static+multilingual-e5-small
    """
    from kivuko.cli.data import world_table
    from kivuko.datasets.emoji.phrases import PhraseSet
    from kivuko.evaluation.tables import (
        ceiling_line,
        comparison_table,
        evaluation_tables,
        phrases_line,
        results_table,
    )
    from kivuko.progress import note
    from kivuko.studies.demo import RECIPES, DemoFiles, run_demo

    def ready(world: EmojiWorld) -> None:
        show(world_table(world))
        if steps is None:
            minutes = "three" if student == "static" else "six"
            note(f"· about {minutes} minutes on two idle cores")

    started, files = time.monotonic(), DemoFiles.below(out)
    world, records = run_demo(
        out, languages, student=student, seed=seed, steps=steps, cldr=cldr, font=font, ready=ready
    )
    names = [one for one in records if one.dataset != PhraseSet.name]
    for subset in ("headline", "compositional", "lexical"):
        show(results_table(names, RECIPES[0], subset), "")
    show(comparison_table(names))
    if line := ceiling_line(names):
        show(line)
    phrases = [one for one in records if one.dataset == PhraseSet.name and one.objective != RECIPES[1]]
    for part in (*evaluation_tables(phrases), phrases_line(phrases)):
        if part:
            show("", part)
    sample = "paka mweusi" if "sw" in languages else world.queries(languages[0], "train")[0].text
    # The hints must work as they are, also where the virtual environment is not active.
    called = Path(sys.argv[0])
    on_path = shutil.which("kivuko") is not None or called.name != "kivuko"
    program = "kivuko" if on_path else shlex.quote(str(called))
    show(f"\nDone in {time.monotonic() - started:.0f} s. Look at {files.image}, then try:")
    for line in (
        f"{program} search {shlex.quote(str(files.model))} {shlex.quote(sample)}",
        f"{program} evaluate {shlex.quote(str(files.model))} --languages {' '.join(languages)}",
        f"{program} attack {shlex.quote(str(files.model))} --attack typo:edits=2 --languages {' '.join(languages)}",
        f"{program} distill --bitext sw=your-pairs.tsv --out my-model",
    ):
        show(f"  {line}")
    show("\nThe search page, on what was just built:")
    for line in (
        f"{program} index {shlex.quote(str(files.model))} --dataset emoji --out {shlex.quote(str(files.search_index))}",
        f"{program} serve {shlex.quote(str(files.search_index))}",
    ):
        show(f"  {line}")
