"""``kivuko.harden``: make a model's image side robust to small changes of pixels, in one call."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from kivuko.datasets.emoji.sources import shipped_image_tower
from kivuko.errors import DataError, ModelError, check_number, check_path, check_seed, check_type
from kivuko.files import HARDENING_FILE, folder_beside, refuse_foreign, refuse_unreadable
from kivuko.perturbations.catalog import Number, read_value

if TYPE_CHECKING:
    from kivuko.encoders.model import Model


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
        The saved model, loaded. ``kivuko.training.adversarial.read_hardening(out)`` returns its measured effect.

    Raises:
        KivukoError: an argument, a file or a model cannot be used, the model encodes no images, or ``out`` holds
            something else than a hardened model; the message is one line.

    >>> import kivuko
    >>> model = kivuko.harden("my-model", "hardened", images="photos", steps=1, batch_size=2, progress=False)
    >>> model.encode_image(["photos/cat.png"]).shape
    (1, 384)
    """
    folder: Path = check_path("out", out, "a folder")
    name = check_path("model", getattr(model, "path", model), "a model's folder, a model loaded from one, or emoji")
    source = shipped_image_tower() if str(name) == "emoji" and not name.exists() else name
    radius, seed = _radius(eps), check_seed(seed)
    steps = check_number("steps", steps, least=1, whole=True)
    batch_size = check_number("batch_size", batch_size, least=2, whole=True)
    learning_rate = check_number("learning_rate", learning_rate, above=0, most=1, optional=True)
    if str(check_path("images", images, "a folder or emoji")) != "emoji" and not Path(images).is_dir():
        raise DataError(f"{images}: no such folder of images.")
    refuse_unreadable(Path(images))
    check_type("device", device, str | None, "torch's name of a device, such as cpu")
    check_type("progress", progress, bool | None, "True, False or None")
    if not source.is_dir():
        raise ModelError(f"{source}: no such model folder. 'kivuko demo' and 'kivuko distill' make one.")
    refuse_not_hardened(folder, source)

    from kivuko.training.adversarial import Hardening, harden_model

    settings = Hardening(radius, steps, seed, batch_size, learning_rate=learning_rate)
    return harden_model(
        source, folder, images, settings, device=device, progress=progress, cldr=cldr, font=font
    )  # fmt: skip


def refuse_not_hardened(out: Path, source: Path) -> None:
    """Raise ModelError if ``out`` is the source, or holds something else than a hardened model."""
    if out.exists() and out.samefile(source):
        raise ModelError(f"{out}: is the model that is to be hardened, which stays as it is. Choose another --out.")
    refuse_foreign(out, HARDENING_FILE, "a hardened model")
    folder_beside(out, "hardening")


def _radius(eps: str | float) -> float:
    if isinstance(eps, str):
        radii = Number("eps", Fraction(8, 255), 0, 1, "a radius above 0, up to 1, such as 8/255")
        eps = float(read_value(radii, eps, "harden"))
    return float(check_number("eps", eps, above=0, most=1))
