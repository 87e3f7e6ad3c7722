"""A model together with its own English teacher: what alignments are made with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from kivuko.encoders.alignment import Alignment, align
from kivuko.encoders.bundle import centres_student, load_bundle, quiet, read_about, read_token_mean
from kivuko.encoders.teacher import TextTeacher, load_teacher
from kivuko.errors import UsageError


@dataclass(frozen=True, eq=False)
class Aligner:
    """Solves the transport problem that training solved: the same teacher, mean token and centring.

    Attributes:
        centre: float [dim], the mean token; None where the model does not hold this teacher's.
        student_centred: whether it is taken from the model's tokens too.
        name: of the model, for messages.
    """

    model: Any
    teacher: TextTeacher
    centre: Tensor | None
    student_centred: bool
    name: str

    def align(self, text: str, english: str, **options: Any) -> Alignment:
        """Align a text with its English translation; options and errors as of ``kivuko.encoders.alignment.align``."""
        return align(
            self.model, self.teacher, text, english, centre=self.centre, student_centred=self.student_centred,
            name=self.name, **options,
        )  # fmt: skip


def teacher_named_by(path: Path | str) -> str:
    """Return which English teacher a model folder says it belongs to, in a form that ``load_teacher`` takes.

    Raises:
        UsageError: it does not say.
        CorruptFileError: what it says of itself is damaged.
    """
    about = read_about(path)
    if about is None or not about.teacher_source:
        raise UsageError(f"{path}: does not say which English teacher it belongs to.")
    return about.teacher_source


def load_aligner(path: Path | str, model: Any | None = None, teacher: str | None = None) -> Aligner:
    """Load what aligning with a model folder takes.

    Args:
        model: the loaded model, if it is at hand.
        teacher: another teacher than the one that the folder names.

    Raises:
        UsageError: the folder names no teacher.
        ModelError, MissingDependencyError, CorruptFileError: the model or its teacher does not load.
    """
    source = teacher or teacher_named_by(path)
    bundle = load_bundle(path) if model is None else model
    about = read_about(path)
    with quiet():
        loaded = load_teacher(source, about.teacher_prompt or None if about and teacher is None else None)
    centre = read_token_mean(path, loaded.fingerprint)
    return Aligner(bundle, loaded, centre, centres_student(path), str(path))
