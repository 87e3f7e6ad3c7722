"""Joint attacks on a query and its image: SGA, sets against sets, and Co-Attack, the query first.

SGA (Lu et al. 2023, "Set-level Guidance Attack", arXiv 2307.14061), so that a perturbation carries over to other texts
and sizes: the query is edited, the image is perturbed at several sizes at once against all its texts (the edited query
and its companions, in any language), and the query is edited again, against the perturbed image. Co-Attack (Zhang et
al. 2022, arXiv 2206.09391) is the scheme for separate encoders, with cosines, which a search ranks by, instead of
divergences of softmaxed embeddings. Sep-Attack is in ``kivuko.perturbations.runner``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kivuko.perturbations.edits import EditKind
from kivuko.perturbations.image.goal import AttackedImages, TextToImage, Threat, margins_of, unchanged
from kivuko.perturbations.image.pgd import pgd
from kivuko.perturbations.image.pixel_tower import BATCH, PixelTower
from kivuko.perturbations.text.search import AttackedText, EncodeTexts, Rows, TextGoal, Vectors, greedy_search
from kivuko.progress import Report


@dataclass(frozen=True, eq=False)
class Pairs:
    """Queries, each with its right image, in a gallery of clean images."""

    texts: Sequence[str]
    languages: Sequence[str]
    own: Rows  # int64 [n], rows of the gallery
    pixels: Tensor  # float32 [n, 3, h, w] in 0-1 on whole levels, the own images
    gallery: Vectors  # unit vectors of all clean images, float32 [images, dim]
    # other texts of the same image, in any language; SGA works against them too
    companions: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class TextSide:
    """The budget of the text side: ``edits`` of ``kinds`` each, the worst of ``candidates`` tried per round."""

    edits: int = 1
    kinds: tuple[str | EditKind, ...] = ("typo",)
    candidates: int = 32
    seed: int = 0

    def attack(self, encode: EncodeTexts, pairs: Pairs, instead: Vectors | None = None) -> list[AttackedText]:
        """Edit the queries against the clean images, or against vectors ``instead`` of the own ones [n, dim]."""
        goal = TextGoal(pairs.gallery, pairs.own, instead)
        return greedy_search(
            encode, pairs.texts, pairs.languages, goal,
            kinds=self.kinds, edits=self.edits, candidates=self.candidates, seed=self.seed,
        )  # fmt: skip


# The result of a joint attack on pairs: the queries, whose ranks are those of the text side alone, and the images.
AttackedPairs = tuple[list[AttackedText], AttackedImages]


def goal_of(pairs: Pairs, vectors: Vectors) -> TextToImage:
    """Return the goal of the image side against queries of these unit vectors, float32 [n, dim]."""
    return TextToImage(torch.from_numpy(vectors), torch.from_numpy(pairs.gallery), torch.from_numpy(pairs.own))


def co_attack(
    encode: EncodeTexts,
    tower: PixelTower,
    pairs: Pairs,
    threat: Threat,
    text_side: TextSide,
    *,
    steps: int = 10,  # of PGD
    weight: float = 3.0,  # of the edited query against the clean image
    seed: int = 0,
    progress: Report | None = None,
) -> AttackedPairs:
    """Edit the query first, then perturb the image away from the edited query and from itself."""
    texts = text_side.attack(encode, pairs)
    edited = torch.from_numpy(encode([one.perturbed.text for one in texts]))
    clean = tower.encode(pairs.pixels)

    def apart(vectors: Tensor, rows: Tensor) -> Tensor:
        return -(vectors * clean[rows]).sum(1) - weight * (vectors * edited[rows]).sum(1)

    goal = goal_of(pairs, edited.numpy())
    return texts, pgd(
        tower, pairs.pixels, goal, threat, steps=steps, loss=apart, early_stop=False, seed=seed, progress=progress
    )  # fmt: skip


SCALES = (0.5, 0.75, 1.25, 1.5)  # besides the image's own size


def sga(
    encode: EncodeTexts,
    tower: PixelTower,
    pairs: Pairs,
    threat: Threat,
    text_side: TextSide,
    *,
    steps: int = 10,
    scales: Sequence[float] = SCALES,
    seed: int = 0,
    progress: Report | None = None,
) -> AttackedPairs:
    """Attack query and image as sets. Arguments as ``co_attack``; ``scales``: sizes of the image besides its own."""
    first = text_side.attack(encode, pairs)
    against = _mean_texts(encode, pairs, [one.perturbed.text for one in first])
    goal = goal_of(pairs, encode([one.perturbed.text for one in first]))
    rows = torch.arange(len(pairs.texts))
    parts = []
    for number, part in enumerate(rows.split(BATCH)):
        pixels = pairs.pixels[part]
        parts.append(_climb(tower, pixels, against[part], threat, steps, scales, seed + number))
        if progress:
            progress(number + 1, len(rows.split(BATCH)))
    pixels = torch.cat(parts) if parts else pairs.pixels
    calls = torch.full((len(rows),), steps * (1 + len(scales)) + 1)
    attacked = AttackedImages(pixels, margins_of(tower, pixels, goal, rows), calls)
    images = unchanged(tower, pairs.pixels, goal, rows).worse_of(attacked)
    again = text_side.attack(encode, pairs, instead=tower.encode(images.pixels).cpu().numpy())
    return again, images


def _mean_texts(encode: EncodeTexts, pairs: Pairs, edited: Sequence[str]) -> Tensor:
    """Return for each image the mean vector of its texts, float32 [n, dim].

    The mean cosine to a set of texts is the cosine to their mean, up to its length.
    """
    companions = pairs.companions or [()] * len(edited)
    sets = [[text, *others] for text, others in zip(edited, companions, strict=True)]
    vectors = encode([text for one in sets for text in one])
    ends = np.cumsum([len(one) for one in sets])
    return torch.from_numpy(np.stack([part.mean(0) for part in np.split(vectors, ends[:-1])]))


def _climb(
    tower: PixelTower, original: Tensor, against: Tensor, threat: Threat, steps: int, scales: Sequence[float], seed: int
) -> Tensor:
    """Move images [b, 3, h, w] away from texts [b, dim] at all sizes at once; the result is on whole levels."""
    if threat.eps == 0:
        return original
    now = threat.random_start(original, torch.Generator().manual_seed(seed))
    for _ in range(steps):
        leaf = now.detach().requires_grad_()
        with torch.enable_grad():
            cosines = sum((tower(view) * against).sum() for view in _views(leaf, scales))
            (gradient,) = torch.autograd.grad(-torch.as_tensor(cosines), leaf)
        now = threat.project(original, now + 1.25 / steps * threat.eps * 2 * threat.ascent(gradient))
    return threat.on_levels(original, now)


def _views(pixels: Tensor, scales: Sequence[float]) -> list[Tensor]:
    """Return images as they are and resized to each scale and back."""
    size = pixels.shape[-2:]
    views = [pixels]
    for scale in scales:
        other = [max(1, round(scale * side)) for side in size]
        resized = F.interpolate(pixels, size=other, mode="bilinear", align_corners=False)
        views.append(F.interpolate(resized, size=size, mode="bilinear", align_corners=False))
    return views
