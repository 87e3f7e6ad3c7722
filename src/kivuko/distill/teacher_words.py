"""The words that a teacher knows by heart: those that are one token of its vocabulary, each encoded by itself.

A word of another language that is spelt like an English one (a name, a loan) may be it. And the vector of a word by
itself, relative to the mean of all, is what a bag of words should add up: measured on English names in the emoji world,
a sentence's mean of such vectors finds its picture nearly as well as the sentence itself (docs/experiments.md, 11).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import regex
from torch import Tensor
from torch.nn import functional as F

from kivuko.distill.teacher_vectors import Progress, teacher_vectors
from kivuko.encoders.teacher import TextTeacher
from kivuko.errors import ModelError

_WORD = regex.compile(r"\p{Latin}{3,}")
_known: dict[str, TeacherWords] = {}
_MOST = 50_000  # of the vocabularies of many languages only so many words are kept, the first ones


@dataclass(frozen=True, eq=False)
class TeacherWords:
    """Words, and their unit vectors less the mean of all: float32 [words, dim]. ``mean``: float32 [dim]."""

    words: list[str]
    vectors: Tensor
    mean: Tensor


def teacher_words(teacher: TextTeacher, progress: Progress | None = None) -> TeacherWords:
    """Encode the whole words of a teacher's vocabulary (some twenty seconds, once; then from the cache).

    Raises:
        ModelError: its tokenizer holds no lower-case words in Latin letters that are one token each.
    """
    if (known := _known.get(teacher.fingerprint)) is not None:
        return known
    words = whole_words(teacher.model.tokenizer)
    if not words:
        raise ModelError(f"{teacher.name}: no token of its vocabulary is a whole word; set teacher_words = false.")
    vectors = unit_vectors(teacher, words, progress)
    mean = vectors.mean(0)
    _known.clear()  # one teacher's at a time: they take some thirty megabytes
    return _known.setdefault(teacher.fingerprint, TeacherWords(words, vectors - mean, mean))


def unit_vectors(teacher: TextTeacher, words: Sequence[str], progress: Progress | None = None) -> Tensor:
    """Return the teacher's unit vector of each word by itself, float32 [words, dim]."""
    found = teacher_vectors(teacher, words, progress=progress)
    return F.normalize(found.pooled[[found.sentences[word] for word in words]], dim=-1)


def whole_words(tokenizer: object) -> list[str]:
    """Return the lower-case words in Latin letters, three or more, that a tokenizer takes as one token; sorted."""
    decode, size = tokenizer.decode, len(tokenizer)  # type: ignore[attr-defined, arg-type]
    spelled = {decode([number]).strip(): number for number in range(size)}
    likely = [text for text in spelled if _WORD.fullmatch(text) and text == text.lower()]
    if not likely:
        return []
    ids = tokenizer(likely, add_special_tokens=False)["input_ids"]  # type: ignore[operator]
    return sorted([text for text, found in zip(likely, ids, strict=True) if len(found) == 1][:_MOST])
