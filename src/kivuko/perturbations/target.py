"""The inputs and results of the attack runner: queries, the model under attack, random numbers, attacked queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kivuko.perturbations.catalog import LEVELS
from kivuko.perturbations.edits import EditKind, Perturbed
from kivuko.perturbations.image.corruptions import corrupt
from kivuko.perturbations.image.goal import TextToImage
from kivuko.perturbations.image.pixel_tower import PixelTower
from kivuko.perturbations.spec import AttackSpec
from kivuko.perturbations.text.gradients import GradientEncoder
from kivuko.perturbations.text.search import Rows, TextGoal, Vectors


@dataclass(frozen=True, eq=False)
class QuerySet:
    """Queries of one language."""

    language: str
    ids: Sequence[str]
    texts: Sequence[str]
    own: Rows  # rows of the right images in the target's gallery, int64 [n]
    vectors: Vectors  # the model's unit vectors, float32 [n, dim]
    english: Sequence[str] = ()  # its English text; needed by ``crafted=english`` only
    searched: Rows | None = None  # rows of the gallery that are searched, int64, rising; None: all

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, rows: slice) -> QuerySet:
        return replace(
            self, ids=self.ids[rows], texts=self.texts[rows], own=self.own[rows], vectors=self.vectors[rows],
            english=self.english[rows],
        )  # fmt: skip

    def goal(self, gallery: Vectors) -> TextGoal:
        if self.searched is None:
            return TextGoal(gallery, self.own)
        return TextGoal(gallery[self.searched], np.searchsorted(self.searched, self.own).astype(np.int64))

    def image_goal(self, gallery: Vectors, rows: Rows | None = None, targeted: bool = False) -> TextToImage:
        """Return the goal of an attack on images ``rows`` of the gallery, int64 [n]; None: the right ones."""
        rows = self.own if rows is None else rows
        if self.searched is not None:
            gallery, rows = gallery[self.searched], np.searchsorted(self.searched, rows)
        return TextToImage(torch.from_numpy(self.vectors), torch.from_numpy(gallery), torch.from_numpy(rows), targeted)


class Target(Protocol):
    """The model under attack and its gallery, unit vectors of all clean images, float32 [images, dim].

    Everything but ``gallery`` and ``encode`` is for some attacks only and may raise a KivukoError that says why it is
    missing.
    """

    @property
    def gallery(self) -> Vectors: ...

    @property
    def tower(self) -> PixelTower: ...

    @property
    def gradients(self) -> GradientEncoder: ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors, float32 [texts, dim]."""
        ...

    def encode_english(self, texts: Sequence[str]) -> Vectors:
        """Return the English teacher's unit vectors, float32 [texts, dim]."""
        ...

    def pixels(self, rows: Sequence[int]) -> Tensor:
        """Return images as the tower sees them, float32 [n, 3, h, w] in 0-1 on whole levels."""
        ...

    def training(self, language: str) -> QuerySet:
        """Return queries that are not attacked, for universal attacks; "en": with the teacher's vectors."""
        ...

    def code_switch(self, language: str) -> EditKind:
        """Return the edit that replaces a word by its English translation."""
        ...

    def companions(self, queries: QuerySet) -> Sequence[Sequence[str]]:
        """Return for each query the texts of its image in the other languages."""
        ...


@dataclass(frozen=True)
class Draws:
    """Random numbers of the attacks: each query and each image has its own, whatever else is attacked."""

    seed: int = 0

    @property
    def image_seed(self) -> int:
        """The seed of attacks on images by gradients or search."""
        return self.seed

    def edits(self, spec: AttackSpec, queries: QuerySet) -> Iterator[np.random.Generator]:
        """Yield a generator for the random edits of each query."""
        return (stream(self.seed, one) for one in queries.ids)

    def corrupt(self, spec: AttackSpec, pixels: Tensor, rows: Rows) -> Tensor:
        """Return corrupted images, float32 [n, 3, h, w]; ``rows``: of the gallery, int64 [n]."""
        name, severity = spec.attack.name, spec.number("severity")
        seeds = [int(stream(self.seed, row).integers(2**62)) for row in rows.tolist()]
        return torch.cat([corrupt(pixels[n : n + 1], name, severity, seed) for n, seed in enumerate(seeds)])

    def target(self, text: str, row: int, images: int) -> int:
        """Return the image that a targeted attack on another one brings forward."""
        return (row + int(stream(self.seed, "target", text, row).integers(1, images))) % images


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return a generator that depends on the seed and the names alone."""
    return np.random.default_rng([seed, *"\x00".join(map(str, names)).encode()])


@dataclass(frozen=True, eq=False)
class PerturbedImages:
    """Perturbed images, one for each query."""

    # int64 [n], of the perturbed image: the right one, or of a targeted attack the one that should win
    rows: Rows
    vectors: Vectors  # after the attack, unit, float32 [n, dim]
    moved: NDArray[np.bool_]  # where a pixel changed, bool [n]
    original: Tensor | None = None  # before and after, float32 [n, 3, h, w] in 0-1; None where they were not kept
    pixels: Tensor | None = None
    targeted: bool = False  # whether that image should win, where else it should lose

    def change(self) -> Tensor:
        """Return the change of each image, float32 [n, values]."""
        assert self.original is not None
        assert self.pixels is not None
        return (self.pixels - self.original).flatten(1)


@dataclass(frozen=True, eq=False)
class Attacked:
    """Queries of one language under one attack."""

    spec: AttackSpec
    queries: QuerySet
    ranks_before: Rows  # of the right image, int64 [n], from 1; ties count against it
    ranks_after: Rows
    texts: Sequence[Perturbed]  # the queries before and after
    images: PerturbedImages | None  # None where none was touched
    calls: Rows  # calls of the model for each query, int64 [n]
    # where a targeted attack brought its image to the first place, bool [n]; None: not targeted
    target_first: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class Crafted:
    """Images perturbed against English texts, to be tried in every language.

    ``places``: (English text, row of the image) -> row of the arrays. ``vectors`` float32 [n, dim], ``moved`` bool [n],
    ``calls`` int64 [n]; ``pixels`` uint8 [n, 3, h, w], None where they were not kept.
    """

    places: Mapping[tuple[str, int], int]
    vectors: Vectors
    moved: NDArray[np.bool_]
    calls: Rows
    pixels: NDArray[np.uint8] | None = None

    def rows_of(self, queries: QuerySet) -> Rows:
        """Return the row of the arrays for each query, int64 [n]."""
        keys = zip(queries.english, queries.own.tolist(), strict=True)
        return np.array([self.places[key] for key in keys], dtype=np.int64)


def to_bytes(pixels: Tensor) -> NDArray[np.uint8]:
    """Return pixels on whole levels as bytes, uint8 of the same shape."""
    levels: NDArray[np.uint8] = (pixels * LEVELS).round().to(torch.uint8).contiguous().numpy()
    return levels


def from_bytes(levels: NDArray[np.uint8]) -> Tensor:
    """Return bytes as pixels, float32 in 0-1."""
    return (torch.from_numpy(levels).float() / LEVELS).contiguous(memory_format=torch.channels_last)
