"""Models under attack on the emoji and on caption sets: the images that they search, and the attacked queries."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kivuko.bitext.sampling import word_table
from kivuko.datasets.emoji.world import Query
from kivuko.encoders.images import RefusedImage, decode
from kivuko.encoders.model import Model, quiet
from kivuko.encoders.teacher import teacher_of
from kivuko.errors import DataError, ModelError, UsageError
from kivuko.evaluation.evaluator import ENGLISH, System, model_system, teacher_encoder
from kivuko.evaluation.image_tasks import CaptionTask, EmojiTask, caption_ids
from kivuko.evaluation.vectors import read_image
from kivuko.perturbations.edits import EditKind, code_switch
from kivuko.perturbations.image.pixel_tower import PixelTower
from kivuko.perturbations.target import QuerySet
from kivuko.perturbations.text.gradients import GradientEncoder, gradient_encoder
from kivuko.perturbations.text.search import EncodeTexts, Vectors

TRAINING_NAMES = 256  # of each language, for universal attacks to learn on


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption as a query; ``english``: the first English caption of its image, "" where it has none."""

    id: str
    language: str
    text: str
    english: str
    image: int
    concept: str
    copied: bool = False


AttackedQuery = Query | Caption


@dataclass(eq=False)
class ModelTarget:
    """A model with the images that it searches, those of ``EmojiTarget`` or ``CaptionTarget``."""

    model: Model
    languages: tuple[str, ...]  # of the attacked queries
    task: Any
    most: int | None = None  # queries of each language, drawn by concept; None: all
    seed: int = 0  # of everything that is drawn
    batch_size: int | None = None
    _listed: dict[tuple[str, bool], list[Any]] = field(default_factory=dict)
    _sets: dict[tuple[str, bool], QuerySet] = field(default_factory=dict)

    @property
    def gallery(self) -> Vectors:
        """Unit vectors of all images, float32 [images, dim]."""
        images: Vectors = self.task.images
        return images

    @cached_property
    def system(self) -> System:
        return model_system(self.model, self.batch_size)

    @property
    def encode(self) -> EncodeTexts:
        return self.system.encode

    @cached_property
    def tower(self) -> PixelTower:
        return PixelTower(self.model.encoder)

    @cached_property
    def gradients(self) -> GradientEncoder:
        """The text side, with gradients; on the CPU, where goals are."""
        encoder = self.model.encoder
        return gradient_encoder(encoder if encoder.device.type == "cpu" else copy.deepcopy(encoder).cpu())

    @cached_property
    def encode_english(self) -> EncodeTexts:
        if self.model.about is None:
            raise ModelError(f"{self.model.name}: has no kivuko.json, so its teacher is unknown; choose crafted=own.")
        with quiet():
            encode: EncodeTexts = teacher_encoder(teacher_of(self.model.about), self.batch_size)
        return encode

    def training(self, language: str) -> QuerySet:
        """Return queries that are not attacked, for universal attacks; "en": with the teacher's vectors."""
        return self.attacked(language, training=True)

    def companions(self, queries: QuerySet) -> list[list[str]]:
        """Return for each query the texts of its image in the other languages that are attacked."""
        texts: dict[int, list[str]] = {}
        for code in self.languages:
            if code != queries.language:
                for query in self.available(code, training=False):
                    texts.setdefault(query.image, []).append(query.text)
        return [texts.get(image, []) for image in queries.own.tolist()]

    def searched(self, language: str) -> NDArray[np.int64] | None:
        """Return the rows of the gallery that a language searches; None: all."""
        return None

    def available(self, language: str, training: bool) -> Sequence[Any]:
        """Return all queries of a language that may be attacked, or that universal attacks may learn on."""
        raise NotImplementedError

    def queries(self, language: str, training: bool = False) -> list[Any]:
        if (language, training) not in self._listed:
            queries = list(self.available(language, training))
            most = TRAINING_NAMES if training else self.most
            if most is not None:
                queries = some_of(queries, most, self.seed)
            if not queries:
                raise DataError(
                    f"no query in '{language}' to attack: leave that language out, or choose another split."
                )
            self._listed[language, training] = queries
        return self._listed[language, training]

    def attacked(self, language: str, training: bool = False) -> QuerySet:
        if (language, training) not in self._sets:
            queries = self.queries(language, training)
            texts, english = [query.text for query in queries], [query.english for query in queries]
            own = np.array([query.image for query in queries], dtype=np.int64)
            vectors = self.encode_english(texts) if training and language == ENGLISH else self.encode(texts)
            self._sets[language, training] = QuerySet(
                language, [query.id for query in queries], texts, own, vectors, english if all(english) else (),
                None if training else self.searched(language),
            )  # fmt: skip
        return self._sets[language, training]


@dataclass(eq=False)
class EmojiTarget(ModelTarget):
    """A model that searches the emoji."""

    task: EmojiTask
    _pixels: dict[int, Tensor] = field(default_factory=dict)
    _words: dict[str, dict[str, str]] = field(default_factory=dict)

    def available(self, language: str, training: bool) -> Sequence[AttackedQuery]:
        return self.task.world.queries(language, "train" if training else self.task.split)

    def pixels(self, rows: Sequence[int]) -> Tensor:
        """Return images as the model sees them, float32 [n, 3, h, w]."""
        for row in dict.fromkeys(rows):
            if row not in self._pixels:
                self._pixels[row] = self.tower.pixels([self.task.world.image(row)])[0]
        return torch.stack([self._pixels[row] for row in rows]).contiguous(memory_format=torch.channels_last)

    def code_switch(self, language: str) -> EditKind:
        """Return the edit that replaces a word by its English translation in the training bitext."""
        if language not in self._words:
            self._words[language] = word_table(self.task.world.bitext([language], "train"), language)
        return code_switch(self._words)

    def image_id(self, row: int) -> str:
        return self.task.world.image_sequences[row]

    def file_stem(self, query: AttackedQuery) -> str:
        """Return the name of a query's image file: the code points of the emoji (1f408)."""
        return "-".join(f"{ord(one):x}" for one in query.id.partition(":")[2])


@dataclass(eq=False)
class CaptionTarget(ModelTarget):
    """A model that searches the images of a caption set by their captions."""

    task: CaptionTask

    def available(self, language: str, training: bool) -> Sequence[AttackedQuery]:
        if not training:
            return self._all(language)
        attacked = {query.image for code in self.languages for query in self.queries(code)}
        free = [query for query in self._all(language) if query.image not in attacked]
        if not free:
            raise UsageError(
                f"{self.task.caption_set.name}: universal attacks learn on captions in '{language}' of images that "
                "are not attacked, and there are none: attack fewer queries (--queries)."
            )
        return free

    def _all(self, language: str) -> list[Caption]:
        own = self.task.queries(language)
        images = [self.task.caption_set.images[row].id for row in own.owners]
        english = self.task.caption_set.captions.get(ENGLISH, {})
        return [
            Caption(name, language, text, english.get(image, ("",))[0], row, image)
            for name, text, row, image in zip(caption_ids(images), own.texts, own.owners, images, strict=True)
        ]

    def searched(self, language: str) -> NDArray[np.int64] | None:
        if self.task.caption_set.gallery == "set":
            return None
        return np.array(sorted(set(self.task.queries(language).owners)), dtype=np.int64)

    def pixels(self, rows: Sequence[int]) -> Tensor:
        """Read images as the model sees them, float32 [n, 3, h, w]; they are not kept in memory."""
        parts = {row: self.tower.pixels([self._image(row)])[0] for row in dict.fromkeys(rows)}
        return torch.stack([parts[row] for row in rows]).contiguous(memory_format=torch.channels_last)

    def _image(self, row: int) -> Any:
        image = self.task.caption_set.images[row]
        try:
            return decode(read_image(image))
        except RefusedImage as problem:
            raise DataError(f"{image.named}: {problem.reason} ({problem.detail}).") from problem

    def code_switch(self, language: str) -> EditKind:
        raise UsageError(
            f"code-switch needs the words of the training bitext, which {self.task.caption_set.name} lacks: leave it "
            "out, or attack the emoji."
        )

    def image_id(self, row: int) -> str:
        return self.task.caption_set.images[row].id

    def file_stem(self, query: AttackedQuery) -> str:
        """Return the name of an image file: the image's row, and the query's id without special characters."""
        plain = "".join(one if one.isalnum() or one in "-_.#" else "_" for one in query.id[-100:])
        return f"{query.image}-{plain}"


def some_of(queries: Sequence[Any], most: int, seed: int) -> list[Any]:
    """Return up to ``most`` queries that are no copies of English, by concepts in one order for all languages."""
    concepts = sorted({query.concept for query in queries}, key=lambda one: _place(one, seed))
    place = {concept: number for number, concept in enumerate(concepts)}
    kept = [query for query in queries if not query.copied]
    return sorted(kept, key=lambda query: place[query.concept])[:most]


def _place(name: str, seed: int) -> int:
    return int(np.random.default_rng([seed, *name.encode()]).integers(2**62))
