"""The systems under attack, from queries to vectors and gradients, and the attacks on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from kivuko.datasets.emoji.world import Query
from kivuko.encoders.teacher import TextTeacher
from kivuko.encoders.token_batch import Encoder
from kivuko.perturbations.catalog import CODE_SWITCH
from kivuko.perturbations.runner import AttackRunner, image_side
from kivuko.perturbations.target import Attacked, QuerySet, to_bytes
from kivuko.perturbations.text.gradients import GradientEncoder, gradient_encoder
from kivuko.perturbations.text.search import EncodeTexts
from kivuko.studies import grid
from kivuko.studies.grid import Run
from kivuko.studies.inputs import ENGLISH, StudyInputs, unit
from kivuko.studies.low_resource import job_of, training_notes, translator_of
from kivuko.studies.robustness.grid import PlannedAttack
from kivuko.studies.robustness.inputs import (
    RobustnessInputs,
    StudyDraws,
    StudyTarget,
    TowerImages,
    Vectors,
    is_crafted,
)
from kivuko.studies.runs import Notes
from kivuko.training.student_training import train_student
from kivuko.translation.translate_test import translate_test

_BATCH = 256
_MOST_REMEMBERED = 300_000  # texts whose vectors are cached: some 500 MB


@dataclass(frozen=True, eq=False)
class System:
    """A model that queries are encoded with."""

    name: str  # of the model, for the records
    languages: tuple[str, ...]  # of its queries
    encoder: Callable[[str], EncodeTexts]  # language -> texts -> unit vectors, float32 [texts, dim]
    gradients: GradientEncoder | None = None
    slow: bool = False  # only under attacks planned for ``translators`` too
    notes: Notes = field(default_factory=dict)  # on its training


def make_system(run: Run, inputs: StudyInputs) -> System:
    """Train or load the system of a run."""
    if run.kind == grid.TEACHER:
        encode = encoder_of(inputs.teacher)
        return System(inputs.teacher.name, (ENGLISH,), lambda _code: encode)
    if run.kind == grid.DISTILLATION:
        trained = train_student(job_of(run, inputs), inputs.teacher)
        inside = gradient_encoder(trained.student)
        return System(trained.about.student, inputs.languages, lambda _code: inside.encode, inside,
                      notes=training_notes(trained.result))  # fmt: skip
    translator, notes = translator_of(run, inputs)
    english = _remembering(inputs.teacher)
    return System(
        translator.name, inputs.languages, lambda code: translate_test(translator, english, code),
        slow=True, notes=notes,
    )  # fmt: skip


def encoder_of(encoder: Encoder) -> EncodeTexts:
    """Return a function from texts to an encoder's unit sentence vectors, with a cache."""
    known: dict[str, NDArray[np.float32]] = {}

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        if len(known) > _MOST_REMEMBERED:
            known.clear()
        new = sorted({text for text in texts if text not in known}, key=lambda text: (len(text), text))
        for start in range(0, len(new), _BATCH):
            part = new[start : start + _BATCH]
            vectors = unit(encoder.encode_tokens(part).pooled.float().cpu().numpy())
            known.update(zip(part, vectors, strict=True))
        return np.stack([known[text] for text in texts])

    return encode


_english: dict[str, EncodeTexts] = {}  # the last teacher's encoder


def _remembering(teacher: TextTeacher) -> EncodeTexts:
    """Return the teacher's encoder, one for all runs of a process: translations of different runs are often equal."""
    if teacher.fingerprint not in _english:
        _english.clear()
        _english[teacher.fingerprint] = encoder_of(teacher)
    return _english[teacher.fingerprint]


@dataclass(frozen=True, eq=False)
class SearchResult:
    """One language's queries on one tower's images, clean or under one attack.

    ``queries`` and ``ranks`` (int64 [queries], from 1) belong together; ``attacked`` None: clean.
    """

    tower: TowerImages
    language: str
    queries: Sequence[Query]
    ranks: NDArray[np.int64]
    attacked: Attacked | None = None

    @property
    def condition(self) -> tuple[str, str | None, float | None]:
        spec = None if self.attacked is None else self.attacked.spec
        return self.tower.name, spec.label if spec else None, spec.budget if spec else None

    @property
    def shown(self) -> Mapping[int, NDArray[np.uint8]]:
        """Perturbed images by their rows, uint8 [3, h, w], of those that were kept."""
        if self.attacked is None or self.attacked.images is None:
            return {}
        if self.attacked.images.pixels is None:
            return self.tower.shown[image_side(self.attacked.spec)]
        return dict(zip(self.attacked.images.rows.tolist(), to_bytes(self.attacked.images.pixels), strict=True))


def attacked(system: System, code: str, inputs: RobustnessInputs, seed: int) -> Iterator[SearchResult]:
    """Run the plan's attacks on a system's queries of one language; ``seed``: of all draws.

    Text and joint attacks search the first tower's images, attacks on images those of every tower.
    """
    encode, queries = system.encoder(code), inputs.queries(code)
    vectors = encode([query.text for query in queries])
    for tower in inputs.towers:
        everything = _query_set(code, queries, vectors, inputs)
        clean = everything.goal(tower.gallery).rank(vectors, np.arange(len(queries))).ranks
        yield SearchResult(tower, code, queries, clean)
        runner = _runner(system, encode, tower, inputs, seed)
        for planned in inputs.plan.attacks:
            if not _applies(planned, system, code, first=tower is inputs.towers[0]):
                continue
            rows = _attacked_rows(planned, queries, tower, inputs)
            if not rows:
                continue
            some = [queries[row] for row in rows]
            for one in runner.run(planned.specs, _query_set(code, some, vectors[rows], inputs)):
                yield SearchResult(tower, code, some, one.ranks_after, one)


def _runner(
    system: System, encode: EncodeTexts, tower: TowerImages, inputs: RobustnessInputs, seed: int
) -> AttackRunner:
    target = StudyTarget(
        tower.gallery, lambda: tower.tower, tower.pixels_of, encode, encode, system.gradients, inputs.tables
    )  # fmt: skip
    return AttackRunner(target, {}, StudyDraws(seed, tuple(inputs.plan.noises())), dict(tower.crafted))


def _applies(planned: PlannedAttack, system: System, code: str, first: bool) -> bool:
    """Return True if an attack of the plan is for this system and tower."""
    spec = planned.specs[0]
    if planned.against_images:
        return True
    if not first or (system.slow and not planned.translators) or (spec.attack.name == CODE_SWITCH and code == ENGLISH):
        return False
    return spec.attack.kind == "joint" or spec.attack.needs != "gradients" or system.gradients is not None


def _attacked_rows(
    planned: PlannedAttack, queries: Sequence[Query], tower: TowerImages, inputs: RobustnessInputs
) -> list[int]:
    """Return the rows of the attacked queries: of the planned concepts, with images whose pixels are kept."""
    chosen = None if planned.concepts is None else set(inputs.concepts[: planned.concepts])
    side = image_side(planned.specs[0])
    images = {row for _, row in tower.crafted[side].places} if is_crafted(side) else set(tower.pixels)
    on_text = planned.specs[0].attack.kind == "text"
    return [
        row
        for row, query in enumerate(queries)
        if (chosen is None or query.concept in chosen) and (on_text or query.image in images)
    ]


def _query_set(code: str, queries: Sequence[Query], vectors: Vectors, inputs: RobustnessInputs) -> QuerySet:
    own = np.array([query.image for query in queries], dtype=np.int64)
    names = [inputs.names[query.image] for query in queries]
    return QuerySet(code, [query.id for query in queries], [query.text for query in queries], own, vectors, names)
