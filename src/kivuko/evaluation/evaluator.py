"""One evaluator for every retrieval task: encode queries, search, measure, summarize, beside a ceiling and a floor.

The English teacher on English queries is the ceiling, a model with random weights the floor.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kivuko.encoders.model import About, Model, encode_texts, quiet, untrained_copy
from kivuko.encoders.teacher import TextTeacher, teacher_of
from kivuko.errors import KivukoError, UsageError
from kivuko.evaluation.evaluate import Options
from kivuko.evaluation.group_means import LanguageScores, per_query_scores, summarize
from kivuko.evaluation.records import Condition, PerQueryScores, Record
from kivuko.languages import resource_groups
from kivuko.progress import note
from kivuko.vectors import unit_rows

ENGLISH = "en"
TEACHER, UNTRAINED = "teacher", "untrained"  # objectives of the ceiling and of the floor in records
UNDETERMINED = "und"

Encode = Callable[[Sequence[str]], Any]
Report = Callable[[int, int], None]  # (done, total)
Bar = Callable[[str], Report]  # a description to the report of its progress
_QUECHUA = {"quy", "quz", "qu", "qve", "qvc"}  # of one group, and not of one language
_BATCH = 256
_BLOCK = 1024  # texts between two reports of progress; a multiple of the batch


@dataclass(frozen=True, eq=False)
class System:
    """One way to encode queries."""

    model: str
    objective: str
    encode: Encode  # texts to unit vectors, float32 [texts, dim], or to a list of token vectors for each text
    about: About | None = None  # of the training; None: the teacher, random weights, or a model of other origin


@dataclass(frozen=True, eq=False)
class EncodedQueries:
    """One language's queries as one system encodes them."""

    system: System
    language: str
    vectors: Any


class Task(Protocol):
    """A set of candidates, the queries that search it, and the way that results are measured."""

    @property
    def split(self) -> str: ...  # the part of the data set, as records name it
    @property
    def scoring(self) -> str: ...  # "cosine" or "maxsim"
    @property
    def has_english(self) -> bool: ...  # True where there are English queries, which the ceiling is measured on

    def texts(self, language: str) -> Sequence[str]: ...  # the queries of one language

    def measure(self, queries: Iterable[EncodedQueries]) -> Iterator[tuple[EncodedQueries, dict[str, LanguageScores]]]:
        """Yield the scores of each set of queries by the name that records give to the data set."""
        ...

    # Called when everything is measured: the protocol for the records' header, and lines that readers must know.
    def protocol(self, languages: Sequence[str]) -> dict[str, Any]: ...
    def notes(self) -> list[str]: ...


def model_system(model: Model, batch_size: int | None = None) -> System:
    objective = model.name if model.about is None else model.about.recipe
    return System(model.name, objective, _encode_with(model.encoder, batch_size), model.about)


def untrained_system(model: Model, batch_size: int | None = None) -> System:
    name = model.name if model.about is None else model.about.student
    return System(name, UNTRAINED, _encode_with(untrained_copy(model.encoder), batch_size))


def teacher_system(teacher: TextTeacher, batch_size: int | None = None) -> System:
    return System(teacher.name, TEACHER, teacher_encoder(teacher, batch_size))


def teacher_encoder(teacher: TextTeacher, batch_size: int | None = None) -> Encode:
    """Return a function from texts to the teacher's unit sentence vectors, float32 [texts, dim]."""
    size = batch_size or _BATCH

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))  # less padding
        parts = [
            teacher.encode_tokens([texts[row] for row in order[start : start + size]]).pooled.cpu().numpy()
            for start in range(0, len(texts), size)
        ]
        vectors = unit_rows(np.concatenate(parts).astype(np.float32))
        return vectors[np.argsort(order)]

    return encode


def _encode_with(encoder: Any, batch_size: int | None) -> Encode:
    return lambda texts: encode_texts(encoder, texts, batch_size or _BATCH)


def load_ceiling(model: Model, about: About) -> TextTeacher | None:
    """Load the teacher of a model; where it does not load, print a note and return None."""
    try:
        with quiet():
            return teacher_of(about).to(model.device)
    except KivukoError as problem:
        note(f"note: no ceiling and no parity, for the teacher does not load: {problem}")
        return None


def standard_systems(model: Model, options: Options) -> tuple[System, ...]:
    """Return the teacher, random weights and the model itself; the model alone where it has no teacher."""
    size = options.batch_size
    own = model_system(model, size)
    if options.alone:
        return (own,)
    if model.about is None:
        note("note: the model has no kivuko.json: no teacher as a ceiling, no random weights as a floor.")
        return (own,)
    teacher = load_ceiling(model, model.about)
    ceiling = () if teacher is None else (teacher_system(teacher, size),)
    return (*ceiling, untrained_system(model, size), own)


def own_languages(model: Model, codes: Sequence[str], name: str, there: Sequence[str]) -> tuple[str, ...]:
    """Return ``codes``; UsageError if there are none."""
    if not codes:
        raise UsageError(
            f"{name} has nothing in a language that the model was trained on ({', '.join(model.languages)}); name "
            f"others of its languages: {' '.join(there)}."
        )
    return tuple(codes)


def notes_on_languages(model: Model, codes: Sequence[str]) -> list[str]:
    """Return notes on languages that the model was not trained on, or may wrongly be thought to know."""
    if model.about is None:
        return []
    trained, lines = model.languages, []
    if unknown := [code for code in codes if code not in trained and code != "en"]:
        lines.append(f"the model was not trained on {', '.join(unknown)}")
    own, requested = _QUECHUA.intersection(trained), _QUECHUA.intersection(codes)
    if own and requested and not own & requested:
        lines.append(
            f"the model was trained on {', '.join(sorted(own))}, another Quechua than {', '.join(sorted(requested))}"
        )
    return lines


def measure_systems(
    task: Task,
    systems: Sequence[System],
    languages: Sequence[str],
    grouped: Sequence[str] | None = None,
    bar: Bar | None = None,
) -> tuple[list[Record], list[PerQueryScores]]:
    """Measure systems on a task, the teacher first: its English scores are the denominator of parity.

    ``grouped``: the languages that group means may hold; None: all of ``languages``.
    """
    scores: dict[System, dict[str, list[LanguageScores]]] = {system: {} for system in systems}
    for queries, measured in task.measure(_encoded(task, systems, languages, bar)):
        for dataset, one in measured.items():
            scores[queries.system].setdefault(dataset, []).append(one)
    members = [code for code in (languages if grouped is None else grouped) if code not in (ENGLISH, UNDETERMINED)]
    groups = {str(name): codes for name, codes in resource_groups(members).items() if codes}
    english: dict[str, LanguageScores] = {}
    records: list[Record] = []
    per_query: list[PerQueryScores] = []
    for system, by_dataset in scores.items():
        for dataset, results in by_dataset.items():
            own = next((one for one in results if one.language == ENGLISH), None)
            if own is not None and system.objective == TEACHER:
                english[dataset] = own
            # A model that has no teacher is compared with itself in English.
            alone = system.about is None and system.objective not in (TEACHER, UNTRAINED)
            reference = english.get(dataset) or (own if alone else None)
            condition = condition_of(system, dataset, task.split, task.scoring)
            records += summarize(results, condition, groups=groups, english=reference)
            per_query += per_query_scores(results, condition)
    return records, per_query


def condition_of(system: System, dataset: str, split: str, scoring: str = "cosine") -> Condition:
    about = system.about
    return Condition(
        dataset=dataset, split=split, model=system.model, objective=system.objective, scoring=scoring,
        bitext_size=about.pairs_per_language if about else None, seed=about.seed if about else None,
    )  # fmt: skip


def _encoded(
    task: Task, systems: Sequence[System], languages: Sequence[str], bar: Bar | None
) -> Iterator[EncodedQueries]:
    for system in systems:
        codes = list(languages)
        if system.objective == TEACHER and task.has_english:
            codes = [ENGLISH, *(code for code in languages if code != ENGLISH)]
        done, total = 0, sum(len(task.texts(code)) for code in codes)
        report = bar(f"queries of {_LABELS.get(system.objective, system.model)}") if bar else None
        for code in codes:
            texts = task.texts(code)
            parts = []
            step = _BLOCK if task.scoring == "cosine" else len(texts)
            for start in range(0, len(texts), step):
                parts.append(system.encode(texts[start : start + step]))
                done += len(texts[start : start + step])
                if report is not None:
                    report(done, total)
            yield EncodedQueries(system, code, parts[0] if len(parts) == 1 else np.concatenate(parts))


_LABELS: Mapping[str, str] = {TEACHER: "the teacher", UNTRAINED: "random weights"}
