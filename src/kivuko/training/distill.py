"""One distillation from start to finish: bitext and teacher in, model out."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

import kivuko
from kivuko.bitext import Bitext
from kivuko.encoders.model import About, TokenMean, read_about, refuse_foreign_folder, save_model
from kivuko.encoders.spelling import SpellingNeighbors, WordCounts
from kivuko.encoders.student import StaticStudent, Student, load_transformer_student, small_transformer
from kivuko.encoders.teacher import TextTeacher
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.errors import DataError
from kivuko.training.initialization import start_transformer, started_student, with_new_words
from kivuko.training.loop import Outcome, Validation, distill
from kivuko.training.recipe import Recipe
from kivuko.training.teacher_vectors import Progress, teacher_vectors

CardWriter = Callable[[About], str]


class Watch(Protocol):
    """Told of what goes on, so that someone can watch. All methods may do nothing."""

    def encoded(self, done: int, total: int) -> None:
        """``done`` of ``total`` English sentences have gone through the teacher."""

    def stepped(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """Training has taken a step; ``figures`` holds the loss and its parts."""


@dataclass(frozen=True)
class Job:
    """What to distill. ``student`` is "static", "small", or the name or folder of a Hugging Face encoder.

    ``held_out`` pairs select the best step and are never trained on. ``distractors`` are English sentences that make
    that selection harder.
    """

    bitext: Bitext
    held_out: Bitext
    recipe: Recipe
    student: str = "static"
    vocabulary_size: int = 16000
    seed: int = 0
    distractors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trained:
    """A trained student, what it is, how training went, and the teacher's mean token that it was trained with."""

    student: Any
    about: About
    outcome: Outcome
    token_mean: TokenMean


def build_student(
    spec: str,
    bitext: Bitext,
    teacher: TextTeacher,
    recipe: Recipe,
    *,
    size: int,
    seed: int,
    progress: Progress | None = None,
) -> Any:
    """Make the student that ``spec`` names; a small one gets a vocabulary from the bitext's own texts.

    How it starts is the recipe's ``[student]`` table: see ``distill.start`` and, for transformers, ``distill.resize``.

    Raises:
        ModelError: ``spec`` names a model that does not load.
    """
    torch.manual_seed(seed)
    if spec not in ("static", "small"):
        student = load_transformer_student(spec, teacher.dim)
        known = len(student.tokenizer)
        if recipe.start.vectors != "random":
            with_new_words(student, bitext, recipe.start)
        recipe.fine_tuning.prepare(student, new_words=len(student.tokenizer) > known)
        return student
    if recipe.augmentation is not None:
        bitext = recipe.augmentation.with_copies(bitext, seed)
    tokenizer = train_vocabulary((pair.text for pair in bitext.pairs), size)
    if spec == "static":
        return started_student(tokenizer, bitext, teacher, recipe, progress)
    student = small_transformer(tokenizer, teacher.dim)
    if recipe.start.vectors != "random":
        start_transformer(student, tokenizer, bitext, teacher, recipe.start)
    return student


def train_student(
    job: Job, teacher: TextTeacher, checkpoints: Path | None = None, watch: Watch | None = None
) -> Trained:
    """Train a student for ``job``.

    Raises:
        DataError: nothing to train or to select on.
        KivukoError: see ``distill.trainer.distill``.
    """
    if not len(job.bitext):
        raise DataError("no pairs to train on: every line of the bitext was left out.")
    if not len(job.held_out):
        raise DataError("no pairs held out to select on: give more bitext, or a larger --validation-share.")
    sentences = [
        *(p.english for p in job.bitext.pairs),
        *(p.english for p in job.held_out.pairs),
        *job.distractors,
    ]
    vectors = teacher_vectors(teacher, sentences, progress=watch.encoded if watch else None)
    student = build_student(
        job.student, job.bitext, teacher, job.recipe, size=job.vocabulary_size, seed=job.seed,
        progress=watch.encoded if watch else None,
    )  # fmt: skip
    noise = job.recipe.augmentation
    # A student that learns from misspelled sentences still improves on them when it no longer does on clean ones.
    asked = job.held_out if noise is None else noise.with_copies(job.held_out, job.seed)
    validation = Validation.from_bitext(asked, job.distractors, vectors)
    if job.recipe.start.neighbors and isinstance(student, StaticStudent):
        student.spelling = SpellingNeighbors.from_bitext(job.bitext)
    outcome = distill(
        student, job.bitext, vectors, job.recipe, validation,
        seed=job.seed, checkpoints=checkpoints, report=watch.stepped if watch else None,
    )  # fmt: skip
    about = About(
        teacher=teacher.name, teacher_source=teacher.source, student=student.name,
        recipe=job.recipe.name, seed=job.seed,
        bitext_sizes={code: len(pairs) for code, pairs in job.bitext.by_language().items()},
        best_step=outcome.best_step, validation_score=outcome.best_score, run=job_key(job, teacher),
        kivuko=kivuko.__version__, fertility=fertility(student, job.held_out), teacher_prompt=teacher.prompt or "",
    )  # fmt: skip
    return Trained(student, about, outcome, TokenMean(vectors.mean, teacher.fingerprint, job.recipe.centers_student))


def distill_to_folder(
    job: Job,
    teacher: TextTeacher,
    image_tower: Any | None,
    out: Path,
    card: CardWriter,
    watch: Watch | None = None,
) -> tuple[About, bool]:
    """Train and save a model at ``out``; go on from ``OUT.training`` if an earlier run of the same job was killed.

    If ``out`` already holds the outcome of the very same job, it stays as it is.

    Returns:
        What the model is, and whether it was trained now.

    Raises:
        KivukoError: see ``train_student`` and ``save_model``.
    """
    refuse_foreign_folder(out)
    about, key = read_about(out), _model_key(job, teacher, image_tower)
    if about is not None and about.run == key:
        return about, False
    checkpoints = out.with_name(f"{out.name}.training")
    trained = train_student(job, teacher, checkpoints, watch)
    about = replace(trained.about, run=key)
    words = WordCounts.from_bitext(job.bitext)
    save_model(out, trained.student, image_tower, about, card(about), trained.token_mean, words)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return about, True


def _model_key(job: Job, teacher: TextTeacher, image_tower: Any | None) -> str:
    """Hash all that decides what is in a model: the job, and the weights of the image tower."""
    digest = hashlib.sha256(job_key(job, teacher).encode())
    if image_tower is not None:
        for name, value in sorted(image_tower.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def job_key(job: Job, teacher: TextTeacher) -> str:
    """Hash all that decides what a job makes: pairs, recipe, student, seed and the teacher's weights."""
    settings = [
        job.recipe.name, asdict(job.recipe.schedule), [asdict(term) for term in job.recipe.terms],
        asdict(job.recipe.start), asdict(job.recipe.augmentation) if job.recipe.augmentation else None,
        asdict(job.recipe.fine_tuning),
        job.student, job.vocabulary_size, job.seed, job.distractors, teacher.fingerprint,
        kivuko.__version__,
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(settings).encode())
    for pairs in (job.bitext.pairs, job.held_out.pairs):
        digest.update(json.dumps([(p.language, p.text, p.english) for p in pairs]).encode())
    return digest.hexdigest()


def fertility(student: Student, bitext: Bitext) -> dict[str, float]:
    """Return, per language, the mean number of subwords per word: 1 is best, above about 3 words fall to pieces."""
    result = {}
    for language, pairs in bitext.by_language().items():
        words = sum(len(pair.text.split()) for pair in pairs)
        result[language] = round(sum(len(student.tokenize(pair.text)) for pair in pairs) / max(1, words), 3)
    return result
