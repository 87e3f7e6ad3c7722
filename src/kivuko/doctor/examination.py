"""The examination: all checks, one after the other."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from kivuko.doctor import index_checks, model_checks, tokenizer_checks
from kivuko.doctor.finding import Examined, Finding, Sentences, bitext_sentences, emoji_sentences
from kivuko.encoders.model import Model, load_model, model_folder, quiet, read_about, require_model_folder
from kivuko.encoders.teacher import TextTeacher, load_teacher
from kivuko.errors import CorruptFileError, KivukoError
from kivuko.languages import language
from kivuko.progress import progress_bar
from kivuko.search.store import IndexStore

Source = Path | str | Sentences
Requested = Literal["languages", "sentences", "each", "index", "bitexts"]


@dataclass(frozen=True)
class Check:
    """One check."""

    name: str
    run: Callable[..., Iterable[Finding]]  # of the examined model, and of the argument that ``takes`` names
    takes: Requested | None = None  # "each": it runs for the sentences of each language
    needs: Literal["text", "index"] | None = None  # without it the check is left out


CHECKS = (
    Check("training", model_checks.check_training, takes="languages"),
    Check("languages", model_checks.check_codes, takes="languages"),
    Check("weights", model_checks.check_weights),
    Check("vocabulary", tokenizer_checks.check_vocabulary, needs="text"),
    Check("widths", model_checks.check_widths, takes="index"),
    Check("tokens", tokenizer_checks.check_tokens, takes="each", needs="text"),
    Check("vectors", model_checks.check_vectors, takes="sentences", needs="text"),
    Check("casing", model_checks.check_casing, takes="sentences", needs="text"),
    Check("prompts", model_checks.check_prompts, needs="text"),
    Check("agreement", model_checks.check_agreement, takes="each", needs="text"),
    Check("index", index_checks.check_index, takes="index", needs="index"),
    Check("captions", index_checks.check_captions, takes="index", needs="index"),
    Check("protocol", model_checks.check_protocol, takes="bitexts"),
)


def examine(
    model: Model | Path | str,
    *,
    languages: Sequence[str] = (),
    bitext: Mapping[str, Source | Sequence[Source]] | None = None,
    teacher: Path | str | None = None,  # None: the one that the model names
    index: Path | str | None = None,
    cldr: Path | None = None,
    progress: bool | None = None,
) -> list[Finding]:
    """Examine a model: its tokenizer in each language, its agreement with its teacher, and an index that it searches.

    Without languages and bitext, it is tried on names of emoji in its own languages. A check that breaks is a fault.
    """
    about, folder = _described(model)
    languages = tuple(language(code).code for code in languages)
    sentences, without = _sentences(about_languages=about, languages=languages, bitext=bitext or {}, cldr=cldr)
    bitexts = tuple(one.origin for one in sentences if one.origin != "emoji names")
    codes = tuple(dict.fromkeys([*languages, *(one.language for one in sentences)]))
    with ExitStack() as stack, progress_bar("examining", progress) as report, quiet():
        store, findings = _open_index(index, stack)
        if not isinstance(model, Model) or model.path is not None:
            findings += model_checks.check_files(folder)
        try:
            loaded = load_model(model, device=None if isinstance(model, Model) else "cpu")
        except KivukoError as problem:
            named = any(str(problem).startswith(one.what) for one in findings if one.check == "files")
            what = "the model does not load" if named else str(problem)
            return [*findings, Finding("fault", "loading", what, "Nothing else can be checked."), *without]
        subject = Examined(folder, loaded.encoder, loaded.about)
        english, complaints = _load_teacher(teacher, subject)
        subject = replace(subject, teacher=english)
        findings += [Finding("ok", "loading", f"{loaded.source or loaded.name} loads"), *complaints]
        given = {"languages": codes, "sentences": sentences, "index": store, "bitexts": bitexts}
        runs = list(_runs(subject, given, sentences))
        for done, (check, run) in enumerate(runs):
            report(done, len(runs))
            findings += _finished(check.name, run)
        report(len(runs), len(runs))
    return [*_without_repetition(findings), *without]


def _runs(
    subject: Examined, given: Mapping[str, object], sentences: Sequence[Sentences]
) -> Iterator[tuple[Check, Callable[[], Iterable[Finding]]]]:
    """Yield each check that applies, with the call that runs it."""
    available = {None, *(["text"] if "text" in subject.encoder.modalities else [])}
    available |= {"index"} if given["index"] is not None else set()
    for check in CHECKS:
        if check.needs not in available:
            continue
        if check.takes == "each":
            yield from ((check, partial(check.run, subject, one)) for one in sentences)
        elif check.takes is not None:
            yield check, partial(check.run, subject, given[check.takes])
        else:
            yield check, partial(check.run, subject)


def _finished(name: str, run: Callable[[], Iterable[Finding]]) -> list[Finding]:
    findings: list[Finding] = []
    try:
        findings.extend(run())
    except KivukoError as problem:
        findings.append(Finding("fault", name, str(problem)))
    except Exception as problem:  # broken models raise anything: a subword past the table, an odd tensor
        reason = (str(problem).strip().splitlines() or [""])[0][:160]
        what = f"the model breaks when it is tried ({type(problem).__name__}: {reason})"
        findings.append(Finding("fault", name, what, "See the other faults; fetch or train the model again."))
    return findings


def _without_repetition(findings: Sequence[Finding]) -> list[Finding]:
    """Leave out what another finding says: a damaged file, or, with figures, a language without training."""
    damaged = [one.what for one in findings if one.check == "files"]
    findings = [one for one in findings if one.check == "files" or not one.what.startswith(tuple(damaged))]
    notes = [one for one in findings if model_checks.NOT_TRAINED in one.what]
    said = {one.language for one in notes if one.check == "agreement"}
    return [one for one in findings if not (one in notes and one.check == "training" and one.language in said)]


def _described(model: Model | Path | str) -> tuple[tuple[str, ...], Path]:
    """Return the languages that a model was trained on, and its folder, before it is loaded."""
    if isinstance(model, Model):
        return model.languages, model.path or Path(model.name)
    if (folder := model_folder(str(model))) is None:  # of open_clip, which Kivuko did not train
        return (), Path(str(model))
    require_model_folder(folder)
    try:
        about = read_about(folder)
    except CorruptFileError:
        about = None  # a fault when the model is loaded
    return about.languages if about else (), folder


def _sentences(
    *,
    about_languages: Sequence[str],
    languages: Sequence[str],
    bitext: Mapping[str, Source | Sequence[Source]],
    cldr: Path | None,
) -> tuple[tuple[Sentences, ...], list[Finding]]:
    """Return the sentences of each language to be tried, and notes on languages without any."""
    sentences = [
        one if isinstance(one, Sentences) else bitext_sentences(code, str(one))
        for code, given in bitext.items()
        for one in ([given] if isinstance(given, Path | str | Sentences) else given)
    ]
    missing: list[Finding] = []
    wanted = languages or (() if bitext else about_languages)
    for code in wanted:
        if any(one.language == code for one in sentences):
            continue
        try:
            sentences.append(emoji_sentences(code, cldr))
        except KivukoError as problem:
            if cldr is not None:
                raise
            missing.append(Finding("note", "tokens", f"no sentences to try: {problem}", f"--bitext {code}=FILE", code))
    if not wanted and not sentences:
        what = "no language was named, so no sentence was tried"
        missing.append(Finding("note", "tokens", what, "Name some: -l sw so"))
    return tuple(sentences), missing


def _open_index(path: Path | str | None, stack: ExitStack) -> tuple[IndexStore | None, list[Finding]]:
    """Open an index, with what is damaged in it: then nothing else of it is checked."""
    if path is None:
        return None, []
    try:
        store = stack.enter_context(IndexStore.open(Path(path)))
        damaged = store.verify()
    except CorruptFileError as problem:
        return None, [Finding("fault", "index", str(problem))]
    remedy = f"Rebuild it: 'kivuko index ... --out {path} --rebuild'."
    return None if damaged else store, [Finding("fault", "index", f"{path}: {what}", remedy) for what in damaged]


def _load_teacher(named: Path | str | None, subject: Examined) -> tuple[TextTeacher | None, list[Finding]]:
    """Load the teacher: one that is named must load, the model's own may be out of reach."""
    source = str(named or (subject.about.teacher_source if subject.about else ""))
    remedy = "Name it: --teacher HUB-ID-OR-FOLDER"
    if not source:
        what = "no teacher is known, so agreement with one was not checked"
        return None, [Finding("note", "agreement", what, remedy)]
    prompt = subject.about.teacher_prompt if subject.about and not named else ""
    try:
        return load_teacher(source, prompt or None), []
    except KivukoError as problem:
        if named:
            raise
        what = f"the teacher that the model names does not load, so agreement was not checked: {problem}"
        return None, [Finding("warning", "agreement", what, remedy)]
