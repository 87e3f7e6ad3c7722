"""Adversarial fine-tuning of an image tower, without labels and without moving its vectors.

FARE (arXiv 2402.12336), with a softmax over all images' original vectors and fast inner attacks (arXiv 2001.03994).
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import kivuko
from kivuko.datasets.emoji.augment import Augmentation, augment, premultiplied
from kivuko.datasets.emoji.world import EmojiWorld, emoji_world
from kivuko.encoders.images import open_image
from kivuko.encoders.known_words import WORDS_FILE
from kivuko.encoders.loading import choose_device, hash_tensors
from kivuko.encoders.model import READERS, Model, has_images, load_encoder, load_model, quiet, read_about
from kivuko.encoders.model_card import model_card
from kivuko.encoders.reading import without_reading
from kivuko.encoders.word_table import WORD_TABLE_FILE
from kivuko.errors import DataError, ModelError, UsageError, unreadable
from kivuko.files import HARDENING_FILE, MODEL_FILE, atomic_path, folder_beside, refuse_foreign
from kivuko.perturbations.image.goal import ImageToText, Threat, broken
from kivuko.perturbations.image.pgd import pgd
from kivuko.perturbations.image.pixel_tower import FrozenRoute, PixelTower, image_route, run_route
from kivuko.progress import TrainingProgress, bars, note, progress_bar
from kivuko.training.loop import Report, Training, fit

_CHECKPOINT_EVERY = 25
_RATE, _RATE_WITHOUT_BATCH_NORM = 2e-3, 1e-5  # the latter is what FARE trains vision transformers with
_ATTACKED = 128  # images that the note's figures under attack are measured on
_ATTACK_STEPS = 10
_SHIFTED = 0.9  # mean cosine with the old vectors below which an index of them should be rebuilt


@dataclass(frozen=True, slots=True)
class Hardening:
    """Settings of the hardening; the defaults are those of the hardened emoji tower that ships."""

    eps: float = 8 / 255  # radius (L-inf, pixel scale 0-1) that is trained against
    steps: int = 150
    seed: int = 0
    batch_size: int = 128
    inner_steps: int = 1  # gradients spent on each worst perturbation
    learning_rate: float | None = None  # at its highest; None: 2e-3 with batch normalization, 1e-5 without
    weight_decay: float = 0.02
    pull: float = 2.0  # weight of the squared distance to the original vector
    apart: float = 1.0  # weight of the softmax over the images' original vectors; 0 leaves FARE alone
    temperature: float = 1 / 40  # of that softmax
    clean: float = 0.0  # weight of the same loss on the unperturbed views
    growing: float = 0.3  # share of the training in which the radius grows from 0


def harden_encoder(
    model: Any,
    images: Images,
    settings: Hardening | None = None,
    checkpoints: Path | None = None,
    report: Report | None = None,
    device: str = "cpu",
) -> Any:
    """Return a copy of a model whose image side withstands small changes of pixels; its vectors hardly move.

    Only weights of the image side change, and of those none that texts go through as well. The copy is on the CPU, in
    float32 and evaluation mode.
    """
    settings = settings or Hardening()
    if len(images) < 2:
        raise UsageError(f"hardening needs at least 2 images, here are {len(images)}.")
    model = copy.deepcopy(model).to("cpu").float().eval().requires_grad_(False)
    run = hardening_key(model, images, settings)
    training = _Hardening(model.to(device), images, settings)
    fit(training, settings.steps, every=_CHECKPOINT_EVERY, run=run, checkpoints=checkpoints, report=report)
    training.route.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return model.to("cpu").requires_grad_(True)


def hardening_key(model: Any, images: Images, settings: Hardening) -> str:
    """Hash everything that decides the result: the image side's weights, the images, the settings."""
    digest = hashlib.sha256(f"1:{images.fingerprint}:{json.dumps(asdict(settings))}".encode())
    for module in image_route(model):
        hash_tensors(digest, {name: value.float() for name, value in module.state_dict().items()})
    return digest.hexdigest()


class _Hardening(Training):
    """The live route of ``model``, the frozen original, and the vector wanted of each image."""

    name = "adversarial fine-tuning"

    def __init__(self, model: Any, images: Images, settings: Hardening) -> None:
        self.settings, self.images = settings, images
        self.original = PixelTower(model)
        self.device = self.original.device
        clean = [self.original.encode(part) for part in images.clean_batches()]
        self.anchors = torch.cat(clean).to(self.device)  # [images, dim]
        # Evaluation mode throughout: batch statistics and dropout stay what they will be in use, so that what is
        # attacked is what is trained, and the clean vectors do not drift with the statistics of perturbed images.
        self.weights = self.route = nn.ModuleList(image_route(model)).eval()
        self.route.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.folds = any(isinstance(module, nn.BatchNorm2d) for module in self.route.modules())
        self.clipped = list(_own_parameters(model, self.route))
        self.rate = settings.learning_rate or (_RATE if self.folds else _RATE_WITHOUT_BATCH_NORM)
        self.optimizer = torch.optim.AdamW(self.clipped, lr=self.rate, weight_decay=settings.weight_decay)

    def set_rate(self, step: int) -> None:
        done = (step - 1) / self.settings.steps
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * _schedule(done)

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        settings, number = self.settings, step - 1
        generator = _generator(settings.seed, number)
        rows = torch.randperm(len(self.images), generator=generator)[: settings.batch_size]
        views = self.images.views(rows, generator).contiguous(memory_format=torch.channels_last)
        rows, views = rows.to(self.device), views.to(self.device)
        wanted = self.original.encode(views)
        threat = Threat("linf", settings.eps * min(1.0, (number + 1) / max(1.0, settings.growing * settings.steps)))
        seen = self._worst(views, wanted, rows, threat, generator)
        both = torch.cat([seen, views]) if settings.clean else seen
        vectors = self._encode(self.route, both).split(len(rows))
        losses = [self._losses(part, wanted, rows).mean() for part in vectors]
        loss = losses[0] + settings.clean * losses[1] if settings.clean else losses[0]
        return loss, {"cosine": (vectors[0] * wanted).sum(1).mean()}

    def _worst(self, views: Tensor, wanted: Tensor, rows: Tensor, threat: Threat, generator: torch.Generator) -> Tensor:
        """Search the perturbation of each view [b, 3, h, w] that raises its loss most.

        Not by ``pgd``, which also keeps the worst 8-bit image, for two more passes through the tower.
        """
        # A copy with its batch normalization folded is faster to differentiate; without any, the copy is not worth it.
        route = FrozenRoute(list(self.route)).route if self.folds else self.route
        steps = self.settings.inner_steps
        size = threat.eps * (1.25 if steps == 1 else 1.5 / steps)
        now = threat.random_start(views.cpu(), generator).to(self.device)  # drawn alike for every device
        for _ in range(steps):
            now = now.detach().requires_grad_()
            loss = self._losses(self._encode(route, now), wanted, rows).sum()
            (gradient,) = torch.autograd.grad(loss, now)
            now = threat.project(views, now.detach() + size * threat.ascent(gradient))
        return now

    def _losses(self, vectors: Tensor, wanted: Tensor, rows: Tensor) -> Tensor:
        """Return each vector's squared distance to the one wanted plus its softmax loss: float [b]."""
        losses: Tensor = self.settings.pull * (vectors - wanted).square().sum(1)
        if self.settings.apart:
            scores = vectors @ self.anchors.T / self.settings.temperature  # [b, images]
            losses = losses + self.settings.apart * F.cross_entropy(scores, rows, reduction="none")
        return losses

    def _encode(self, route: nn.ModuleList, pixels: Tensor) -> Tensor:
        return run_route(route, (pixels - self.original.mean) / self.original.spread)


def _own_parameters(model: Any, route: nn.ModuleList) -> Iterator[nn.Parameter]:
    """Yield the parameters that only images go through, and let them be trained."""
    router = hasattr(model[0], "sub_modules")
    shared = {id(parameter) for module in list(model)[1:] for parameter in module.parameters()} if router else set()
    for parameter in route.parameters():
        if id(parameter) not in shared:
            parameter.requires_grad_(True)
            yield parameter


def _generator(seed: int, step: int) -> torch.Generator:
    """Return the generator of one step, so that a resumed run draws what an uninterrupted one draws."""
    mixed = int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(mixed >> 1)


def _schedule(done: float, rising: float = 0.05) -> float:
    """Return the share of the highest learning rate: up in a line, down along a cosine."""
    if done < rising:
        return (done + 0.005) / (rising + 0.005)
    return 0.5 * (1 + math.cos(math.pi * (done - rising) / (1 - rising)))


def harden_model(
    source: Path, out: Path, images: str | Path, settings: Hardening, *, device: str | None, progress: bool | None,
    cldr: str | Path | None, font: str | Path | None,
) -> Model:  # fmt: skip
    """Harden the model in a folder and save it at ``out``, resuming from ``OUT.hardening``; see ``kivuko.harden``."""
    place = choose_device(device)
    stored = load_encoder(source)
    if not has_images(stored):
        raise ModelError(f"{source}: encodes text only; there is no image side to harden.")
    before = stored_like(stored, stored).float()
    with bars(progress) as display:
        pixels = _load_images(images, PixelTower(before), settings.seed, cldr, font)
        done = read_hardening(out)
        if done is not None and done.key == hardening_key(before, pixels, settings):
            note(f"{out}: nothing to do: made before")
            return load_model(out, device=device)
        checkpoints = folder_beside(out, "hardening")
        watch = TrainingProgress(display, "hardening", settings.batch_size, "images")
        hardened = harden_encoder(before, pixels, settings, checkpoints, watch.stepped, place)
        after = stored_like(hardened, stored)
        label = "emoji" if str(images) == "emoji" else Path(images).name
        effect = describe_hardening(before, stored_like(after, after).float(), pixels, settings, label)
        save_hardened(source, out, after, effect, _card(read_about(source), effect))
        shutil.rmtree(checkpoints, ignore_errors=True)
    return load_model(out, device=device)


@dataclass(frozen=True)
class HardeningNote:
    """The settings of a hardening and its measured effect, kept in ``hardening.json`` in the model's folder."""

    settings: dict[str, float | int | None]
    source: str  # "emoji" or the folder
    images: int
    clean_cosine: float  # mean cosine of a clean image's vector with its old one
    lowest_clean_cosine: float
    attacked: int  # images, each perturbed within ``eps`` by PGD with 10 steps
    kept_before: float  # share of them that are still nearest to their own old vector
    kept_after: float
    key: str  # see ``hardening_key``
    kivuko: str


def describe_hardening(before: Any, after: Any, images: Images, settings: Hardening, source: str) -> HardeningNote:
    old, new = PixelTower(before), PixelTower(after)
    anchors = torch.cat([old.encode(part) for part in images.clean_batches()])
    cosines = torch.cat([new.encode(part) for part in images.clean_batches()]).mul_(anchors).sum(1)
    generator = torch.Generator().manual_seed(settings.seed)
    rows = torch.randperm(len(images), generator=generator)[:_ATTACKED]
    kept = [_kept(tower, images, rows, anchors, settings) for tower in (old, new)]
    return HardeningNote(
        settings=asdict(settings), source=source, images=len(images), clean_cosine=round(cosines.mean().item(), 4),
        lowest_clean_cosine=round(cosines.min().item(), 4), attacked=len(rows), kept_before=round(kept[0], 4),
        kept_after=round(kept[1], 4), key=hardening_key(before, images, settings), kivuko=kivuko.__version__,
    )  # fmt: skip


def _kept(tower: PixelTower, images: Images, rows: Tensor, anchors: Tensor, settings: Hardening) -> float:
    pixels = torch.cat(list(images.clean_batches()))[rows]
    goal = ImageToText(anchors, rows)
    result = pgd(tower, pixels, goal, Threat("linf", settings.eps), steps=_ATTACK_STEPS, seed=settings.seed)
    return (~broken(goal, result.margins)).float().mean().item()


def stored_like(model: Any, original: Any) -> Any:
    """Return a copy of a model whose weights have the precision of another's, in which it is saved."""
    model = copy.deepcopy(model)
    kinds = {name: value.dtype for name, value in original.state_dict().items()}
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.is_floating_point() and name in kinds:
                value.data = value.data.to(kinds[name])
    return model


def read_hardening(folder: Path | str) -> HardeningNote | None:
    """Read the settings and the effect of a model's hardening from its folder; None if it was not hardened."""
    file = Path(folder) / HARDENING_FILE
    if not file.is_file():
        return None
    try:
        effect = HardeningNote(**json.loads(file.read_text(encoding="utf-8")))
        if not isinstance(effect.key, str) or not isinstance(effect.settings, dict):
            raise TypeError("key or settings")
    except (OSError, ValueError, TypeError, RecursionError) as problem:
        what = f"{file}: corrupted or of another version. Delete the folder and harden again."
        raise unreadable(file, problem, what) from problem
    return effect


def hardening_summary(effect: HardeningNote) -> list[str]:
    """Return lines on the effect: how far clean vectors moved, and what an attack does before and after."""
    index = "an index of the old vectors stays about valid" if effect.clean_cosine >= _SHIFTED else "rebuild the index"
    return [
        f"clean images have a mean cosine of {effect.clean_cosine:.3f} with their old vectors (least "
        f"{effect.lowest_clean_cosine:.3f}): {index}.",
        f"perturbed within {_levels(effect)}, {effect.kept_after:.0%} of {effect.attacked} images are nearest to their "
        f"own old vector; {effect.kept_before:.0%} were before.",
    ]


def _levels(effect: HardeningNote) -> str:
    return f"{float(effect.settings['eps'] or 0) * 255:g}/255"


def save_hardened(source: Path, out: Path, model: Any, effect: HardeningNote, card: str) -> None:
    """Write a hardened model, whole or not at all, with its source's extra files but no evaluations.

    Its ``run`` says that it was hardened, so ``distill`` does not take it for its own result.
    """
    refuse_foreign(out, HARDENING_FILE, "a hardened model")
    with atomic_path(out) as temporary, quiet():
        without_reading(copy.deepcopy(model)).save(str(temporary), create_model_card=False)
        if (source / MODEL_FILE).is_file():
            about = json.loads((source / MODEL_FILE).read_text(encoding="utf-8"))
            about["run"] = f"{about['run']} hardened:{effect.key[:24]}"
            (temporary / MODEL_FILE).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8")
        for extra in ("token_mean.safetensors", WORDS_FILE, WORD_TABLE_FILE, *(kind.file for kind in READERS)):
            if (source / extra).is_file():
                shutil.copyfile(source / extra, temporary / extra)
        (temporary / HARDENING_FILE).write_text(json.dumps(asdict(effect), indent=1) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(card, encoding="utf-8")


def _card(about: Any, effect: HardeningNote) -> str:
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


# The images that a tower is hardened on: those of the emoji world, or any in a folder. No names needed.

# Less augmented than in the tower's own training: the plain images must hold against perturbations.
EMOJI_VIEWS = Augmentation(
    rotation=8.0, scale=(0.85, 1.05), shift=0.05, contrast=0.15, brightness=0.1, noise=0.02
)  # fmt: skip
_CLOSEST = 0.8  # smallest part of the side that a view of a folder's image shows
_ENDINGS = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".jp2", ".avif", ".ico")
)  # fmt: skip
_MOST_BYTES = 2 << 30  # of a folder's images at once in memory
_MOST_PIXELS = 64_000_000  # of one image: some 250 MB while it is decoded
_LONGEST_SIDE = 1024  # no image tower sees more, and a batch of images has to fit in memory
_BATCH = 128


@dataclass(frozen=True, eq=False)
class Images:
    """Images as pixels; a view is the image, or a random part of it enlarged to the whole."""

    pixels: Tensor  # uint8 [images, 3, h, w], as the tower sees them
    left_out: tuple[str, ...] = ()  # a line for each file that is not an image
    beyond: int = 0  # images that were not read, since memory holds no more
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", _digest(self.pixels))

    def __len__(self) -> int:
        return len(self.pixels)

    def clean_batches(self) -> Iterator[Tensor]:
        """Yield all images unchanged in batches, float32 [b, 3, h, w] in 0-1 on whole levels."""
        for part in self.pixels.split(_BATCH):
            yield part.float() / 255

    def views(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one view of each of these images, float32 [b, 3, h, w] in 0-1: half of them unchanged."""
        images = self.pixels[rows].float() / 255
        half = len(rows) // 2
        zoom, shift_x, shift_y = torch.rand(3, half, generator=generator)
        zoom = _CLOSEST + (1 - _CLOSEST) * zoom
        free, zero = 1 - zoom, torch.zeros(half)
        across = torch.stack([zoom, zero, free * (2 * shift_x - 1)], 1)
        down = torch.stack([zero, zoom, free * (2 * shift_y - 1)], 1)
        grid = F.affine_grid(torch.stack([across, down], 1), [half, *images.shape[1:]], align_corners=False)
        parts = F.grid_sample(images[:half], grid, padding_mode="border", align_corners=False)
        return torch.cat([parts.clamp(0, 1), images[half:]])


@dataclass(frozen=True, eq=False)
class EmojiImages(Images):
    """The emoji world's images on white; a view is that, or an augmented one."""

    drawn: Tensor = field(kw_only=True)  # premultiplied RGBA, float32 [images, 4, s, s], of the same images

    def __post_init__(self) -> None:
        plain = _digest(self.pixels)
        object.__setattr__(self, "fingerprint", f"emoji:{EMOJI_VIEWS}:{plain}:{self.drawn.shape[-1]}")

    def views(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        half, side = len(rows) // 2, self.pixels.shape[-1]
        strayed = augment(self.drawn[rows[:half]], side, generator, EMOJI_VIEWS)
        return torch.cat([strayed, self.pixels[rows[half:]].float() / 255])


def emoji_images(world: EmojiWorld, tower: PixelTower, rows: Sequence[int] | None = None) -> EmojiImages:
    """Take images of the emoji world, all by default, as a tower sees them (square images, as of every CLIP)."""
    rows = range(len(world.images)) if rows is None else rows
    white = _as_seen([world.image(row) for row in rows], tower)
    # A quarter larger than the views, so that turning and shrinking them does not alias.
    side = min(max(world.images.shape[1:3]), round(1.25 * white.shape[-1]))
    images = premultiplied(torch.from_numpy(world.images[np.asarray(rows)]))
    drawn = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
    return EmojiImages(white, drawn=drawn)


def folder_images(folder: Path, tower: PixelTower, seed: int = 0) -> Images:
    """Read the images of a folder and its subfolders as a tower sees them; a random part if beyond 2 GiB of pixels."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _ENDINGS and file.is_file())
    chosen, beyond = _that_fit(files, tower, seed)
    parts, left_out = [], []
    for start in range(0, len(chosen), _BATCH):
        batch = []
        for file in chosen[start : start + _BATCH]:
            try:
                batch.append(open_image(file, most_pixels=_MOST_PIXELS, longest_side=_LONGEST_SIDE))
            except DataError as problem:
                left_out.append(str(problem))
        if batch:
            parts.append(_as_seen(batch, tower))
    if sum(map(len, parts)) < 2:
        raise DataError(f"{folder}: fewer than two images that can be read ({len(left_out)} cannot). Give more.")
    return Images(torch.cat(parts), tuple(left_out), beyond)


def _that_fit(files: list[Path], tower: PixelTower, seed: int) -> tuple[list[Path], int]:
    """Return the files, or a random part that fits into memory, and the number of the others."""
    one = tower.pixels([Image.new("RGB", (8, 8))]).numel()
    most = max(2, _MOST_BYTES // one)
    if len(files) <= most:
        return files, 0
    rows = np.random.default_rng(seed).choice(len(files), most, replace=False)
    return [files[row] for row in sorted(rows)], len(files) - most


def _as_seen(images: Sequence[Image.Image], tower: PixelTower) -> Tensor:
    """Return images as the tower's network sees them, uint8 [images, 3, h, w]."""
    parts = [tower.pixels(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    return (torch.cat(parts) * 255).round().to(torch.uint8).contiguous()


def _digest(pixels: Tensor) -> str:
    return hashlib.sha256(f"{tuple(pixels.shape)}".encode() + pixels.contiguous().numpy().tobytes()).hexdigest()


def _load_images(
    source: str | Path, tower: PixelTower, seed: int, cldr: str | Path | None, font: str | Path | None
) -> Images:
    """Load the images to harden on; what is left out of a folder is noted."""
    if str(source) == "emoji":
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
