"""The systems under attack: what turns a query of some language into a vector, and what an attacker may know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from kivuko.attacks.text import EncodeTexts, GradientEncoder, gradient_encoder
from kivuko.distill.run import train_student
from kivuko.encoders.teacher import TextTeacher
from kivuko.encoders.token_batch import Encoder
from kivuko.studies.low_resource import grid
from kivuko.studies.low_resource.bench import ENGLISH, Bench, unit
from kivuko.studies.low_resource.grid import Run
from kivuko.studies.low_resource.systems import job_of, translator_of
from kivuko.translation.translator import Translator

_BATCH = 256
_MOST_REMEMBERED = 300_000  # texts whose vectors are kept at hand: some 500 MB


@dataclass(frozen=True, eq=False)
class System:
    """Something that searches.

    Attributes:
        name: of the model, for the records.
        languages: of its queries.
        encoder: language -> texts -> unit vectors, float32 [texts, dim].
        gradients: of its insides; None where there are none to take.
        slow: whether a query costs so much that only the noise in ``Plan.spoken`` is tried, and no search.
        notes: how it was made.
    """

    name: str
    languages: tuple[str, ...]
    encoder: Callable[[str], EncodeTexts]
    gradients: GradientEncoder | None = None
    slow: bool = False
    notes: dict[str, float | int | str] = field(default_factory=dict)


def make_system(run: Run, bench: Bench) -> System:
    """Train or load the system of a run.

    Raises:
        KivukoError: training diverged, a model does not load, or it does not know a language.
    """
    if run.kind == grid.TEACHER:
        encode = encoder_of(bench.teacher)
        return System(bench.teacher.name, (ENGLISH,), lambda _code: encode)
    if run.kind == grid.DISTILLATION:
        trained = train_student(job_of(run, bench), bench.teacher)
        outcome = trained.outcome
        notes: dict[str, float | int | str] = {
            "best_step": outcome.best_step, "validation_score": outcome.best_score,
            "training_seconds": round(outcome.seconds, 1),
        }  # fmt: skip
        inside = gradient_encoder(trained.student)
        return System(trained.about.student, bench.languages, lambda _code: inside.encode, inside, notes=notes)
    translator, notes = translator_of(run, bench)
    english = _remembering(bench.teacher)
    return System(
        translator.name, bench.languages, lambda code: _translating(translator, code, english),
        slow=True, notes=notes,
    )  # fmt: skip


def encoder_of(encoder: Encoder) -> EncodeTexts:
    """Return a function from texts to an encoder's unit sentence vectors; it remembers what it was asked."""
    known: dict[str, NDArray[np.float32]] = {}

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        if len(known) > _MOST_REMEMBERED:
            known.clear()
        new = sorted({text for text in texts if text not in known}, key=lambda text: (len(text), text))
        for start in range(0, len(new), _BATCH):
            part = new[start : start + _BATCH]
            vectors = unit(encoder.encode_tokens(part).pooled.float().cpu().numpy())
            known.update(zip(part, vectors, strict=True))
        return np.stack([known[text] for text in texts])

    return encode


_english: dict[str, EncodeTexts] = {}  # the last teacher's encoder


def _remembering(teacher: TextTeacher) -> EncodeTexts:
    """Return the teacher's encoder, the same for all runs of a process: translators write many texts alike."""
    if teacher.fingerprint not in _english:
        _english.clear()
        _english[teacher.fingerprint] = encoder_of(teacher)
    return _english[teacher.fingerprint]


def _translating(translator: Translator, code: str, english: EncodeTexts) -> EncodeTexts:
    """Translate each distinct text once, then encode the English: many queries come again, or are not changed."""
    spoken: dict[str, str] = {}

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in spoken]
        # All at once: the translator puts texts of like length together, and a short one does not wait for a long one.
        spoken.update(zip(new, translator.translate(new, code) if new else [], strict=True))
        return english([spoken[text] for text in texts])

    return encode
