"""``kivuko.harden``: make a model's image side robust to small changes of pixels, in one call."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kivuko.errors import CorruptFileError, DataError, ModelError, check_number, check_path, check_seed, check_type
from kivuko.files import MODEL_FILE, atomic_path, refuse_foreign
from kivuko.progress import TrainingProgress, bars, note, progress_bar

if TYPE_CHECKING:
    from kivuko.encoders.model import Model
    from kivuko.perturbations.image.pixel_tower import PixelTower
    from kivuko.training.adversarial import HardeningNote, Images

_NOTE = "hardening.json"
_SHIFTED = 0.9  # mean cosine with the old vectors below which an index of them should be rebuilt


def harden(
    model: Model | str | Path,
    out: str | Path,
    *,
    images: str | Path = "emoji",
    eps: str | float = "8/255",
    steps: int = 150,
    batch_size: int = 128,
    learning_rate: float | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool | None = None,
    cldr: str | Path | None = None,
    font: str | Path | None = None,
) -> Model:
    """Fine-tune the image side of a model on adversarial images, without labels, and save the result.

    The text side stays as it is, and vectors of clean images hardly move. A killed run resumes from ``OUT.hardening``
    when the call is made again. If ``out`` already holds the result of this very call, nothing is trained.

    Args:
        model: a model's or image tower's folder, a model loaded from a folder, or "emoji" for the shipped image tower.
        out: folder for the hardened model; must not be the model's own.
        images: a folder of images (no names needed), or "emoji" for those of the emoji world.
        eps: radius (L-inf, pixel scale 0-1) to harden against: a number above 0, up to 1, or text such as "4/255".
        steps: of training.
        batch_size: images per step, at least 2.
        learning_rate: at its highest; None: 0.002 for networks with batch normalization, 0.00001 without.
        seed: drives everything random, 0 or more.
        device: such as "cpu" or "cuda:0". None: the fastest there is.
        progress: whether to show progress on standard error; None: where that is a terminal.
        cldr, font: where the emoji world is built from; None: the system's folders.

    Returns:
        The saved model, loaded. ``kivuko.training.harden.read_hardening(out)`` returns its measured effect.

    Raises:
        KivukoError: an argument, a file or a model cannot be used, the model encodes no images, or ``out`` holds
            something else than a hardened model; the message is one line.

    >>> import kivuko
    >>> model = kivuko.harden("my-model", "hardened", images="photos", steps=1, batch_size=2, progress=False)
    >>> model.encode_image(["photos/cat.png"]).shape
    (1, 384)
    """
    from kivuko.datasets.emoji.sources import shipped_image_tower

    folder: Path = check_path("out", out, "a folder")
    name = check_path("model", getattr(model, "path", model), "a model's folder, a model loaded from one, or emoji")
    source = shipped_image_tower() if str(name) == "emoji" and not name.exists() else name
    radius, seed = _radius(eps), check_seed(seed)
    steps = check_number("steps", steps, least=1, whole=True)
    batch_size = check_number("batch_size", batch_size, least=2, whole=True)
    learning_rate = check_number("learning_rate", learning_rate, above=0, most=1, optional=True)
    if str(check_path("images", images, "a folder or emoji")) != "emoji" and not Path(images).is_dir():
        raise DataError(f"{images}: no such folder of images.")
    check_type("device", device, str | None, "torch's name of a device, such as cpu")
    check_type("progress", progress, bool | None, "True, False or None")
    if not source.is_dir():
        raise ModelError(f"{source}: no such model folder. 'kivuko demo' and 'kivuko distill' make one.")
    refuse_not_hardened(folder, source)

    from kivuko.encoders.loading import choose_device
    from kivuko.encoders.model import has_images, load_encoder, load_model, read_about
    from kivuko.perturbations.image.pixel_tower import PixelTower
    from kivuko.training.adversarial import Hardening, describe_hardening, harden_encoder, hardening_key, stored_like

    place = choose_device(device)
    settings = Hardening(radius, steps, seed, batch_size, learning_rate=learning_rate)
    stored = load_encoder(source)
    if not has_images(stored):
        raise ModelError(f"{source}: encodes text only; there is no image side to harden.")
    before = stored_like(stored, stored).float()
    with bars(progress) as display:
        pixels = _load_images(images, PixelTower(before), seed, cldr, font)
        done = read_hardening(folder)
        if done is not None and done.key == hardening_key(before, pixels, settings):
            note(f"{folder}: nothing to do: made before")
            return load_model(folder, device=device)
        checkpoints = folder.with_name(f"{folder.name}.hardening")
        watch = TrainingProgress(display, "hardening", batch_size, "images")
        hardened = harden_encoder(before, pixels, settings, checkpoints, watch.stepped, place)
        after = stored_like(hardened, stored)
        label = "emoji" if str(images) == "emoji" else Path(images).name
        effect = describe_hardening(before, stored_like(after, after).float(), pixels, settings, label)
        save_hardened(source, folder, after, effect, _card(read_about(source), effect))
        shutil.rmtree(checkpoints, ignore_errors=True)
    return load_model(folder, device=device)


def hardening_summary(effect: HardeningNote) -> list[str]:
    """Return lines on the effect: how far clean vectors moved, and what an attack does before and after."""
    index = "an index of the old vectors stays about valid" if effect.clean_cosine >= _SHIFTED else "rebuild the index"
    return [
        f"clean images have a mean cosine of {effect.clean_cosine:.3f} with their old vectors (least "
        f"{effect.lowest_clean_cosine:.3f}): {index}.",
        f"perturbed within {_levels(effect)}, {effect.kept_after:.0%} of {effect.attacked} images are nearest to their "
        f"own old vector; {effect.kept_before:.0%} were before.",
    ]


def _radius(eps: str | float) -> float:
    from kivuko.perturbations.catalog import Number, read_value

    if isinstance(eps, str):
        radii = Number("eps", Fraction(8, 255), 0, 1, "a radius above 0, up to 1, such as 8/255")
        eps = float(read_value(radii, eps, "harden"))
    return float(check_number("eps", eps, above=0, most=1))


def _load_images(
    source: str | Path, tower: PixelTower, seed: int, cldr: str | Path | None, font: str | Path | None
) -> Images:
    """Load the images to harden on; what is left out of a folder is noted."""
    from kivuko.training.adversarial import emoji_images, folder_images

    if str(source) == "emoji":
        from kivuko.datasets.emoji.world import emoji_world

        with progress_bar("drawing emoji") as report:
            return emoji_images(emoji_world((), cldr=cldr, font=font, progress=report), tower)
    images = folder_images(Path(source), tower, seed)
    for line in images.left_out[:5]:
        note(line)
    if images.left_out:
        note(f"{source}: {len(images.left_out):,} files left out, which are no images.")
    if images.beyond:
        note(f"{source}: {len(images):,} images are drawn; memory holds no more.")
    return images


def _levels(effect: HardeningNote) -> str:
    return f"{float(effect.settings['eps'] or 0) * 255:g}/255"


def _card(about: Any, effect: HardeningNote) -> str:
    from kivuko.encoders.model_card import model_card

    head = model_card(about) if about is not None else "# Hardened image tower\n"
    return "\n".join(
        [
            head,
            "## Hardening",
            "",
            f"The image side was fine-tuned by `kivuko harden` (Kivuko {effect.kivuko}) to withstand small changes of",
            "pixels, without labels: images, perturbed for the worst, are pulled to where the original model",
            "puts them clean (FARE, Schlarmann et al. 2024, arXiv 2402.12336), and are kept apart by a softmax over",
            "the original vectors of all images.",
            "",
            f"- images: {effect.images:,} ({effect.source}); radius {_levels(effect)}, L-inf",
            f"- settings: `{json.dumps(effect.settings)}`",
            *(f"- {line}" for line in hardening_summary(effect)),
            "",
        ]
    )


def save_hardened(source: Path, out: Path, model: Any, effect: HardeningNote, card: str) -> None:
    """Write a hardened model, whole or not at all, with its source's extra files but no evaluations.

    Its ``run`` says that it was hardened, so ``distill`` does not take it for its own result.
    """
    from kivuko.encoders.known_words import WORDS_FILE
    from kivuko.encoders.model import quiet
    from kivuko.encoders.spelling import SPELLING_FILE, without_reading

    refuse_not_hardened(out, source)
    with atomic_path(out) as temporary, quiet():
        without_reading(copy.deepcopy(model)).save(str(temporary), create_model_card=False)
        if (source / MODEL_FILE).is_file():
            about = json.loads((source / MODEL_FILE).read_text(encoding="utf-8"))
            about["run"] = f"{about['run']} hardened:{effect.key[:24]}"
            (temporary / MODEL_FILE).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8")
        for extra in ("token_mean.safetensors", SPELLING_FILE, WORDS_FILE):
            if (source / extra).is_file():
                shutil.copyfile(source / extra, temporary / extra)
        (temporary / _NOTE).write_text(json.dumps(asdict(effect), indent=1) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(card, encoding="utf-8")


def refuse_not_hardened(out: Path, source: Path) -> None:
    """Raise ModelError if ``out`` is the source, or holds something else than a hardened model."""
    if out.exists() and out.resolve() == source.resolve():
        raise ModelError(f"{out}: is the model that is to be hardened, which stays as it is. Choose another --out.")
    refuse_foreign(out, _NOTE, "a hardened model")


def read_hardening(folder: Path | str) -> HardeningNote | None:
    """Read the settings and the effect of a model's hardening from its folder; None if it was not hardened."""
    from kivuko.training.adversarial import HardeningNote

    file = Path(folder) / _NOTE
    if not file.is_file():
        return None
    try:
        effect = HardeningNote(**json.loads(file.read_text(encoding="utf-8")))
        if not isinstance(effect.key, str) or not isinstance(effect.settings, dict):
            raise TypeError("key or settings")
    except (OSError, ValueError, TypeError, RecursionError) as problem:
        raise CorruptFileError(
            f"{file}: corrupted or of another version. Delete the folder and harden again."
        ) from problem
    return effect
