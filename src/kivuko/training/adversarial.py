"""Adversarial fine-tuning of an image tower, without labels and without moving its vectors.

FARE (arXiv 2402.12336), with a softmax over all images' original vectors and fast inner attacks (arXiv 2001.03994).
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import kivuko
from kivuko.errors import UsageError
from kivuko.perturbations.image.goal import ImageToText, Threat, broken
from kivuko.perturbations.image.pgd import pgd
from kivuko.perturbations.image.pixel_tower import FrozenRoute, PixelTower, image_route, run_route
from kivuko.training.harden_images import Images
from kivuko.training.loop import Report, Training, fit

_CHECKPOINT_EVERY = 25
_RATE, _RATE_WITHOUT_BATCH_NORM = 2e-3, 1e-5  # the latter is what FARE trains vision transformers with
_ATTACKED = 128  # images that the note's figures under attack are measured on
_ATTACK_STEPS = 10


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

    def __post_init__(self) -> None:
        if not 0 < self.eps <= 1:  # NaN too
            raise UsageError(
                f"eps={self.eps} is no radius to harden against: choose one above 0, up to 1 (4/255, say)."
            )
        if self.steps < 1 or self.inner_steps < 1 or self.batch_size < 2:
            raise UsageError(
                f"hardening with {self.steps} steps of {self.batch_size} images, {self.inner_steps} inner steps: "
                "both kinds of steps must be above 0 and batches hold at least 2."
            )


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
        for name, value in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
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
