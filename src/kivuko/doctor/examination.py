"""All checks, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from kivuko.doctor.agreement import check_agreement
from kivuko.doctor.captions import check_captions
from kivuko.doctor.casing import check_casing
from kivuko.doctor.codes import check_codes
from kivuko.doctor.finding import Finding, Patient, Sentences, open_patient, require_folder
from kivuko.doctor.prompts import check_prompts
from kivuko.doctor.protocol import check_protocol
from kivuko.doctor.space import check_space
from kivuko.doctor.tokens import check_tokens
from kivuko.doctor.training import check_training
from kivuko.doctor.vectors import check_vectors
from kivuko.doctor.vocabulary import check_vocabulary
from kivuko.doctor.weights import check_weights
from kivuko.doctor.widths import check_widths
from kivuko.encoders.model import quiet
from kivuko.encoders.teacher import TextTeacher, load_teacher
from kivuko.errors import CorruptFileError, KivukoError
from kivuko.search.store import IndexStore

Tell = Callable[[str, int, int], None]  # name of the check, checks done, all checks


@dataclass(frozen=True)
class Request:
    """What to examine.

    Attributes:
        model: the folder.
        languages: BCP 47 codes that are asked of it.
        sentences: one for each language that there are any of, to try the model on.
        teacher: hub id or folder; None: the one that the model names.
        gallery: the folder of one that the model shall search.
        bitexts: names of the bitexts among the sentences.
    """

    model: Path
    languages: tuple[str, ...] = ()
    sentences: tuple[Sentences, ...] = ()
    teacher: str | None = None
    gallery: Path | None = None
    bitexts: tuple[str, ...] = ()


def examine(request: Request, tell: Tell = lambda _check, _done, _all: None) -> list[Finding]:
    """Run every check that the model and what was given allow.

    A check that cannot end, because what it looks at is so broken, is a fault by itself; the others go on.

    Raises:
        ModelError: there is no model's folder at all.
        ImageIndexError: there is no gallery where one was named.
    """
    require_folder(request.model)
    with ExitStack() as stack:
        gallery, found = _gallery(request.gallery, stack)
        try:
            patient = open_patient(request.model)
        except KivukoError as problem:
            return [*found, Finding("fault", "loading", str(problem), "Nothing else can be checked.")]
        teacher, said = _teacher(request, patient)
        found += [Finding("ok", "loading", f"{request.model} loads"), *said]
        checks = list(_checks(replace(patient, teacher=teacher), request, gallery))
        for done, (name, check) in enumerate(checks):
            tell(name, done, len(checks))
            found += _findings(name, check)
        tell("", len(checks), len(checks))
    return found


def _checks(
    patient: Patient, request: Request, gallery: IndexStore | None
) -> Iterator[tuple[str, Callable[[], Iterable[Finding]]]]:
    """Yield each check by its name, not begun."""
    yield "training", lambda: check_training(patient, request.languages)
    yield "languages", lambda: check_codes(patient, request.languages)
    yield "weights", lambda: check_weights(patient)
    yield "vocabulary", lambda: check_vocabulary(patient)
    yield "widths", lambda: check_widths(patient, gallery)
    if "text" in patient.model.modalities:
        for one in request.sentences:
            yield "tokens", partial(check_tokens, patient, one)
        yield "vectors", lambda: check_vectors(patient, request.sentences)
        yield "casing", lambda: check_casing(patient, request.sentences)
        yield "prompts", lambda: check_prompts(patient)
        for one in request.sentences:
            yield "agreement", partial(check_agreement, patient, one)
    if gallery is not None:
        yield "gallery", lambda: check_space(patient, gallery)
        yield "captions", lambda: check_captions(patient, gallery)
    yield "protocol", lambda: check_protocol(patient, request.bitexts)


def _findings(name: str, check: Callable[[], Iterable[Finding]]) -> Sequence[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check())
    except KivukoError as problem:
        found.append(Finding("fault", name, str(problem)))
    except Exception as problem:  # what is sick breaks in ways of its own: a subword past the table, an odd tensor
        reason = (str(problem).strip().splitlines() or [""])[0][:160]
        told = f"the model breaks when it is tried ({type(problem).__name__}: {reason})"
        found.append(Finding("fault", name, told, "See the other faults; make or fetch the model again."))
    return found


def _gallery(path: Path | None, stack: ExitStack) -> tuple[IndexStore | None, list[Finding]]:
    if path is None:
        return None, []
    try:
        return stack.enter_context(IndexStore.open(path)), []
    except CorruptFileError as problem:
        return None, [Finding("fault", "gallery", str(problem))]


def _teacher(request: Request, patient: Patient) -> tuple[TextTeacher | None, list[Finding]]:
    """Load the teacher: a named one must load, the model's own may be out of reach."""
    source = request.teacher or (patient.about.teacher_source if patient.about else "")
    do = "Name it: --teacher HUB-ID-OR-FOLDER"
    if not source:
        told = "no teacher is known, so agreement with one was not checked"
        return None, [Finding("note", "agreement", told, do)]
    try:
        with quiet():
            own = patient.about.teacher_prompt if patient.about and not request.teacher else ""
            return load_teacher(source, own or None), []
    except KivukoError as problem:
        if request.teacher:
            raise
        told = f"the teacher that the model names does not load, so agreement was not checked: {problem}"
        return None, [Finding("warning", "agreement", told, do)]
