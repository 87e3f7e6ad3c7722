"""Whether all that should meet in one space has vectors of one width."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

from kivuko.doctor.finding import Finding, Patient
from kivuko.encoders.image_tower import encode_images
from kivuko.encoders.model import encode_texts, has_images
from kivuko.search.store import IndexStore

CHECK = "widths"
_DO = (
    "Distill a student for this teacher: 'kivuko distill --teacher ... --image-tower ...' puts a projection to the "
    "teacher's width on it."
)


def check_widths(patient: Patient, gallery: IndexStore | None) -> Iterator[Finding]:
    """Encode a text and an image, and compare how wide the vectors are, with the teacher's and the gallery's too."""
    widths = {}
    if "text" in patient.model.modalities:
        widths["text"] = encode_texts(patient.model, ["paka"]).shape[1]
    if has_images(patient.model):
        widths["images"] = encode_images(patient.model, [Image.new("RGB", (64, 64), "gray")]).shape[1]
    if patient.teacher is not None:
        widths[f"teacher {patient.teacher.name}"] = patient.teacher.dim
    if gallery is not None:
        widths[f"gallery {gallery.path}"] = gallery.dim
    told = ", ".join(f"{what} {width}" for what, width in widths.items())
    if len(set(widths.values())) > 1:
        yield Finding("fault", CHECK, f"vectors are not of one width: {told}", _DO, figures={**widths})
    else:
        yield Finding("ok", CHECK, told, figures={**widths})
