"""``kivuko distill``: teach a multilingual student from parallel sentences."""

from pathlib import Path
from typing import Any

import click

from kivuko.cli.options import (
    CODE,
    DEVICE,
    PATH,
    SEED,
    Command,
    Several,
    Share,
    config_option,
    sources_options,
    split_sources,
)
from kivuko.cli.output import show

POSITIVE = Share(0, min_open=True)


@click.command("distill", cls=Command)
@click.option(
    "-b", "--bitext", "sources", cls=Several, follows=CODE + "=.+", required=True, metavar="CODE=FILE",
    help="Sentences and their English: TSV, TMX, JSONL, Parquet, gettext PO or MO, XLIFF, TBX, Moses "
    "(FILE,ENGLISH_FILE), a Hugging Face data set; compressed or not. Or CODE=emoji for the emoji world's, "
    "CODE=tico19:PATH, flores:PATH or tatoeba:PATH, or a dictionary, CODE=dict:FILE.",
)  # fmt: skip
@click.option("--out", type=PATH, required=True, help="Folder for the model.")
@click.option("--recipe", default="optical-words", show_default=True, help="A recipe's name, or a .toml file.")
@click.option(
    "--teacher", default="all-MiniLM-L6-v2", show_default=True,
    help="Hub id or folder of the English teacher: a CLIP or SigLIP, a text encoder, a ColBERT.",
)  # fmt: skip
@click.option(
    "--teacher-prompt", metavar="TEXT",
    help="Put before every English text, as E5 wants 'query: '.  [default: the teacher's own, if it has one]",
)  # fmt: skip
@click.option(
    "--student",
    default="auto",
    show_default=True,
    help="static (a table of word vectors), static+ENCODER (a multilingual encoder also reads unknown words), small (a "
    "small transformer), or an encoder to fine-tune. auto: static+multilingual-e5-small if it is installed and the "
    "recipe makes word vectors, else static; $KIVUKO_STUDENT overrides it.",
)
@click.option(
    "--english", type=PATH, metavar="FILE",
    help="English text, one sentence per line, or a WordNet folder: a pretrained student's projection is fitted to it.",
)  # fmt: skip
@click.option(
    "--image-tower", metavar="NAME|FOLDER",
    help="none, emoji, or an image tower of the teacher's space.  [default: the teacher's own; emoji with "
    "all-MiniLM-L6-v2; else none]",
)  # fmt: skip
@click.option(
    "--multi-vector", type=PATH, metavar="DIR",
    help="Also write a multi-vector encoder here: late interaction of tokens, queries to English documents.",
)  # fmt: skip
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--steps", type=click.IntRange(min=1), help="Steps of training.  [default: the recipe's]")
@click.option("--epochs", type=POSITIVE, help="Length of the training in passes over the pairs, in place of --steps.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Pairs per step.  [default: the recipe's]")
@click.option("--learning-rate", type=POSITIVE, help="At its highest.  [default: the recipe's]")
@click.option(
    "--accumulation",
    type=click.IntRange(min=1),
    help="Batches per step, whose gradients add up.  [default: the recipe's]",
)
@click.option(
    "--patience", type=click.IntRange(min=0),
    help="Stop after so many validations without a better score; 0: never.  [default: the recipe's]",
)  # fmt: skip
@click.option(
    "--window", type=click.IntRange(min=1000), metavar="PAIRS",
    help="Read larger files while training, so many pairs at a time.  [default: everything first]",
)  # fmt: skip
@click.option(
    "--log-to", type=click.Choice(["tensorboard", "trackio", "wandb"]), help="Send the learning curve to a tracker."
)
@DEVICE
@click.option("--vocabulary-size", type=click.IntRange(100, 1_000_000), default=16000, show_default=True)
@click.option(
    "--validation-share", type=Share(0, 0.5, min_open=True), default=0.05, show_default=True,
    help="Share of the English sentences of files held out to select on.",
)  # fmt: skip
@sources_options
@config_option
def command(sources: tuple[str, ...], out: Path, **options: Any) -> None:
    """Teach a multilingual student from parallel sentences.

    A killed run resumes when the same command is given again.

    \b
    Examples:
      kivuko distill --bitext sw=sw.tsv so=so.tsv --out my-model
      kivuko distill --bitext sw=emoji mr=emoji --recipe mse --out baseline
      kivuko distill --bitext sw=sw.tsv sw=dict:/usr/share/dictd --out my-model
      kivuko distill --bitext sw=tico19:data/tico19 mr=tico19:data/tico19 --out my-model
      kivuko distill --bitext sw=sw.tsv --out my-model --multi-vector my-late-interaction
      kivuko distill --bitext sw=sw.tsv --out my-model --epochs 30 --patience 3 --log-to tensorboard
      kivuko distill --bitext sw=sw.tsv --out my-model --student multilingual-e5-small --english english.txt
      kivuko distill --bitext sw=en-sw.tmx --teacher openai/clip-vit-base-patch32 --student xlm-roberta-base --out clip
    """
    import kivuko

    model = kivuko.distill(split_sources(sources), out, **options)
    about = model.about
    assert about is not None
    score = f"validation MRR {about.validation_score:.3f} (text to English text)"
    show(f"{out}: student {about.student}; step {about.best_step:,} was best, {score}")
    if model.has_images:
        show(f'Next: kivuko evaluate {out}   or   kivuko search {out} "..."')
