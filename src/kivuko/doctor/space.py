"""Whether a gallery's images lie in the space of the model that shall search them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kivuko.doctor.finding import Finding, Patient
from kivuko.encoders.image_tower import encode_images
from kivuko.encoders.images import RefusedImage, as_rgb, decode
from kivuko.encoders.loading import image_fingerprint
from kivuko.encoders.model import has_images
from kivuko.search.decoding import read_place
from kivuko.search.items import FilePlace
from kivuko.search.store import IndexStore

CHECK = "gallery"
_SAMPLE = 500  # vectors looked at
_AGAIN = 6  # images encoded again
_SAME = 0.98  # cosine with the stored vector; eight bits a number keep 0.999 and more
_ALIKE = 0.95  # mean cosine between different images


def check_space(patient: Patient, gallery: IndexStore) -> Iterator[Finding]:
    """Compare image sides by fingerprint, look at stored vectors, and encode a few images again."""
    index = f"Index the images again: kivuko index {patient.folder} ... --out {gallery.path} --rebuild"
    if not has_images(patient.model):
        what = f"{patient.folder} encodes text only, so it cannot search images"
        yield Finding("fault", CHECK, what, "Distill it with an image tower (--image-tower).")
        return
    if not len(gallery):
        yield Finding("fault", CHECK, f"{gallery.path}: holds no image", index)
        return
    if image_fingerprint(patient.model) != gallery.fingerprint:
        what = (
            f"{gallery.path}: was made by another image side (model {gallery.model}), so its vectors and the model's "
            "do not compare: a search would find anything"
        )
        yield Finding("fault", CHECK, what, f"Search with the model that made it. Or: {index}")
    else:
        what = f"{gallery.path}: {len(gallery):,} images, encoded by this very image side"
        yield Finding("ok", CHECK, what, figures={"images": len(gallery)})
        yield from _again(patient, gallery, index)
    yield from _stored(gallery, index)


def sample(gallery: IndexStore, most: int) -> list[int]:
    """Return the numbers of at most ``most`` images, evenly spread."""
    ids = gallery.ids()
    return [int(ids[place * len(ids) // most]) for place in range(most)] if len(ids) > most else ids.tolist()


def _stored(gallery: IndexStore, index: str) -> Iterator[Finding]:
    vectors = np.stack([gallery.vector(number) for number in sample(gallery, _SAMPLE)])
    if not np.isfinite(vectors).all() or not vectors.any(1).all():
        yield Finding("fault", CHECK, f"{gallery.path}: holds vectors that are no numbers, or zero", index)
        return
    count, total = len(vectors), vectors.sum(0)
    alike = float((total @ total - count) / max(1, count * (count - 1)))
    if alike > _ALIKE and count > 1:
        what = f"{gallery.path}: different images have nearly the same vector (mean cosine {alike:.3f})"
        do = "The image tower does not tell them apart: use another, or train it."
        yield Finding("warning", CHECK, what, do, figures={"alike": alike})


def _again(patient: Patient, gallery: IndexStore, index: str) -> Iterator[Finding]:
    """Encode images that are still where they were: the preparation of pixels has no fingerprint."""
    cosines: list[float] = []
    for number in sample(gallery, 10 * _AGAIN):
        if len(cosines) == _AGAIN or (path := gallery.image_path(number)) is None:
            continue
        try:
            image = decode(read_place(FilePlace(str(path))))
        except (RefusedImage, OSError):
            continue
        cosines.append(float(encode_images(patient.model, [as_rgb(image)])[0] @ gallery.vector(number)))
    if not cosines:
        return
    figures = {"images": len(cosines), "worst": min(cosines)}
    if min(cosines) < _SAME:
        what = (
            f"an image encoded again is not where the gallery has it (cosine {min(cosines):.3f}): the file changed, "
            "or pixels are prepared otherwise now"
        )
        yield Finding("warning", CHECK, what, index.replace(" --rebuild", ""), figures=figures)
    else:
        what = f"{len(cosines)} images encoded again are where the gallery has them (cosine {min(cosines):.3f})"
        yield Finding("ok", CHECK, what, figures=figures)
