"""``kivuko harden``: make a model's image side withstand small changes of pixels, its vectors staying in place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kivuko.cli.options import SEED, sources_options
from kivuko.errors import ModelError, UsageError

if TYPE_CHECKING:
    from kivuko.perturbations.image import PixelTower
    from kivuko.training.harden import Hardening, HardeningNote
    from kivuko.training.harden_images import Images

_EPS, _STEPS = "8/255", 150  # of distill.harden.Hardening, which --help must not import
_SHIFTED = 0.9  # mean cosine with the old vectors below which an old index should not be used any more


@click.command("harden", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the hardened model.")
@click.option(
    "--images", "source_name", default="emoji", show_default=True, metavar="FOLDER",
    help="Images to harden on, no names needed: a folder, or emoji for the emoji world's.",
)  # fmt: skip
@click.option(
    "--eps", default=_EPS, show_default=True, help="Radius (L-inf, pixel scale 0-1) to harden against, such as 4/255."
)
@click.option("--steps", type=click.IntRange(min=1), default=_STEPS, show_default=True, help="Steps of training.")
@click.option("--batch-size", type=click.IntRange(min=2), default=128, show_default=True, help="Images per step.")
@click.option(
    "--learning-rate", type=click.FloatRange(0, 1, min_open=True),
    help="At its highest.  [default: 0.002 with batch normalization, 0.00001 without]",
)  # fmt: skip
@click.option("--seed", type=SEED, default=0, show_default=True)
@sources_options
def command(
    model: Path,
    out: Path,
    source_name: str,
    eps: str,
    steps: int,
    batch_size: int,
    learning_rate: float | None,
    seed: int,
    cldr: Path | None,
    font: Path | None,
) -> None:
    """Harden the image side of MODEL against small changes of pixels, without labels.

    MODEL is a model, an image tower's folder, or emoji for the tower that comes with Kivuko. The text side stays as
    it is, and vectors of clean images stay about where they were. A killed run goes on where it was: give the same
    command again.

    \b
    Examples:
      kivuko harden kivuko-demo/model --out hardened
      kivuko harden my-model --images my-images --eps 4/255 --out my-hardened-model
      kivuko harden emoji --out tower        then: kivuko distill ... --image-tower tower
    """
    import shutil

    from kivuko.cli.progress import out as screen
    from kivuko.datasets.emoji import shipped_image_tower
    from kivuko.encoders.model import has_images, load_encoder, read_about
    from kivuko.perturbations.image import PixelTower
    from kivuko.training.harden import (
        Hardening,
        describe_hardening,
        hardening_key,
        read_hardening,
        refuse_not_hardened,
        save_hardened,
        stored_like,
    )

    settings = Hardening(_radius(eps), steps, seed, batch_size, learning_rate=learning_rate)
    source = shipped_image_tower() if str(model) == "emoji" and not model.exists() else model
    refuse_not_hardened(out, source)
    about, stored = read_about(source), load_encoder(source)
    if not has_images(stored):
        raise ModelError(f"{source}: encodes text only; there is no image side to harden.")
    before = stored_like(stored, stored).float()
    images = _images(source_name, PixelTower(before), seed, cldr, font)
    note = read_hardening(out)
    if note is not None and note.key == hardening_key(before, images, settings):
        screen.print(f"{out}: nothing to do: made before", soft_wrap=True)
    else:
        checkpoints = out.with_name(f"{out.name}.hardening")
        after = stored_like(_train(before, images, settings, checkpoints), stored)
        name = source_name if source_name == "emoji" else Path(source_name).name
        note = describe_hardening(before, stored_like(after, after).float(), images, settings, name)
        save_hardened(source, out, after, note, _card(about, note))
        shutil.rmtree(checkpoints, ignore_errors=True)
    for line in _outcome(note):
        screen.print(f"{out}: {line}", soft_wrap=True)


def _radius(text: str) -> float:
    """Read a radius such as 8/255 or 0.03."""
    from fractions import Fraction

    from kivuko.perturbations.spec import Number, read_value

    radii = Number("eps", Fraction(8, 255), 0, 1, "a radius above 0, up to 1, such as 8/255")
    radius = read_value(radii, text, "harden")
    if not radius:
        raise UsageError("--eps 0: there is nothing to harden against; give a radius above 0, such as 8/255.")
    return float(radius)


def _images(source_name: str, tower: PixelTower, seed: int, cldr: Path | None, font: Path | None) -> Images:
    """Take the images of ``--images``, saying what was left out of a folder."""
    from kivuko.cli.data import load_world
    from kivuko.cli.progress import console
    from kivuko.training.harden_images import emoji_images, folder_images

    if source_name == "emoji":
        return emoji_images(load_world((), cldr, font), tower)
    images = folder_images(Path(source_name), tower, seed)
    for line in images.left_out[:5]:
        console.print(line, soft_wrap=True)
    if images.left_out:
        console.print(f"{source_name}: {len(images.left_out):,} files left out, which are no images.", soft_wrap=True)
    if images.beyond:
        console.print(f"{source_name}: {len(images):,} images are drawn; memory holds no more.", soft_wrap=True)
    return images


def _train(before: Any, images: Images, settings: Hardening, checkpoints: Path) -> Any:
    """Harden with a progress bar; a log gets a line now and then instead."""
    from kivuko.cli.progress import bars, console
    from kivuko.training.harden import harden

    with bars() as progress:
        task = progress.add_task("hardening", total=settings.steps, figures="")

        def stepped(step: int, steps: int, figures: dict[str, float]) -> None:
            shown = f"loss {figures['loss']:.3f} cosine under attack {figures['cosine']:.3f}"
            progress.update(task, completed=step, figures=shown)
            if not console.is_terminal and (step % 50 == 0 or step == steps):
                console.print(f"hardening: step {step}/{steps} · {shown}", soft_wrap=True)

        return harden(before, images, settings, checkpoints, stepped)


def _outcome(note: HardeningNote) -> list[str]:
    """Say what came of it: how far clean vectors moved, and what an attack does before and after."""
    still = "an index of the old vectors stays about valid" if note.clean_cosine >= _SHIFTED else "make the index anew"
    return [
        f"clean images lie at a mean cosine of {note.clean_cosine:.3f} with their old vectors (least "
        f"{note.lowest_clean_cosine:.3f}): {still}.",
        f"perturbed within {_levels(note)}, {note.kept_after:.0%} of {note.attacked} images are nearest to their own "
        f"old vector; {note.kept_before:.0%} were before.",
    ]


def _levels(note: HardeningNote) -> str:
    return f"{float(note.settings['eps'] or 0) * 255:g}/255"


def _card(about: Any, note: HardeningNote) -> str:
    """Return the model card: the model's own, or a short one for an image tower, and what the hardening was."""
    import json

    from kivuko.encoders.model_card import model_card

    head = model_card(about) if about is not None else "# Hardened image tower\n"
    return "\n".join(
        [
            head,
            "## Hardening",
            "",
            f"The image side was fine-tuned by `kivuko harden` (Kivuko {note.kivuko}) to withstand small changes of",
            "pixels, without labels: images, perturbed as badly as was found, are pulled to where the original model",
            "puts them clean (FARE, Schlarmann et al. 2024, arXiv 2402.12336), and are kept apart by a softmax over",
            "the original vectors of all images.",
            "",
            f"- images: {note.images:,} ({note.source}); radius {_levels(note)}, L-inf",
            f"- settings: `{json.dumps(note.settings)}`",
            *(f"- {line}" for line in _outcome(note)),
            "",
        ]
    )
