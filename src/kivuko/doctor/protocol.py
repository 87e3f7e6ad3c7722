"""What to mind when this kind of model is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kivuko.doctor.finding import Finding, Patient
from kivuko.encoders.model import has_images

CHECK = "protocol"


def check_protocol(patient: Patient, bitexts: Sequence[str]) -> Iterator[Finding]:
    """Name the traps that figures of such a model have fallen into.

    Args:
        bitexts: files or names of the bitexts that were given.
    """
    coco = [name for name in bitexts if "coco" in name.lower()]
    if coco:
        what = f"{', '.join(coco)}: if these are MSCOCO captions, 800 of XTD-10's 1,000 images are in its training set"
        do = "Compare before you train: kivuko bitext check FILE --against CAPTIONS"
        yield Finding("warning", CHECK, what, do)
    if has_images(patient.model):
        if not coco:
            what = "800 of XTD-10's 1,000 test images are in MSCOCO's training set, which many models have seen"
            do = "Look for leaks: kivuko bitext check FILE --against CAPTIONS; say so beside the figures."
            yield Finding("note", CHECK, what, do)
        what = "five captions per image against one move text recall by about 20 points"
        yield Finding("note", CHECK, what, "Give captions per image and gallery size beside every figure.")
    elif "text" in patient.model.modalities:
        what = "trained on sentences, a model does worse on paragraphs"
        yield Finding("note", CHECK, what, "Measure on documents as long as yours, or split them into sentences.")
