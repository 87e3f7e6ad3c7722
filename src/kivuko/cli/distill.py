"""``kivuko distill``: teach a multilingual student from parallel sentences."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kivuko.cli.options import CODE, SEED, Command, Several, Share, sources_options
from kivuko.errors import DataError, UsageError

if TYPE_CHECKING:
    from kivuko.bitext import Bitext
    from kivuko.encoders.teacher import TextTeacher

_FEW_PAIRS = 1000  # per language; below it, queries fail unless their words are in the pairs
_FEW_HELD_OUT = 50  # below which selection is a matter of chance


@click.command("distill", cls=Command)
@click.option(
    "-b", "--bitext", "sources", cls=Several, follows=CODE + "=.+", required=True, metavar="CODE=FILE",
    help="Sentences and their English: TSV, TMX, JSONL, Parquet, Moses (FILE,ENGLISH_FILE), a Hugging Face data set; "
    "compressed or not. Or CODE=emoji for the emoji world's.",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the model.")
@click.option("--recipe", default="optical", show_default=True, help="A recipe's name, or a .toml file.")
@click.option(
    "--teacher",
    default="all-MiniLM-L6-v2",
    show_default=True,
    help="Hub id or folder of the English teacher: a CLIP or SigLIP, a text encoder, a ColBERT.",
)
@click.option(
    "--teacher-prompt", metavar="TEXT",
    help="Put before every English text, as E5 wants 'query: '.  [default: the teacher's own, if it has one]",
)  # fmt: skip
@click.option("--student", default="static", show_default=True, help="static, small, or a Hugging Face encoder.")
@click.option(
    "--image-tower", metavar="NAME|FOLDER",
    help="none, emoji, or an image tower of the teacher's space.  [default: the teacher's own; emoji with "
    "all-MiniLM-L6-v2; else none]",
)  # fmt: skip
@click.option(
    "--multi-vector", type=click.Path(path_type=Path), metavar="DIR",
    help="Also write a multi-vector encoder here: late interaction of tokens, queries to English documents.",
)  # fmt: skip
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), help="Steps of training.  [default: the recipe's]")
@click.option("--vocabulary-size", type=click.IntRange(100, 1_000_000), default=16000, show_default=True)
@click.option(
    "--validation-share", type=Share(0, 0.5, min_open=True), default=0.05, show_default=True,
    help="Share of the English sentences of files held out to select on.",
)  # fmt: skip
@sources_options
def command(
    sources: tuple[str, ...],
    out: Path,
    recipe: str,
    teacher: str,
    teacher_prompt: str | None,
    student: str,
    image_tower: str | None,
    multi_vector: Path | None,
    seed: int,
    steps: int | None,
    vocabulary_size: int,
    validation_share: float,
    cldr: Path | None,
    font: Path | None,
) -> None:
    """Teach a multilingual student from parallel sentences.

    A killed run goes on where it was: give the same command again.

    \b
    Examples:
      kivuko distill --bitext sw=sw.tsv so=so.tsv --out my-model
      kivuko distill --bitext sw=emoji mr=emoji --recipe mse --out baseline
      kivuko distill --bitext sw=sw.tsv --out my-model --multi-vector my-late-interaction
      kivuko distill --bitext sw=en-sw.tmx --teacher openai/clip-vit-base-patch32 --student xlm-roberta-base --out clip
    """
    from kivuko.cli.progress import TrainingProgress, bars
    from kivuko.cli.progress import out as screen
    from kivuko.encoders.model import load_encoder, quiet, read_about, refuse_foreign_folder
    from kivuko.encoders.model_card import model_card
    from kivuko.encoders.multi_vector import save_multi_vector
    from kivuko.encoders.teacher import load_teacher
    from kivuko.training.distill import Job, distill_to_folder
    from kivuko.training.recipe import load_recipe

    chosen = load_recipe(recipe)
    if steps:
        chosen = chosen.with_schedule(steps=steps)
    refuse_foreign_folder(out)
    refuse_multi_vector(multi_vector, out)
    training, held_out = read_bitext(sources, validation_share, seed, cldr, font)
    with quiet():
        english = load_teacher(teacher, teacher_prompt)
        tower = open_image_tower(image_tower, english)
    job = Job(
        training, held_out, chosen, student, vocabulary_size, seed,
        distractors=tuple(dict.fromkeys(pair.english for pair in training.pairs))[:20_000],
    )  # fmt: skip
    stood = read_about(out) is not None
    with bars() as progress:
        watch = TrainingProgress(progress, chosen.name, chosen.schedule.batch_size)
        about, trained = distill_to_folder(
            job, english, tower, out, lambda about: model_card(about, (), chosen.description), watch
        )
    state = f"step {about.best_step} of {chosen.schedule.steps} was best" if trained else "nothing to do: made before"
    screen.print(f"{out}: {state}, validation MRR {about.validation_score:.3f} (text to English text)", soft_wrap=True)
    if trained and stood:
        told = "the model that stood there was made otherwise; it is replaced, its evaluation with it."
        screen.print(f"{out}: {told}", soft_wrap=True)
    screen.print(f"trained on {len(training):,} pairs, selected on {len(held_out):,} held-out pairs.")
    if len(held_out) < _FEW_HELD_OUT:
        told = "so few hardly tell one step from another; give more pairs, or a larger --validation-share."
        screen.print(f"note: {len(held_out):,} held out: {told}", soft_wrap=True)
    if len(training) < _FEW_PAIRS * len(training.languages()):
        screen.print(f"Fewer than {_FEW_PAIRS:,} pairs per language: expect little beyond the very words they hold.")
    if multi_vector is not None:
        save_multi_vector(multi_vector, load_encoder(out), english, about=about)
        screen.print(f"{multi_vector}: multi-vector encoder, queries by {about.student}, documents by {english.name}")
    if tower is not None:
        screen.print(f'Next: kivuko evaluate {out}   or   kivuko search {out} "..."')


def refuse_multi_vector(folder: Path | None, out: Path) -> None:
    """Raise KivukoError if ``--multi-vector`` cannot be written there, before anything is trained."""
    from kivuko.encoders.multi_vector import refuse_foreign_multi_vector

    if folder is None:
        return
    place, model = Path(os.path.realpath(folder)), Path(os.path.realpath(out))
    if place == model or place in model.parents or model in place.parents:
        raise UsageError(f"--multi-vector {folder}: lies in --out {out}, or around it; name a folder of its own.")
    if place == model.with_name(f"{model.name}.training"):
        raise UsageError(f"--multi-vector {folder}: training keeps its checkpoints there; choose another folder.")
    refuse_foreign_multi_vector(folder)


def read_bitext(
    sources: tuple[str, ...], share: float, seed: int, cldr: Path | None, font: Path | None
) -> tuple[Bitext, Bitext]:
    """Return (training pairs, held-out pairs) of all sources, saying what was left out of each file."""
    from kivuko.bitext import concatenate, hold_out, report_copied, report_dropped
    from kivuko.bitext import read_bitext as read_file
    from kivuko.cli.data import load_world
    from kivuko.cli.progress import console
    from kivuko.languages import language

    files: list[tuple[str, str]] = []
    embedded: list[str] = []
    for source in sources:
        code, equals, place = source.partition("=")
        if not equals or not place:
            raise UsageError(f"--bitext {source}: write it as CODE=FILE, for example sw=sw.tsv.")
        code = language(code).code
        if place == "emoji":
            embedded.append(code)
        else:
            files.append((code, place))
    training, held_out = [], []
    for code, path in files:
        bitext = read_file(path, code)
        for note in (report_dropped(bitext), report_copied(bitext)):
            if note:
                console.print(f"{path}: {note}", soft_wrap=True)
        training.append(bitext)
    parts = []
    if training:
        whole = concatenate(training)
        if len({pair.english.casefold() for pair in whole.pairs}) < 2:
            names = ", ".join(path for _, path in files)
            raise DataError(
                f"{names}: a single English sentence, but one is needed to train on and another to select on; "
                "give more bitext."
            )
        kept, aside = hold_out(whole, share, seed)
        parts, held_out = [kept], [aside]
    if embedded:
        world = load_world(tuple(embedded), cldr, font)
        parts.append(world.bitext(embedded, "train"))
        held_out.append(world.bitext(embedded, "validation", keywords=False))
    return concatenate(parts), concatenate(held_out)


def open_image_tower(name: str | None, teacher: TextTeacher) -> Any:
    """Open the image tower that ``--image-tower`` names, or the teacher's own; None for a model of text only."""
    from kivuko.datasets.emoji import shipped_image_tower
    from kivuko.encoders.image_tower import load_image_tower
    from kivuko.encoders.teacher import DEFAULT_TEACHER

    if name is None and teacher.has_images:
        name = teacher.source
    elif name is None:
        name = "emoji" if teacher.source == DEFAULT_TEACHER else "none"
    if name == "none":
        return None
    return load_image_tower(shipped_image_tower() if name == "emoji" else name, teacher.dim)
