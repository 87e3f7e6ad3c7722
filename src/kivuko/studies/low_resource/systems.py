"""Making the system of a run: a student, a translator before the teacher, or a reference; then measuring it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from kivuko.bitext import Bitext, take_pairs
from kivuko.encoders.model import quiet
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.evaluation import Condition
from kivuko.studies.demo import emoji_job
from kivuko.studies.low_resource import grid
from kivuko.studies.low_resource.grid import Run
from kivuko.studies.low_resource.inputs import (
    ENGLISH,
    EncodedQueries,
    Evaluator,
    Measured,
    StudyInputs,
    encode_queries,
    encode_translations,
    query_texts,
)
from kivuko.studies.low_resource.runs import RunFile
from kivuko.training.student_training import Job, train_student
from kivuko.translation.translator import Translator

Made = tuple[EncodedQueries, str, dict[str, float | int | str]]  # queries, the model's name, notes


def prepare(bench: StudyInputs) -> Callable[[RunFile], Measured]:
    """Return what makes and measures the run of a file."""
    yardstick = Evaluator(bench)
    return lambda file: perform(file.run, yardstick)


def perform(run: Run, yardstick: Evaluator) -> Measured:
    """Make the system of ``run`` and measure it on both splits.

    Raises:
        KivukoError: training diverged, a model does not load, or it does not know a language.
    """
    started, bench = time.monotonic(), yardstick.inputs
    queries, model, notes = _made(run, bench)
    condition = Condition(
        dataset="", split="", model=model, objective=run.objective, bitext_size=run.size, seed=run.seed
    )
    measured = yardstick.measure(queries, condition, with_english=run.kind == grid.TEACHER)
    return replace(measured, notes={**notes, "seconds": round(time.monotonic() - started, 1)})


def sample(run: Run, bench: StudyInputs) -> Bitext:
    """Return the bitext that ``run`` learns from: the same for every objective of a size and seed."""
    whole = bench.world.bitext(bench.languages, "train")
    return whole if run.whole or run.size is None else take_pairs(whole, run.size, run.seed or 0)


def _made(run: Run, bench: StudyInputs) -> Made:
    match run.kind:
        case grid.TEACHER:
            texts = query_texts(bench, [ENGLISH, *bench.languages])
            return encode_queries(bench.teacher, texts, bench.mean), bench.teacher.name, {}
        case grid.UNTRAINED:
            student = _untrained(bench)
            return encode_queries(student, query_texts(bench, bench.languages)), student.name, {}
        case grid.DISTILLATION:
            return _distilled(run, bench)
        case _:
            translator, notes = translator_of(run, bench)
            texts = query_texts(bench, bench.languages)
            queries = encode_translations(translator, bench.teacher, texts, bench.mean)
            return queries, translator.name, notes


def _distilled(run: Run, bench: StudyInputs) -> Made:
    """Student tokens stay as they are in late interaction: taking the teacher's mean from them destroys them."""
    trained = train_student(job_of(run, bench), bench.teacher)
    queries = encode_queries(trained.student, query_texts(bench, bench.languages))
    outcome = trained.outcome
    notes: dict[str, float | int | str] = {
        "best_step": outcome.best_step,
        "validation_score": outcome.best_score,
        "training_seconds": round(outcome.seconds, 1),
    }
    return queries, trained.about.student, notes


def job_of(run: Run, bench: StudyInputs) -> Job:
    """Return the distillation that a run stands for."""
    assert run.recipe is not None
    job = emoji_job(bench.world, bench.languages, run.recipe, run.seed or 0)
    return replace(job, bitext=sample(run, bench))


def _untrained(bench: StudyInputs) -> StaticStudent:
    """The static student of seed 0 over the whole bitext's vocabulary, before its first step."""
    bitext = bench.world.bitext(bench.languages, "train")
    torch.manual_seed(0)
    student = StaticStudent(train_vocabulary(pair.text for pair in bitext.pairs), bench.teacher.dim)
    return student.eval()


def translator_of(run: Run, bench: StudyInputs) -> tuple[Translator, dict[str, float | int | str]]:
    """Train or load the translator of a run, and tell how that went."""
    if run.kind == grid.PRETRAINED:
        from kivuko.translation.pretrained import load_translator

        return load_translator(run.translator or ""), {}
    if run.kind == grid.LEXICAL:
        from kivuko.translation.word_table import train_lexical

        return train_lexical(sample(run, bench)), {}
    from kivuko.translation.training import train_translator

    held_out = bench.world.bitext(bench.languages, "validation", keywords=False)
    with quiet():
        translator, outcome = train_translator(sample(run, bench), held_out, run.translation, seed=run.seed or 0)
    return translator, {
        "best_step": outcome.best_step,
        "validation_score": outcome.best_score,
        "training_seconds": round(outcome.seconds, 1),
    }
