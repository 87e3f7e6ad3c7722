"""``kivuko harden``: make a model's image side robust to small changes of pixels."""

from pathlib import Path
from typing import Any

import click

from kivuko.cli.options import DEVICE, PATH, SEED, Share, config_option, sources_options
from kivuko.cli.output import show


@click.command("harden")
@click.argument("model", type=PATH)
@click.option("--out", type=PATH, required=True, help="Folder for the hardened model.")
@click.option(
    "--images", default="emoji", show_default=True, metavar="FOLDER",
    help="Images to harden on, no names needed: a folder, or emoji for the emoji world's.",
)  # fmt: skip
@click.option(
    "--eps", default="8/255", show_default=True,
    help="Radius (L-inf, pixel scale 0-1) to harden against, such as 4/255.",
)  # fmt: skip
@click.option("--steps", type=click.IntRange(min=1), default=150, show_default=True, help="Steps of training.")
@click.option("--batch-size", type=click.IntRange(min=2), default=128, show_default=True, help="Images per step.")
@click.option(
    "--learning-rate", type=Share(0, 1, min_open=True),
    help="At its highest.  [default: 0.002 with batch normalization, 0.00001 without]",
)  # fmt: skip
@click.option("--seed", type=SEED, default=0, show_default=True)
@DEVICE
@sources_options
@config_option
def command(model: Path, out: Path, **options: Any) -> None:
    """Harden the image side of MODEL against small changes of pixels, without labels.

    MODEL is a model, an image tower's folder, or emoji for the tower that comes with Kivuko. The text side stays as
    it is, and vectors of clean images hardly move. A killed run resumes when the same command is given again.

    \b
    Examples:
      kivuko harden kivuko-demo/model --out hardened
      kivuko harden my-model --images my-images --eps 4/255 --out my-hardened-model
      kivuko harden emoji --out tower        then: kivuko distill ... --image-tower tower
    """
    import kivuko
    from kivuko.training.adversarial import hardening_summary, read_hardening

    kivuko.harden(model, out, **options)
    effect = read_hardening(out)
    assert effect is not None
    for line in hardening_summary(effect):
        show(f"{out}: {line}")
