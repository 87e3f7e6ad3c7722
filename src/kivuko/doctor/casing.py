"""Whether capitals move a text's vector: people type queries as they please."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from kivuko.doctor.finding import Finding, Patient, Sentences
from kivuko.encoders.model import encode_texts

CHECK = "casing"
_EACH = 30  # sentences of each language
_MOVED, _LOST = 0.95, 0.6  # mean cosine between a sentence and the same in capitals


def check_casing(patient: Patient, sentences: Sequence[Sentences]) -> Iterator[Finding]:
    """Compare sentences with the same in capitals, where the script has any."""
    texts = [pair.text for own in sentences for pair in own.some(_EACH)]
    texts = [text for text in dict.fromkeys(texts) if text.upper().casefold() == text.casefold() != text.upper()]
    if not texts:
        return
    plain = encode_texts(patient.model, [text.lower() for text in texts])
    capitals = encode_texts(patient.model, [text.upper() for text in texts])
    same = float(np.nan_to_num((plain * capitals).sum(1)).mean())
    figures = {"cosine": same}
    if same >= _MOVED:
        yield Finding("ok", CHECK, f"capitals hardly matter (mean cosine {same:.3f})", figures=figures)
        return
    level = "warning" if same < _LOST else "note"
    what = f"a sentence in capitals gets another vector (mean cosine {same:.3f}): the tokenizer tells case apart"
    do = "Write queries as the training text was written, or lower-case both."
    yield Finding(level, CHECK, what, do, figures=figures)  # type: ignore[arg-type]
