"""What all runs of a study share: queries, pictures, documents, and the teacher's vectors of every known text."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kivuko.bitext import word_list
from kivuko.datasets.emoji import EmojiWorld, shipped_image_tower
from kivuko.datasets.emoji.documents import english_documents
from kivuko.distill.recipe import Recipe
from kivuko.distill.teacher_vectors import TeacherVectors, teacher_vectors
from kivuko.distill.teacher_words import whole_words
from kivuko.encoders.bundle import quiet
from kivuko.encoders.image_tower import load_image_tower
from kivuko.encoders.teacher import TextTeacher, load_teacher
from kivuko.encoders.token_batch import TokenBatch
from kivuko.errors import ModelError
from kivuko.gallery import emoji_gallery
from kivuko.studies.demo import emoji_job
from kivuko.transport import TokenLists

SPLITS = ("validation", "test")
ENGLISH = "en"


@dataclass(frozen=True, eq=False)
class KnownTexts:
    """The teacher's vectors of texts, as arrays, which go to another process more safely than tensors do.

    ``tokens`` float16 [total, dim], ``offsets`` int64 [texts + 1], ``pooled`` float32 [texts, dim]; see TeacherVectors.
    """

    texts: tuple[str, ...]
    tokens: NDArray[np.float16]
    offsets: NDArray[np.int64]
    pooled: NDArray[np.float32]

    @classmethod
    def of(cls, found: TeacherVectors) -> KnownTexts:
        """Take the vectors out of their tensors."""
        return cls(tuple(found.sentences), found.tokens.numpy(), found.offsets.numpy(), found.pooled.numpy())

    def vectors(self, mean: NDArray[np.float32]) -> TeacherVectors:
        """Put them back into tensors."""
        rows = {text: row for row, text in enumerate(self.texts)}
        return TeacherVectors(rows, *(torch.from_numpy(a) for a in (self.tokens, self.offsets, self.pooled, mean)))


class KnownTeacher(TextTeacher):
    """A teacher that has its vectors of known texts at hand, and loads its weights for the first other text.

    Most runs ask for known texts only, and loading takes longer than they do.
    """

    def __init__(self, name: str, source: str, fingerprint: str, known: Sequence[TeacherVectors]) -> None:
        self.name, self.source, self.fingerprint = name, source, fingerprint
        self.dim = known[0].pooled.shape[1]
        self._known = known
        self._loaded: TextTeacher | None = None

    @property
    def model(self) -> Any:
        """The SentenceTransformer itself, loaded if need be."""
        return self._whole().model

    def accelerated(self) -> contextlib.AbstractContextManager[None]:
        """Within, nothing is otherwise: what is known needs no device, and several workers would fight over one."""
        return contextlib.nullcontext()

    def encode_tokens(self, texts: list[str]) -> TokenBatch:
        """See TextTeacher; tokens of known texts are rounded to half precision, as training has them."""
        for known in self._known:
            rows = known.sentences
            if all(text in rows for text in texts):
                return known.batch(torch.tensor([rows[text] for text in texts]))
        return self._whole().encode_tokens(texts)

    def _whole(self) -> TextTeacher:
        if self._loaded is None:
            with quiet():
                found = load_teacher(self.source)
            if found.fingerprint != self.fingerprint:
                raise ModelError(f"{self.source}: the teacher has changed since the study began. Run it again.")
            self._loaded = found
        return self._loaded


@dataclass(frozen=True, eq=False)
class Bench:
    """What every run is measured on, and made from. It goes to each worker process, so it holds plain arrays.

    Attributes:
        world: the emoji world, without its pixels.
        pictures: unit vectors of all pictures, float32 [images, dim].
        documents: the distinct English documents; ``document_rows`` int64 [images] says which one is a picture's.
        known: every English text that a run may ask the teacher for, translations aside; ``words``: those of the
            teacher's own vocabulary, where a recipe asks for them.
        mean: float32 [dim], the teacher's mean content token over the English side of training and validation.
    """

    world: EmojiWorld
    languages: tuple[str, ...]
    pictures: NDArray[np.float32]
    documents: KnownTexts
    document_rows: NDArray[np.int64]
    known: KnownTexts
    mean: NDArray[np.float32]
    teacher_name: str
    teacher_source: str
    teacher_fingerprint: str
    words: KnownTexts | None = None

    @cached_property
    def teacher(self) -> KnownTeacher:
        """The English teacher."""
        known = [one.vectors(self.mean) for one in (self.known, self.words) if one is not None]
        return KnownTeacher(self.teacher_name, self.teacher_source, self.teacher_fingerprint, known)

    @cached_property
    def document_tokens(self) -> TokenLists:
        """The documents' tokens, one document per picture, centred on the teacher's mean token."""
        starts, ends = self.documents.offsets[self.document_rows], self.documents.offsets[self.document_rows + 1]
        parts = [self.documents.tokens[start:end] for start, end in zip(starts, ends, strict=True)]
        tokens = torch.from_numpy(np.concatenate(parts)).float()
        return TokenLists(tokens, torch.from_numpy(ends - starts), torch.from_numpy(self.mean))

    @cached_property
    def document_vectors(self) -> NDArray[np.float32]:
        """The documents' unit vectors, float32 [images, dim]."""
        return unit(self.documents.pooled[self.document_rows])

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all this: texts, splits, pictures and the teacher."""
        emoji = [(one.sequence, one.concept, one.split, one.image) for one in self.world.emoji]
        annotations = {
            code: [(sequence, own.name, own.keywords) for sequence, own in self.world.annotations[code].items()]
            for code in (ENGLISH, *self.languages)
        }
        told = [self.world.fingerprint, emoji, annotations, self.languages, self.teacher_fingerprint]
        digest = hashlib.sha256(json.dumps(told).encode())
        for array in (self.pictures, self.documents.pooled, self.mean):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def make_bench(
    world: EmojiWorld,
    languages: Sequence[str],
    teacher: TextTeacher,
    *,
    words: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Bench:
    """Encode pictures, documents and sentences, or read them from the cache.

    Args:
        words: whether recipes ask for the words of the teacher's vocabulary, see :func:`asks_for_words`.
        progress: told (done, total) while the teacher encodes.

    Raises:
        KivukoError: see ``load_image_tower``, ``emoji_gallery`` and ``teacher_vectors``.
    """
    with quiet():
        tower = load_image_tower(shipped_image_tower(), teacher.dim)
    job = emoji_job(world, languages, "mse")
    learned = dict.fromkeys(
        [*(pair.english for pair in (*job.bitext.pairs, *job.held_out.pairs)), *job.distractors],
    )
    queries = [query.text for split in SPLITS for code in (ENGLISH, *languages) for query in world.queries(code, split)]
    spoken = sorted({word for pair in job.bitext.pairs for word in word_list(pair.english)})
    known = teacher_vectors(teacher, [*learned, *queries, *spoken], progress=progress)
    own = teacher_vectors(teacher, whole_words(teacher.model.tokenizer), progress=progress) if words else None
    documents = english_documents(world)
    found = teacher_vectors(teacher, documents, progress=progress)
    return Bench(
        world=replace(world, images=np.zeros((len(world.images), 0, 0, 4), dtype=np.uint8)),
        languages=tuple(languages),
        pictures=emoji_gallery(tower, world).vectors,
        documents=KnownTexts.of(found),
        document_rows=np.array([found.sentences[text] for text in documents], dtype=np.int64),
        known=KnownTexts.of(known),
        mean=known.tokens[: int(known.offsets[len(learned)])].float().mean(0).numpy(),
        teacher_name=teacher.name, teacher_source=teacher.source, teacher_fingerprint=teacher.fingerprint,
        words=None if own is None else KnownTexts.of(own),
    )  # fmt: skip


def asks_for_words(recipes: Sequence[Recipe]) -> bool:
    """Tell whether a recipe starts from the words of the teacher's vocabulary."""
    return any(recipe.start.teacher_words or recipe.start.vectors != "random" for recipe in recipes)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors [n, dim] at length 1; zeros stay zeros."""
    found: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
    return found
