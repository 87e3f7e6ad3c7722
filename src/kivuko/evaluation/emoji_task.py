"""Evaluating a model on the emoji world, beside its ceiling (the English teacher) and its floor (no training)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kivuko.encoders.model import About, encode_texts, untrained_copy
from kivuko.encoders.teacher import TextTeacher
from kivuko.evaluation import Condition, Header, LanguageScores, PerQueryScores, Record, per_query_scores, summarize
from kivuko.evaluation.emoji import DATASET, protocol, score_languages
from kivuko.languages import resource_groups
from kivuko.search import EmojiGallery

ENGLISH = "en"
UNTRAINED, TEACHER = "untrained", "teacher"  # objectives of the floor and of the ceiling in records


@dataclass
class Results:
    """Records and per-query scores gathered so far, on one gallery and split."""

    gallery: EmojiGallery
    languages: tuple[str, ...]
    split: str = "test"
    records: list[Record] = field(default_factory=list)
    per_query: list[PerQueryScores] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    _english: LanguageScores | None = None

    @property
    def low_resource(self) -> tuple[str, ...]:
        """The low-resource languages among those measured."""
        return tuple(resource_groups(self.languages)["low-resource"])

    def add_teacher(self, teacher: TextTeacher) -> None:
        """Score the English teacher on English queries (the ceiling) and on each language's, put as they are."""
        scores = self._score(teacher_encoder(teacher), [ENGLISH, *self.languages])
        self._english = scores[0]
        self._add(scores, self._condition(teacher.name, TEACHER), keep_english=True)

    def add_model(self, model: Any, name: str, about: About) -> None:
        """Score a trained model. Parity needs ``add_teacher`` first."""
        self.seeds.append(about.seed)
        condition = self._condition(name, about.recipe, about.pairs_per_language, about.seed)
        self._add(self._score(lambda texts: encode_texts(model, texts), self.languages), condition)

    def add_untrained(self, model: Any, name: str) -> None:
        """Score the same model with random weights on its text side: the floor."""
        blank = untrained_copy(model)
        scores = self._score(lambda texts: encode_texts(blank, texts), self.languages)
        self._add(scores, self._condition(name, UNTRAINED))

    def header(self, command: str) -> Header:
        """Return the header that says how these records came to be."""
        told = {**protocol(self.gallery.world, self.split), "languages": list(self.languages)}
        return Header(command=command, protocol=told, seeds=sorted(set(self.seeds)))

    def _condition(self, model: str, objective: str, size: int | None = None, seed: int | None = None) -> Condition:
        return Condition(
            dataset=DATASET, split=self.split, model=model, objective=objective, bitext_size=size, seed=seed
        )

    def _score(
        self, encode: Callable[[Sequence[str]], NDArray[np.float32]], codes: Iterable[str]
    ) -> list[LanguageScores]:
        return score_languages(encode, self.gallery.vectors, self.gallery.world, list(codes), self.split)

    def _add(self, scores: list[LanguageScores], condition: Condition, keep_english: bool = False) -> None:
        """Summarize; the teacher's English scores lend the parity its denominator and are recorded once."""
        reference = [self._english] if self._english is not None and not keep_english else []
        groups = {str(name): codes for name, codes in resource_groups(self.languages).items() if codes}
        summary = summarize([*reference, *scores], condition, groups=groups, reference=ENGLISH)
        self.records += [record for record in summary.records if keep_english or record.language != ENGLISH]
        self.per_query += per_query_scores(scores, condition)


def teacher_encoder(teacher: TextTeacher) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """Return a function from texts to the teacher's unit sentence vectors, float32 [texts, dim]."""

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        parts = [teacher.encode_tokens(list(texts[i : i + 256])).pooled for i in range(0, len(texts), 256)]
        found = np.concatenate([part.cpu().numpy() for part in parts]).astype(np.float32)
        unit: NDArray[np.float32] = found / np.linalg.norm(found, axis=1, keepdims=True).clip(min=1e-12)
        return unit

    return encode
