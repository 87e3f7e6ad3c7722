"""The model under attack: its gallery, its queries, and what attackers may see of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kivuko.bitext import word_table
from kivuko.datasets.emoji import EmojiWorld
from kivuko.datasets.emoji.world import Query
from kivuko.encoders.model import About, encode_texts, quiet
from kivuko.encoders.teacher import teacher_of
from kivuko.errors import DataError
from kivuko.evaluation.evaluator import teacher_encoder
from kivuko.perturbations import EditKind, code_switch
from kivuko.perturbations.image import PixelTower
from kivuko.perturbations.text import GradientEncoder, TextGoal, gradient_encoder

Vectors = NDArray[np.float32]
TRAINING_NAMES = 256  # of each language, that universal attacks are found on


@dataclass(frozen=True, eq=False)
class QuerySet:
    """Queries of one language and what the model makes of them.

    Attributes:
        vectors: unit vectors, float32 [n, dim].
        own: rows of the right images, int64 [n].
        scores: cosines with all clean images, float32 [n, images].
    """

    language: str
    queries: Sequence[Query]
    vectors: Vectors
    own: NDArray[np.int64]
    scores: Vectors

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def texts(self) -> list[str]:
        """The queries as they are."""
        return [query.text for query in self.queries]


@dataclass(eq=False)
class Victim:
    """A model with the gallery that it searches.

    Attributes:
        gallery: unit vectors of all images, float32 [images, dim].
        most: attack this many queries of each language, drawn by concept; None: all.
        seed: of everything that is drawn.
    """

    model: Any
    about: About
    name: str
    world: EmojiWorld
    gallery: Vectors
    split: str = "test"
    most: int | None = None
    seed: int = 0
    _pixels: dict[int, Tensor] = field(default_factory=dict)
    _sets: dict[tuple[str, bool], QuerySet] = field(default_factory=dict)
    _words: dict[str, dict[str, str]] = field(default_factory=dict)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts: unit vectors, float32 [texts, dim]."""
        return encode_texts(self.model, texts)

    @cached_property
    def tower(self) -> PixelTower:
        """The image side, from pixels on."""
        return PixelTower(self.model)

    @cached_property
    def gradients(self) -> GradientEncoder:
        """The text side, with gradients."""
        return gradient_encoder(self.model)

    @cached_property
    def encode_english(self) -> Callable[[Sequence[str]], Vectors]:
        """The English teacher's text side."""
        with quiet():
            return teacher_encoder(teacher_of(self.about))

    def pixels(self, rows: Sequence[int]) -> Tensor:
        """Return images as the model sees them, float32 [n, 3, h, w]."""
        for row in dict.fromkeys(rows):
            if row not in self._pixels:
                self._pixels[row] = self.tower.pixels([self.world.image(row)])[0]
        return torch.stack([self._pixels[row] for row in rows]).contiguous(memory_format=torch.channels_last)

    def goal(self, queries: QuerySet) -> TextGoal:
        """Return what attacks on these queries work against."""
        return TextGoal(self.gallery, queries.own)

    def queries(self, language: str) -> QuerySet:
        """Return the queries that are attacked."""
        return self._set(language, training=False)

    def training(self, language: str) -> QuerySet:
        """Return names of training emoji, where universal attacks learn; "en": in English and the teacher's vectors."""
        return self._set(language, training=True)

    def code_switch(self, language: str) -> EditKind:
        """Return the edit that says a word in English, as the training bitext has it."""
        if language not in self._words:
            self._words[language] = word_table(self.world.bitext([language], "train"), language)
        return code_switch(self._words)

    def _set(self, language: str, training: bool) -> QuerySet:
        if (language, training) not in self._sets:
            self._sets[language, training] = self._made(language, training)
        return self._sets[language, training]

    def _made(self, language: str, training: bool) -> QuerySet:
        most = TRAINING_NAMES if training else self.most
        queries = self.world.queries(language, "train" if training else self.split)
        if most is not None:
            queries = some_of(queries, most, self.seed)
        if not queries:
            raise DataError(f"no query in '{language}' to attack: leave that language out, or give another --split.")
        texts = [query.text for query in queries]
        vectors = self.encode_english(texts) if language == "en" else self.encode(texts)
        own = np.array([query.image for query in queries], dtype=np.int64)
        return QuerySet(language, queries, vectors, own, vectors @ self.gallery.T)


def some_of(queries: Sequence[Query], most: int, seed: int) -> list[Query]:
    """Return up to ``most`` queries that are no copies of English, by concepts drawn in one order for all languages.

    A smaller number gives a part of what a larger number gives.
    """
    concepts = sorted({query.concept for query in queries}, key=lambda one: _place(one, seed))
    place = {concept: number for number, concept in enumerate(concepts)}
    kept = [query for query in queries if not query.copied]
    return sorted(kept, key=lambda query: place[query.concept])[:most]


def _place(name: str, seed: int) -> int:
    """Return a number that a name and a seed have, the same in every run."""
    return int(np.random.default_rng([seed, *name.encode()]).integers(2**62))


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return a generator of its own for what the names name, whatever else is drawn from the seed."""
    return np.random.default_rng([seed, *"\x00".join(map(str, names)).encode()])
