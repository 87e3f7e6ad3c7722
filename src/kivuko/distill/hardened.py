"""A hardened model on disk, and what hardening did to it: how far clean vectors moved, and what attacks still do."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import kivuko
from kivuko.attacks.image import ImageToText, PixelTower, Threat, broken, pgd
from kivuko.distill.harden import Hardening, hardening_key
from kivuko.distill.harden_pictures import Pictures
from kivuko.encoders.bundle import quiet
from kivuko.encoders.spelling import FILE as SPELLING
from kivuko.encoders.word_counts import FILE as WORDS
from kivuko.errors import CorruptFileError, ModelError
from kivuko.files import atomic_path

_NOTE, _ABOUT, _TOKEN_MEAN = "hardening.json", "kivuko.json", "token_mean.safetensors"
_ATTACKED = 128  # pictures that the note's own figures under attack are measured on
_ATTACK_STEPS = 10


@dataclass(frozen=True)
class HardeningNote:
    """What was done and what came of it, kept in ``hardening.json`` beside the model.

    ``images``: "emoji" or the folder; ``pictures``: how many. ``clean_cosine`` and ``lowest_clean_cosine``: mean and
    least cosine of a clean picture's vector with its old one. ``kept_before`` and ``kept_after``: share of ``attacked``
    pictures that, perturbed alone within ``eps`` by PGD with 10 steps, are still nearest to their own old vector
    among those of all pictures. ``key``: of the job, see ``hardening_key``.
    """

    settings: dict[str, float | int | None]
    images: str
    pictures: int
    clean_cosine: float
    lowest_clean_cosine: float
    attacked: int
    kept_before: float
    kept_after: float
    key: str
    kivuko: str


def describe_hardening(
    before: Any, after: Any, pictures: Pictures, settings: Hardening, images: str
) -> HardeningNote:  # fmt: skip
    """Measure what hardening did, on the very pictures it was done with.

    Args:
        before: the original model, float32.
        after: the hardened one, with weights as they will be stored.
        images: name of the pictures, for the note.
    """
    old, new = PixelTower(before), PixelTower(after)
    anchors = torch.cat([old.encode(part) for part in pictures.clean_batches()])
    cosines = torch.cat([new.encode(part) for part in pictures.clean_batches()]).mul_(anchors).sum(1)
    generator = torch.Generator().manual_seed(settings.seed)
    rows = torch.randperm(len(pictures), generator=generator)[:_ATTACKED]
    kept = [_kept(tower, pictures, rows, anchors, settings) for tower in (old, new)]
    return HardeningNote(
        settings=asdict(settings), images=images, pictures=len(pictures), clean_cosine=round(cosines.mean().item(), 4),
        lowest_clean_cosine=round(cosines.min().item(), 4), attacked=len(rows), kept_before=round(kept[0], 4),
        kept_after=round(kept[1], 4), key=hardening_key(before, pictures, settings), kivuko=kivuko.__version__,
    )  # fmt: skip


def _kept(tower: PixelTower, pictures: Pictures, rows: Tensor, anchors: Tensor, settings: Hardening) -> float:
    pixels = torch.cat(list(pictures.clean_batches()))[rows]
    goal = ImageToText(anchors, rows)
    found = pgd(tower, pixels, goal, Threat("linf", settings.eps), steps=_ATTACK_STEPS, seed=settings.seed)
    return (~broken(goal, found.margins)).float().mean().item()


def stored_like(model: Any, original: Any) -> Any:
    """Return a copy of a model whose weights have the precision of another's, in which it is saved."""
    model = copy.deepcopy(model)
    kinds = {name: value.dtype for name, value in original.state_dict().items()}
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.is_floating_point() and name in kinds:
                value.data = value.data.to(kinds[name])
    return model


def save_hardened(source: Path, out: Path, model: Any, note: HardeningNote, card: str) -> None:
    """Write a hardened model, whole or not at all; a hardened model that stood at ``out`` is replaced.

    Of a bundle, ``kivuko.json``, the mean token and the words for misspelt queries come along; its ``run`` says that it
    was hardened, so that the training of its student is not taken to have made this model. Records of evaluations do
    not come along.

    Args:
        source: folder of the original model.
        model: in the precision to store.
        card: the model card, Markdown.

    Raises:
        KivukoError: the disk is full, or something that is not a hardened model stands at ``out``.
    """
    from kivuko.encoders.spelling_module import without_reading

    refuse_not_hardened(out, source)
    with atomic_path(out) as temporary, quiet():
        without_reading(copy.deepcopy(model)).save(str(temporary), create_model_card=False)
        if (source / _ABOUT).is_file():
            about = json.loads((source / _ABOUT).read_text(encoding="utf-8"))
            about["run"] = f"{about['run']} hardened:{note.key[:24]}"
            (temporary / _ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8")
        for extra in (_TOKEN_MEAN, SPELLING, WORDS):
            if (source / extra).is_file():
                shutil.copyfile(source / extra, temporary / extra)
        (temporary / _NOTE).write_text(json.dumps(asdict(note), indent=1) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(card, encoding="utf-8")


def refuse_not_hardened(out: Path, source: Path) -> None:
    """Raise ModelError if ``out`` is the source, or holds something else than a hardened model."""
    if out.exists() and out.resolve() == source.resolve():
        raise ModelError(f"{out}: is the model that is to be hardened, which stays as it is. Choose another --out.")
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / _NOTE).is_file()):
        raise ModelError(f"{out}: exists and is not a hardened model; nothing was replaced. Choose another --out.")


def read_hardening(folder: Path | str) -> HardeningNote | None:
    """Return what a model's folder says of its hardening; None if it was not hardened.

    Raises:
        CorruptFileError: the note is there but damaged.
    """
    file = Path(folder) / _NOTE
    if not file.is_file():
        return None
    try:
        note = HardeningNote(**json.loads(file.read_text(encoding="utf-8")))
        if not isinstance(note.key, str) or not isinstance(note.settings, dict):
            raise TypeError("key or settings")
    except (OSError, ValueError, TypeError, RecursionError) as problem:
        raise CorruptFileError(
            f"{file}: corrupted or of another version. Delete the folder and harden again."
        ) from problem
    return note
