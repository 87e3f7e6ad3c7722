"""Whether texts get vectors that tell them apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from kivuko.doctor.finding import Finding, Patient, Sentences
from kivuko.encoders.model import encode_texts

CHECK = "vectors"
_EACH = 60  # sentences of each language
_ALIKE, _COLLAPSED = 0.9, 0.99  # mean cosine between different sentences


def check_vectors(patient: Patient, sentences: Sequence[Sentences]) -> Iterator[Finding]:
    """Encode some sentences of all languages, and look for vectors that say nothing."""
    texts = list(dict.fromkeys(pair.text for own in sentences for pair in own.some(_EACH)))
    if len(texts) < 2:
        return
    vectors = encode_texts(patient.model, texts)
    again = "Make the model again; train with a lower learning rate."
    if not np.isfinite(vectors).all():
        broken = int((~np.isfinite(vectors).all(1)).sum())
        yield Finding("fault", CHECK, f"{broken} of {len(texts)} sentences get vectors that are no numbers", again)
        return
    empty = float((~vectors.any(1)).mean())
    total = vectors.sum(0)  # mean over pairs of different sentences, without the matrix of all pairs
    told = vectors.any(1).sum()
    alike = float((total @ total - told) / max(1, told * (told - 1)))
    figures = {"empty": empty, "alike": alike}
    if empty > 0:
        level = "fault" if empty > 0.5 else "warning"
        what = f"{empty:.0%} of the sentences get no vector: no part of them is in the vocabulary"
        yield Finding(level, CHECK, what, "See what 'tokens' says.", figures=figures)  # type: ignore[arg-type]
    if alike > _ALIKE:
        level = "fault" if alike > _COLLAPSED else "warning"
        what = f"different sentences have nearly the same vector (mean cosine {alike:.3f}): training collapsed"
        yield Finding(level, CHECK, what, again, figures=figures)  # type: ignore[arg-type]
    elif empty == 0:
        yield Finding("ok", CHECK, f"different sentences are told apart (mean cosine {alike:.3f})", figures=figures)
