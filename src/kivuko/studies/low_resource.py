"""The low-resource study, objectives × bitext sizes × seeds: which objective is best with little bitext?

At a size, all recipes have the same student, steps and selection. A seed, shared by all objectives for paired
comparisons, decides the sample of bitext, the student's first weights and the order of pairs.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kivuko.bitext.pairs import Bitext
from kivuko.bitext.sampling import take_pairs
from kivuko.encoders.model import load_model, quiet
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.teacher import load_teacher
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.evaluation.records import Condition, Header
from kivuko.languages import language, resource_groups
from kivuko.progress import progress_bar
from kivuko.studies import grid as grids
from kivuko.studies import inputs as shared
from kivuko.studies.data import ENGLISH, SPLITS, TEST, StudyData
from kivuko.studies.engine import FinishedRuns, Study, texts_of
from kivuko.studies.runs import Measured, Notes, RunFile
from kivuko.training.own_space import Encode, OwnSpace, shifted
from kivuko.training.student_training import Job, train_student
from kivuko.translation.translate_test import Translator

STUDY = "low-resource"
_Built = tuple[shared.EncodedQueries, str, Notes]  # queries, the model's name, notes
_FLAT = ("ties", "ranking", "R@k", "measured by", "intervals", "headline")


def prepare(inputs: shared.StudyInputs) -> Callable[[RunFile], Measured]:
    evaluator = shared.Evaluator(inputs)
    return lambda file: perform(file.run, evaluator)


def perform(run: grids.Run, evaluator: shared.Evaluator) -> Measured:
    """Train or load the system of ``run`` and measure it on both splits."""
    started, inputs = time.monotonic(), evaluator.inputs
    space = _own_space(run, inputs) if run.kind == grids.OWN_SPACE else None
    queries, model, notes = _built(run, inputs) if space is None else _own_queries(space, run, inputs)
    documents = None if space is None else space.documents(inputs.data.documents)
    condition = Condition(
        dataset="", split="", model=model, objective=run.objective, bitext_size=run.size, seed=run.seed
    )
    measured = evaluator.measure(queries, condition, run.kind == grids.TEACHER, run.recipe is not None, documents)
    return replace(measured, notes={**notes, "seconds": round(time.monotonic() - started, 1)})


def sample(run: grids.Run, inputs: shared.StudyInputs) -> Bitext:
    """Return the bitext of ``run``: the same for every objective of a size and seed."""
    whole = inputs.data.bitext("train")
    return whole if run.whole or run.size is None else take_pairs(whole, run.size, run.seed or 0, up_to=True)


def _built(run: grids.Run, inputs: shared.StudyInputs) -> _Built:
    if run.kind == grids.TEACHER:
        english = [ENGLISH] if inputs.data.has_english_queries else []
        texts = shared.query_texts(inputs, [*english, *inputs.languages])
        return shared.encode_queries(inputs.teacher, texts, inputs.mean), inputs.teacher.name, {}
    if run.kind == grids.UNTRAINED:
        student = _untrained(inputs)
        return shared.encode_queries(student, shared.query_texts(inputs, inputs.languages)), student.name, {}
    if run.kind == grids.DISTILLATION:
        return _distilled(run, inputs)
    translator, notes = translator_of(run, inputs)
    codes = inputs.languages
    if (
        not inputs.data.has_english_queries
    ):  # thousands of translated sentences are encoded: the group of the question only
        codes = resource_groups(codes)["low-resource"]
    texts = shared.query_texts(inputs, codes)
    return shared.encode_queries(inputs.teacher, texts, inputs.mean, translator), translator.name, notes


def _own_space(run: grids.Run, inputs: shared.StudyInputs) -> OwnSpace:
    encode = _encoder(run.student)
    return OwnSpace(encode) if run.objective == grids.ZERO_SHOT else shifted(encode, sample(run, inputs))


def _own_queries(space: OwnSpace, run: grids.Run, inputs: shared.StudyInputs) -> _Built:
    return shared.own_queries(space, shared.query_texts(inputs, inputs.languages)), run.student, {}


@lru_cache(maxsize=1)
def _encoder(student: str) -> Encode:
    """Return a pretrained student's encoder for all runs of a process; it encodes equal texts once."""
    model, known = load_model(student), dict[str, NDArray[np.float32]]()

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        known.update(zip(new, model.encode_text(new), strict=True) if new else ())
        return np.stack([known[text] for text in texts])

    return encode


def _distilled(run: grids.Run, inputs: shared.StudyInputs) -> _Built:
    # Student tokens stay as they are in late interaction: to subtract the teacher's mean destroys them.
    trained = train_student(job_of(run, inputs), inputs.teacher)
    queries = shared.encode_queries(trained.student, shared.query_texts(inputs, inputs.languages))
    notes = training_notes(trained.result)
    if trained.about.precision:
        notes["precision"] = trained.about.precision
    return queries, trained.about.student, notes


def job_of(run: grids.Run, inputs: shared.StudyInputs) -> Job:
    assert run.recipe is not None
    return Job(
        bitext=sample(run, inputs), held_out=inputs.data.bitext("validation"), recipe=run.recipe, student=run.student,
        seed=run.seed or 0, distractors=inputs.data.distractors, english=inputs.data.english,
    )  # fmt: skip


def _untrained(inputs: shared.StudyInputs) -> StaticStudent:
    """Return the static student of seed 0 over the whole bitext's vocabulary, before its first step."""
    bitext = inputs.data.bitext("train")
    torch.manual_seed(0)
    student = StaticStudent(train_vocabulary(pair.text for pair in bitext.pairs), inputs.teacher.dim)
    return student.eval()


def translator_of(run: grids.Run, inputs: shared.StudyInputs) -> tuple[Translator, Notes]:
    """Train or load the translator of a run; return it with notes on its training."""
    if run.kind == grids.PRETRAINED:
        from kivuko.translation.seq2seq import load_translator

        return load_translator(run.translator or ""), {}
    if run.kind == grids.LEXICAL:
        from kivuko.translation.translate_test import train_lexical

        return train_lexical(sample(run, inputs), run.aligner), {}
    from kivuko.translation.marian import train_translator

    held_out = inputs.data.bitext("validation")
    with quiet():
        translator, result = train_translator(sample(run, inputs), held_out, run.translation, seed=run.seed or 0)
    return translator, training_notes(result)


def training_notes(result: Any) -> Notes:
    return {
        "best_step": result.best_step,
        "validation_score": result.best_score,
        "training_seconds": round(result.seconds, 1),
    }


def encoded_inputs(data: StudyData, grid: grids.Grid, progress: bool | None) -> shared.StudyInputs:
    """Encode what all runs share, with a progress bar."""
    with quiet():
        teacher = load_teacher()
    with progress_bar("teacher", progress) as report:
        words = shared.needs_words(grid.recipes)
        return shared.study_inputs(data, teacher, words=words, image_tower=grid.image_tower, progress=report)


def study_header(
    grid: grids.Grid, inputs: shared.StudyInputs, bitext: Bitext, finished: FinishedRuns, command: str, workers: int
) -> Header:
    """Return the header of a study's records; ``bitext``: all training pairs of the study's languages."""
    data = inputs.data
    protocols, texts = data.protocols(), texts_of(STUDY, data.name)
    one = next(iter(protocols.values()))
    runs = [run for run, _ in finished]
    protocol: dict[str, Any] = {
        "study": STUDY,
        "standard": grid.standard,
        "quick": grid.steps == grids.QUICK_STEPS and grid.translation in (None, grids.QUICK_TRANSLATION),
        "question": texts["question"],
        "datasets": _datasets(data),
        "scoring": texts["scoring"],
        **{key: one[key] for key in _FLAT},
        "queries": texts["queries"],
        "splits": _splits(data),
        "languages": {code: language(code).name for code in inputs.languages},
        "groups": {str(name): list(codes) for name, codes in resource_groups(inputs.languages).items()},
        "sizes": [size for size in dict.fromkeys(run.size for run in runs) if size is not None],
        "pairs in all": {code: len(pairs) for code, pairs in bitext.by_language().items()},
        "sampling": texts["sampling"],
        "seeds": texts["seeds"],
        "steps": {str(run.size): grid.steps_at(run.size) for run in runs if run.size is not None},
        "batch": grid.batch,
        "student": texts["student" if grid.student == "static" else "student_pretrained"].format(student=grid.student),
        **({"English text": f"{len(data.english):,} sentences without translations"} if data.english else {}),
        "selection in a run": texts["selection"].format(every=grids.VALIDATE_EVERY),
        "validation data": texts["validation"].format(concepts=data.concepts("validation")),
        "teacher": {"name": inputs.teacher_name, "fingerprint": inputs.teacher_fingerprint},
        "translation": _translation(grid),
        "recipes": _recipes(grid, texts, runs),
        **({"contrasts": contrasts} if (contrasts := grids.contrasts(grid)) else {}),
        "workers": workers,
        "seconds per run": _seconds(finished),
        "fingerprint": inputs.fingerprint,
        "limits": limits(grid, inputs),
    }
    return Header(command=command, protocol=protocol, seeds=grid.seeds)


def limits(grid: grids.Grid, inputs: shared.StudyInputs) -> list[str]:
    """Return the limits of the study, a line each."""
    texts = texts_of(STUDY, inputs.data.name)
    lines: list[str] = [*texts["limits"]]
    if inputs.learned_splits:
        lines.append(texts["limit_seen" if TEST in inputs.learned_splits else "limit_unseen"])
    least = min((size for size in grid.sizes if size is not None), default=None)
    held_out = len(inputs.data.queries(inputs.languages[0], "validation"))
    if least is not None and held_out > least:
        lines.append(texts["limit_validation"].format(held_out=held_out, least=least))
    if grid.translator is not None:
        lines.append(texts["limit_translator"].format(translator=grid.translator))
    if "ibm1" in grid.tables and "fast_align" not in grid.tables:
        lines.append(texts["limit_fast_align"])
    if len(grid.seeds) < 2:
        lines.append(texts["limit_seed"])
    return lines


def _datasets(data: StudyData) -> dict[str, dict[str, Any]]:
    return {
        name: {key: facts[key] for key in ("task", "gallery")}
        | {"scoring": [scoring for dataset, scoring in data.settings if dataset == name]}
        for name, facts in data.protocols().items()
    }


def _splits(data: StudyData) -> dict[str, dict[str, Any]]:
    return {
        split: {
            "concepts": data.concepts(split),
            "queries": {code: len(data.queries(code, split)) for code in ("en", *data.languages)},
        }
        for split in SPLITS
    }


def _translation(grid: grids.Grid) -> dict[str, Any] | str:
    if grid.translator is not None:
        return f"pretrained: {grid.translator}, not trained here"
    if grid.translation is None:
        return "left out"
    return {"model": "Marian, trained from scratch on the sample, all languages together", **asdict(grid.translation)}


def _recipes(grid: grids.Grid, texts: Mapping[str, Any], runs: Sequence[grids.Run]) -> dict[str, dict[str, Any]]:
    facts = {
        recipe.name: {
            "description": recipe.description,
            "transport": recipe.uses_transport,
            "control": recipe.start.vectors == "transplant" and recipe.start.aligner != "transport",
            "kind": "distillation",
            "learning rate": recipe.schedule.learning_rate,
            "objectives": [{"kind": term.kind, "weight": term.weight, **term.options} for term in recipe.terms],
            "start": asdict(recipe.start),
        }
        for recipe in grid.recipes
    }
    objectives = {run.objective for run in runs}
    for name, description in texts["translations"].items():
        if name in objectives:
            facts[name] = {"description": description, "transport": False, "kind": "translation"}
    for name, description in texts["own_space"].items():
        if name in objectives:
            facts[name] = {"description": description, "transport": False, "kind": grids.OWN_SPACE}
    return facts


def _seconds(finished: FinishedRuns) -> dict[str, float]:
    """Return the mean seconds of a run on one core, by objective and size."""
    seconds_of: dict[str, list[float]] = {}
    for run, result in finished:
        name = f"{run.objective}, {run.size} pairs" if run.size else run.objective
        seconds_of.setdefault(name, []).append(float(result.notes["seconds"]))
    return {name: round(sum(seconds) / len(seconds), 1) for name, seconds in seconds_of.items()}


LOW_RESOURCE = Study(
    STUDY,
    grids.low_resource_grid,
    grids.usual_recipes,
    encoded_inputs,
    prepare,
    study_header,
)
