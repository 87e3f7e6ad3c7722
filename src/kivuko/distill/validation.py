"""Selection on a validation split: how well translations find their English sentence, text to text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kivuko.bitext import Bitext
from kivuko.distill.teacher_vectors import TeacherVectors
from kivuko.encoders.student import Student


@dataclass(frozen=True)
class Validation:
    """Held-out pairs, searched in a gallery of English sentences.

    ``texts`` and ``targets`` per language: query texts, and int64 [queries] rows of ``gallery`` [sentences, dim], unit
    vectors of the teacher.
    """

    texts: dict[str, list[str]]
    targets: dict[str, Tensor]
    gallery: Tensor

    @classmethod
    def from_bitext(cls, held_out: Bitext, distractors: Sequence[str], vectors: TeacherVectors) -> Validation:
        """Take queries from ``held_out``; the gallery is their English sentences and the ``distractors``."""
        english = list(dict.fromkeys([*(pair.english for pair in held_out.pairs), *distractors]))
        row = {text: place for place, text in enumerate(english)}
        gallery = F.normalize(vectors.pooled[[vectors.sentences[text] for text in english]], dim=-1)
        groups = held_out.by_language()
        return cls(
            {language: [pair.text for pair in pairs] for language, pairs in groups.items()},
            {language: torch.tensor([row[pair.english] for pair in pairs]) for language, pairs in groups.items()},
            gallery,
        )

    @torch.no_grad()
    def score(self, student: Student) -> float:
        """Return the mean reciprocal rank, averaged over languages; ties count against the student. 0 to 1."""
        means = []
        for language, texts in self.texts.items():
            pooled = torch.cat([student.encode_tokens(texts[i : i + 512]).pooled for i in range(0, len(texts), 512)])
            scores = F.normalize(pooled.float(), dim=-1).cpu() @ self.gallery.T  # [queries, sentences]
            own = scores.gather(1, self.targets[language][:, None])
            rank = (~(scores < own)).sum(1)  # so written, a score that is no number counts against the student too
            means.append((1 / rank.double()).mean())
        return float(torch.stack(means).mean()) if means else 0.0
