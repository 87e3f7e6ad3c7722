"""Training a small image tower against a frozen text tower, from images and their English names.

Every image is a class whose prototype is the vector of its name (the mean where it has several). Two softmax losses
over *all* images, not only the batch's: image -> names, and name -> images, the latter against a memory of the last
vector seen of each image (Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance
Discrimination"), and a pull of each image toward its own name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kivuko.datasets.emoji.augment import augment, premultiplied
from kivuko.encoders.image_tower import SmallImageTower

Progress = Callable[[int, int, dict[str, float]], None]  # (step, steps, figures)


@dataclass(frozen=True, slots=True)
class TowerTraining:
    """Settings of the image tower's training; the defaults made the tower that ships."""

    steps: int = 3600
    batch_size: int = 128
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    temperature: float = 1 / 40  # at the start; it is learned
    pull: float = 4.0  # weight of one minus the cosine with the own name
    source_size: int = 80  # images are reduced to this once, so that views of 64 pixels are cut without aliasing
    seed: int = 0


def prototypes(name_vectors: Tensor, image_of_name: Tensor, images: int) -> Tensor:
    """Average the unit name vectors [names, dim] of each image: unit vectors [images, dim]."""
    sums = torch.zeros(images, name_vectors.shape[1]).index_add_(0, image_of_name, F.normalize(name_vectors, dim=-1))
    return F.normalize(sums, dim=-1)


def reduced(images: Tensor, side: int) -> Tensor:
    """Premultiply RGBA images, uint8 [n, h, w, 4], and reduce them: float [n, 4, side, side]."""
    return F.interpolate(premultiplied(images), size=(side, side), mode="bilinear", antialias=True)


def train_image_tower(
    images: Tensor,
    image_of_name: Tensor,
    name_vectors: Tensor,
    settings: TowerTraining | None = None,
    progress: Progress | None = None,
) -> SmallImageTower:
    """Train a tower so that each image lies where its names do.

    Args:
        images: RGBA, uint8 [images, h, w, 4].
        image_of_name: int64 [names], the image that each name belongs to.
        name_vectors: float [names, dim], from the frozen text tower.
        settings: see TowerTraining.
        progress: called after every step with (step, steps, figures).
    """
    settings = settings or TowerTraining()
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    reduced_images, count = reduced(images, settings.source_size), len(images)
    targets = prototypes(name_vectors, image_of_name, count)
    memory = targets.clone()

    tower = SmallImageTower(name_vectors.shape[1])
    tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    log_scale = nn.Parameter(torch.tensor(-math.log(settings.temperature)))
    groups: list[dict[str, Any]] = [{"params": tower.parameters()}, {"params": [log_scale], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.steps, pct_start=0.1
    )
    order = torch.empty(0, dtype=torch.long)
    for step in range(1, settings.steps + 1):
        if len(order) < settings.batch_size:
            order = torch.cat([order, *(torch.randperm(count, generator=generator) for _ in range(2))])
        rows, order = order[: settings.batch_size].unique(), order[settings.batch_size :]
        views = augment(reduced_images[rows], tower.size, generator).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=_fast_bfloat16()):
            vectors = tower(views)
        scale = log_scale.exp().clamp(max=100)
        gallery = memory.index_copy(0, rows, vectors)
        to_names = F.cross_entropy(scale * vectors @ targets.T, rows)
        to_images = F.cross_entropy(scale * targets[rows] @ gallery.T, rows)
        # The softmax terms are content once the right name wins; a query from another language lands near a name, not
        # on it, so images must lie close to their names and not only closer than the rest.
        apart = (1 - (vectors * targets[rows]).sum(1)).mean()
        loss = (to_names + to_images) / 2 + settings.pull * apart
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        memory[rows] = vectors.detach()
        if progress:
            progress(step, settings.steps, {"loss": loss.item(), "apart": apart.item(), "scale": scale.item()})
    return tower.eval()


@torch.no_grad()
def tower_recall(
    tower: SmallImageTower,
    images: Tensor,
    image_of_name: Tensor,
    name_vectors: Tensor,
    seed: int,
    source_size: int = 80,
) -> dict[int, float]:
    """Measure R@1 and R@10 of every English name against one unseen augmented view of every image.

    A tie counts against the name. Arguments as in ``train_image_tower``; ``seed`` draws the views.
    """
    generator = torch.Generator().manual_seed(seed)
    reduced_images = reduced(images, source_size)
    views = [augment(part, tower.size, generator) for part in reduced_images.split(256)]
    gallery = torch.cat([tower(part) for part in views])
    scores = F.normalize(name_vectors, dim=-1) @ gallery.T  # [names, images]
    own = scores.gather(1, image_of_name[:, None])
    better = (~(scores < own)).sum(1) - 1  # so written, a score that is no number counts against the name too
    return {k: (better < k).float().mean().item() for k in (1, 10)}


def _fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware; elsewhere it would be slower than float32."""
    return bool(torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported())
