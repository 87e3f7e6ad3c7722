"""Evaluating a model on an image-caption set, beside its ceiling (the English teacher) and its floor (no training)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kivuko.datasets.captions import EVERY_CAPTION, CaptionSet
from kivuko.encoders.model import About, encode_texts, untrained_copy
from kivuko.encoders.teacher import TextTeacher
from kivuko.errors import DataError
from kivuko.evaluation import (
    PARITY,
    Condition,
    Header,
    LanguageScores,
    PerQueryScores,
    Record,
    per_query_scores,
    summarize,
)
from kivuko.evaluation.captions import DIRECTIONS, dataset_name, protocol, score_captions
from kivuko.evaluation.emoji_task import ENGLISH, TEACHER, UNTRAINED, teacher_encoder
from kivuko.evaluation.vectors import ImageVectors
from kivuko.languages import resource_groups
from kivuko.search.decoding import Refused

UNTOLD = "unknown"  # objective of a model that Kivuko did not make
_REFERENCE = "en (teacher)"  # what the teacher's English is called while it lends parity its denominator
_BLOCK = 1024  # texts between two calls of progress
Encode = Callable[[Sequence[str]], NDArray[np.float32]]
Progress = Callable[[int, int], None]


def without_missing(caption_set: CaptionSet, skip_missing: bool) -> CaptionSet:
    """Return the set without the images that are not where it lies: known before any is encoded.

    Raises:
        DataError: some are missing, and ``skip_missing`` is not set; or all are.
    """
    refused = {row: Refused("missing") for row, one in enumerate(caption_set.images) if one.path is None}
    return _without(caption_set, refused, skip_missing)


def without_broken(
    caption_set: CaptionSet, found: ImageVectors, skip_missing: bool
) -> tuple[CaptionSet, NDArray[np.float32], str]:
    """Return the set without the images that could not be read or decoded, the others' vectors and their digest.

    Raises:
        DataError: there are such, and ``skip_missing`` is not set; or there are no others.
    """
    kept = [row for row in range(len(caption_set.images)) if row not in found.refused]
    left = _without(caption_set, found.refused, skip_missing)
    return left, found.vectors[kept], found.digest()


def _without(caption_set: CaptionSet, refused: Mapping[int, Refused], skip_missing: bool) -> CaptionSet:
    if not refused:
        return caption_set
    row = min(refused)
    why, total = refused[row], len(caption_set.images)
    told = f"{caption_set.images[row].named}: {why.reason}{f' ({why.detail})' if why.detail else ''}"
    if len(refused) == total:
        raise DataError(
            f"{caption_set.name}: none of its {total:,} images can be read; the first: {told}. Name the folder that "
            "holds them after a comma: PATH,IMAGES"
        )
    if not skip_missing:
        raise DataError(
            f"{caption_set.name}: {len(refused):,} of its {total:,} images cannot be read; the first: {told}. Name "
            "their folder after a comma (PATH,IMAGES), or leave them out with --skip-missing"
        )
    reasons = {caption_set.images[number].id: one.reason for number, one in refused.items()}
    for reason in sorted(set(reasons.values())):
        gone = frozenset(name for name, one in reasons.items() if one == reason)
        caption_set = caption_set.without(gone, f"image: {reason}")
    if not caption_set.captions:
        raise DataError(f"{caption_set.name}: no caption is left, for the images that have one cannot be read")
    return caption_set


@dataclass
class CaptionResults:
    """Records and per-query scores gathered so far, on one set.

    ``vectors``: unit vectors of its images, float32 [images, dim]. ``digest``: SHA-256 over the images.
    """

    caption_set: CaptionSet
    languages: tuple[str, ...]
    vectors: NDArray[np.float32]
    digest: str
    captions: str = EVERY_CAPTION
    records: list[Record] = field(default_factory=list)
    per_query: list[PerQueryScores] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    progress: Progress | None = None
    _english: dict[str, LanguageScores] = field(default_factory=dict)

    @property
    def has_english(self) -> bool:
        """Whether the set has English captions, which the ceiling is measured on."""
        return ENGLISH in self.caption_set.captions

    def add_teacher(self, teacher: TextTeacher) -> None:
        """Score the English teacher on English captions (the ceiling) and on each language's, put as they are."""
        codes = [*([ENGLISH] if self.has_english else []), *(code for code in self.languages if code != ENGLISH)]
        scores = self._score(teacher_encoder(teacher), codes)
        self._english = {
            direction: one for direction, found in scores.items() for one in found if one.language == ENGLISH
        }
        self._add(scores, teacher.name, TEACHER)

    def add_untrained(self, model: Any, name: str) -> None:
        """Score the same model with random weights on its text side: the floor."""
        blank = untrained_copy(model)
        self._add(self._score(lambda texts: encode_texts(blank, texts), self.languages), name, UNTRAINED)

    def add_model(self, model: Any, name: str, about: About | None) -> None:
        """Score the model. Parity needs ``add_teacher`` first, and English captions."""
        scores = self._score(lambda texts: encode_texts(model, texts), self.languages)
        if about is None:
            self._add(scores, name, UNTOLD)
            return
        self.seeds.append(about.seed)
        self._add(scores, name, about.recipe, about.pairs_per_language, about.seed)

    def header(self, command: str) -> Header:
        """Return the header that says how these records came to be."""
        told = protocol(self.caption_set, self.languages, self.captions, self.digest)
        return Header(command=command, protocol=told, seeds=sorted(set(self.seeds)))

    def _score(self, encode: Encode, codes: Sequence[str]) -> dict[str, list[LanguageScores]]:
        """Encode each language's captions once, and search in both directions."""
        found: dict[str, list[LanguageScores]] = {direction: [] for direction in DIRECTIONS}
        asked = [self.caption_set.of(code, self.captions) for code in codes]
        done, total = 0, sum(len(one.texts) for one in asked)
        for captions in asked:
            parts = []
            for start in range(0, len(captions.texts), _BLOCK):
                parts.append(encode(captions.texts[start : start + _BLOCK]))
                done += len(parts[-1])
                if self.progress is not None:
                    self.progress(done, total)
            scored = score_captions(self.caption_set, captions, np.concatenate(parts), self.vectors)
            for direction, scores in scored.items():
                found[direction].append(scores)
        return found

    def _add(
        self,
        scores: dict[str, list[LanguageScores]],
        model: str,
        objective: str,
        size: int | None = None,
        seed: int | None = None,
    ) -> None:
        for direction, found in scores.items():
            condition = Condition(
                dataset=dataset_name(self.caption_set, self.captions, direction),
                split=self.caption_set.split,
                model=model,
                objective=objective,
                bitext_size=size,
                seed=seed,
            )
            english = self._english.get(direction)
            reference = [] if english is None else [replace(english, language=_REFERENCE)]
            measured = {one.language for one in found}
            groups = {
                str(name): codes
                for name, codes in resource_groups(code for code in self.languages if code != ENGLISH).items()
                if codes and measured.issuperset(codes)
            }
            summary = summarize([*reference, *found], condition, groups=groups, reference=_REFERENCE)
            self.records += [record for record in summary.records if not _is_own_reference(record)]
            self.per_query += per_query_scores(found, condition)


def _is_own_reference(record: Record) -> bool:
    """Tell whether a record is of the denominator itself, or of the teacher's English over itself."""
    itself = record.objective == TEACHER and record.language == ENGLISH and record.measure == PARITY
    return itself or record.language == _REFERENCE
