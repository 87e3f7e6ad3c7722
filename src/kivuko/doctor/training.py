"""What the model says of its own training, held against what is asked of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kivuko.doctor.finding import Finding, Patient
from kivuko.encoders.model import read_token_mean

CHECK = "training"
_FEW = 1_000  # pairs of a language below which a student knows little beyond their words


def check_training(patient: Patient, languages: Sequence[str]) -> Iterator[Finding]:
    """Compare languages, amounts and teacher with what the model was made from."""
    about = patient.about
    if about is None:
        yield Finding("note", CHECK, "not made by Kivuko, so it does not say what it was trained on")
        return
    told = ", ".join(f"{code} {size:,}" for code, size in about.bitext_sizes.items())
    what = f"recipe {about.recipe}, student {about.student}, teacher {about.teacher}; pairs: {told}"
    yield Finding("ok", CHECK, what, figures={"validation_score": about.validation_score})
    for code, size in about.bitext_sizes.items():
        if size < _FEW:
            what = f"{size:,} pairs: it will know little beyond the very words they hold"
            yield Finding("note", CHECK, what, "Give more bitext.", code)
    for code in languages:
        if code not in about.languages:
            what = f"the model was not trained on it, but on {', '.join(about.languages)}"
            yield Finding("note", CHECK, what, f"Teach it: kivuko distill --bitext {code}=FILE ...", code)
    teacher = patient.teacher
    if teacher is None or read_token_mean(patient.folder) is None:
        return
    if read_token_mean(patient.folder, teacher.fingerprint) is None:
        what = f"{teacher.name} is not, or no longer, the very teacher that the model was trained with"
        do = "Name that one (--teacher): another teacher's space is another space."
        yield Finding("warning", CHECK, what, do)
