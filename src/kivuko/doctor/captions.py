"""Whether English captions find their images: else teacher and image tower are of two spaces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kivuko.doctor.agreement import english_vectors
from kivuko.doctor.finding import Finding, Patient
from kivuko.doctor.space import sample
from kivuko.search.store import IndexStore

CHECK = "captions"
_MOST = 200
_FEWEST = 20
_LOST = 0.35  # mean share of the images that are nearer than the caption's own; luck gives 0.5


def check_captions(patient: Patient, gallery: IndexStore) -> Iterator[Finding]:
    """Ask the teacher for captioned images by their captions, among those looked at."""
    if patient.teacher is None or patient.teacher.dim != gallery.dim:
        return
    captioned = [one for one in gallery.items(sample(gallery, _MOST)) if one.caption]
    texts = list({one.caption: one for one in captioned}.values())  # a caption of several images finds one of them
    if len(texts) < _FEWEST:
        return
    vectors = np.stack([gallery.vector(one.id) for one in texts])
    scores = english_vectors(patient.teacher, [str(one.caption) for one in texts]) @ vectors.T
    nearer = float((scores > scores.diagonal()[:, None]).sum() / max(1, len(texts) * (len(texts) - 1)))
    figures = {"captions": len(texts), "nearer": nearer}
    told = f"{len(texts)} captions: {nearer:.0%} of the other images are nearer than a caption's own"
    if nearer > _LOST:
        what = f"{told}, luck gives 50 %: {patient.teacher.name} and the image tower are of two spaces"
        do = "Take both from one model. If the captions are not English, this says nothing."
        yield Finding("warning", CHECK, what, do, figures=figures)
    else:
        yield Finding("ok", CHECK, told, figures=figures)
