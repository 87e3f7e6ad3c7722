"""How well the tokenizer fits each language: what it does not know, and how small it cuts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from kivuko.doctor.finding import Finding, Level, Patient, Sentences
from kivuko.doctor.subwords import Cuts, count_cuts
from kivuko.languages import language

CHECK = "tokens"
_UNKNOWN = (0.01, 0.1, 0.5)  # share of unknown words from which it is a note, a warning, a fault
_SMALL, _TOO_SMALL = 3.0, 4.5  # subwords per word
_SMALL_LETTER, _TOO_SMALL_LETTER = 1.2, 2.0  # subwords per letter in scripts without spaces
_CHANGED = 2.0  # times that fertility may differ from that of training
_BUILT = "Choose a student whose vocabulary covers the language, or let 'kivuko distill' learn one (--student static)."


def check_tokens(patient: Patient, sentences: Sentences) -> Iterator[Finding]:
    """Judge how one language's sentences are cut."""
    code = sentences.language
    cuts = count_cuts(patient.model, sentences.texts(), language(code).script)
    if cuts is None:
        yield Finding("note", CHECK, "its tokenizer is not open to look at: not checked", language=code)
        return
    figures = {name: float(value) for name, value in asdict(cuts).items()}
    is_trained = code in patient.trained or not patient.trained
    for level, what, do in (*_unknown(cuts, is_trained), *_small(cuts), *_lost(cuts), *_changed(patient, code, cuts)):
        yield Finding(level, CHECK, what, do, code, figures)
    unit = "letter" if cuts.per_letter else "word"
    what = (
        f"{cuts.fertility:.2f} subwords per {unit}, {cuts.unknown:.1%} of {cuts.words:,} {unit}s unknown "
        f"({len(sentences.pairs):,} {sentences.origin})"
    )
    yield Finding("ok", CHECK, what, language=code, figures=figures)


def _unknown(cuts: Cuts, is_trained: bool) -> Iterator[tuple[Level, str, str]]:
    unit = "letters" if cuts.per_letter else "words"
    what = f"{cuts.unknown:.0%} of {cuts.words:,} {unit} are not, or not wholly, in the vocabulary"
    note, warning, fault = _UNKNOWN
    if cuts.unknown >= fault and is_trained:
        yield "fault", f"{what}: a wrong tokenizer, or one for another script", _BUILT
    elif cuts.unknown >= warning:
        yield "warning", what, _BUILT
    elif cuts.unknown >= note:
        yield "note", f"{cuts.unknown:.1%} of {cuts.words:,} {unit} are not, or not wholly, in the vocabulary", ""
    if cuts.in_bytes > 0.05:
        yield "warning", f"{cuts.in_bytes:.0%} of the subwords are single bytes: letters are missing", _BUILT


def _small(cuts: Cuts) -> Iterator[tuple[Level, str, str]]:
    small, too_small = (_SMALL_LETTER, _TOO_SMALL_LETTER) if cuts.per_letter else (_SMALL, _TOO_SMALL)
    unit = "letter" if cuts.per_letter else "word"
    what = f"{cuts.fertility:.1f} subwords per {unit}: words fall to pieces"
    if cuts.fertility > too_small:
        yield "warning", what, _BUILT
    elif cuts.fertility > small:
        yield "note", what, "A vocabulary of the language's own would cut it less (vocabulary extension)."
    if cuts.too_long > 0.01:
        told = f"{cuts.too_long:.0%} of the sentences are longer than the model reads; their ends are cut off"
        yield "warning" if cuts.too_long > 0.2 else "note", told, "Split them, or raise the model's longest text."


def _lost(cuts: Cuts) -> Iterator[tuple[Level, str, str]]:
    if cuts.merged > 0.005:
        what = f"{cuts.merged:.1%} of the words are read as another word: the tokenizer drops marks or letters"
        do = "Switch stripping of accents off in its normalizer (BERT: strip_accents=False), and train again."
        yield "warning" if cuts.merged > 0.02 else "note", what, do


def _changed(patient: Patient, code: str, cuts: Cuts) -> Iterator[tuple[Level, str, str]]:
    """Compare with what was measured, on other sentences, when the model was trained."""
    before = patient.about.fertility.get(code, 0.0) if patient.about else 0.0
    if before > 0 and not 1 / _CHANGED < cuts.fertility / before < _CHANGED and not cuts.per_letter:
        what = f"{cuts.fertility:.2f} subwords per word, but {before:.2f} in training: perhaps another tokenizer now"
        yield "warning", what, "Give sentences like those of training (--bitext); if it stays, make the model again."
