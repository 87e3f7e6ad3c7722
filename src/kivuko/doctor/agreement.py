"""Whether the model puts sentences where the teacher puts their English translations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kivuko.doctor.finding import Finding, Patient, Sentences
from kivuko.encoders.image_tower import Vectors
from kivuko.encoders.model import encode_texts
from kivuko.encoders.teacher import TextTeacher

CHECK = "agreement"
_MOST = 200  # sentences of each language
_FEWEST = 50  # below, luck and weakness cannot be told apart
_LUCK = 4  # luck gives more hits in 4 of 1,000 tries, however many sentences there are (Poisson, mean 1)
_WEAK = 0.2  # R@1


def check_agreement(patient: Patient, sentences: Sentences) -> Iterator[Finding]:
    """Look for each sentence's English translation among all of them, by cosine with the teacher's vectors.

    This is no evaluation: the sentences may be those of training.
    """
    code, pairs = sentences.language, sentences.some(_MOST)
    if patient.teacher is None:
        return
    if len(pairs) < _FEWEST:
        what = f"only {len(pairs)} sentences: too few to tell whether they find their translations"
        yield Finding("note", CHECK, what, "Give more: --bitext.", code)
        return
    own = encode_texts(patient.model, [pair.text for pair in pairs])
    english = english_vectors(patient.teacher, [pair.english for pair in pairs])
    if own.shape[1] != english.shape[1]:
        return  # what 'widths' says
    scores = np.nan_to_num(own @ english.T)
    right = scores.diagonal()
    # A sentence whose best score is shared with another has not found its translation.
    hits = int(((scores >= right[:, None]).sum(1) == 1).sum())
    others = float((scores.sum() - right.sum()) / max(1, len(pairs) * (len(pairs) - 1)))
    recall = hits / len(pairs)
    figures = {"sentences": len(pairs), "R@1": recall, "own": float(right.mean()), "others": others}
    seen = f"{sentences.origin}, some of which it may have learned from" if patient.about else sentences.origin
    told = (
        f"{recall:.0%} of {len(pairs)} sentences find their English translation first "
        f"(cosine {figures['own']:.2f}, with others {others:.2f}; {seen})"
    )
    if hits <= _LUCK:
        yield _at_chance(patient, code, told, figures)
    elif recall < _WEAK:
        do = "More bitext, or a student that knows the language; 'kivuko bitext check' judges what you have."
        level = "warning" if code in patient.trained or not patient.trained else "note"
        yield Finding(level, CHECK, told, do, code, figures)  # type: ignore[arg-type]
    else:
        yield Finding("ok", CHECK, told, language=code, figures=figures)


def english_vectors(teacher: TextTeacher, texts: list[str]) -> Vectors:
    """Encode English texts with a teacher: unit vectors, float32 [texts, dim]."""
    batches = [teacher.encode_tokens(texts[i : i + 64]).pooled.cpu().numpy() for i in range(0, len(texts), 64)]
    found = np.concatenate(batches).astype(np.float32)
    unit: Vectors = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return unit


def _at_chance(patient: Patient, code: str, told: str, figures: dict[str, float]) -> Finding:
    if code in patient.trained:
        do = "A wrong tokenizer, another teacher's model, or no training: see 'vocabulary', then make it again."
        return Finding("fault", CHECK, f"no better than chance: {told}", do, code, figures)
    if patient.trained:
        what = f"the model was not trained on it and does not know it: {told}"
        return Finding("note", CHECK, what, f"Teach it: kivuko distill --bitext {code}=FILE ...", code, figures)
    do = "Name the teacher whose space it shares (--teacher); if that is the right one, see 'vocabulary'."
    return Finding("warning", CHECK, f"no better than chance: {told}", do, code, figures)
