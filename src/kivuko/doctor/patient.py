"""The model that is examined, loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kivuko.encoders.bundle import About, load_bundle, quiet, read_about
from kivuko.encoders.clip import load_clip
from kivuko.encoders.model_kind import model_kind
from kivuko.encoders.teacher import TextTeacher, load_teacher
from kivuko.errors import ModelError, blamed


@dataclass(frozen=True, eq=False)
class Patient:
    """A loaded model and what is known of it.

    Attributes:
        folder: the model's.
        model: a ``SentenceTransformer`` on the CPU, in float32.
        about: what Kivuko wrote of it; None for a model of others.
        teacher: the English encoder whose space it should share; None where none is known or none loads.
    """

    folder: Path
    model: Any
    about: About | None
    teacher: TextTeacher | None = None

    @property
    def trained(self) -> tuple[str, ...]:
        """The languages that it claims to know; none for a model of others, which does not say."""
        return self.about.languages if self.about else ()


def open_patient(folder: Path) -> Patient:
    """Load a model: a folder of Kivuko's or of sentence-transformers, or an encoder (CLIP too) of ``transformers``.

    Raises:
        ModelError: it does not load.
        CorruptFileError: a file that Kivuko wrote into it is damaged.
    """
    if (folder / "modules.json").is_file():
        return Patient(folder, load_bundle(folder).float(), read_about(folder))
    with quiet():
        if model_kind(str(folder)) == "clip":
            return Patient(folder, _both_sides(folder), None)
        return Patient(folder, load_teacher(folder.absolute()).model.float(), None)


def _both_sides(folder: Path) -> Any:
    """Load a CLIP-like model as a bundle is laid out: text and images through a router."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    with blamed(lambda reason: ModelError(f"{folder}: does not load as a model ({reason}). Fetch it again.")):
        towers = load_clip(folder, str(folder))
    routes: Any = {"text": list(towers.text.children()), "image": list(towers.image.children())}
    router = Router(routes, default_route="text")
    return SentenceTransformer(modules=[router], device="cpu", similarity_fn_name="cosine").eval()


def require_folder(folder: Path) -> None:
    """Raise ModelError unless there is a folder of a model with one vector a text: nothing else can be examined."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder. 'kivuko demo' and 'kivuko distill' make one.")
    if not any((folder / name).is_file() for name in ("modules.json", "config.json", "kivuko.json")):
        raise ModelError(f"{folder}: not a model folder (no modules.json or config.json). Name the one --out wrote.")
    if model_kind(str(folder)) == "multi-vector":
        raise ModelError(f"{folder}: a late-interaction model; examine the model with one vector a text it came from.")


def names_of(model: Any, *also: str) -> str:
    """Return all that a model is called, in small letters: for telling its family (E5, SigLIP) by its name."""
    first = model[0].sub_modules if hasattr(model[0], "sub_modules") else {"": [model[0]]}
    configs = [getattr(getattr(route[0], "model", None), "config", None) for route in first.values()]
    # Of a path only its last part: a family's name further up is that of a user or a project.
    told = [called(Path(str(getattr(config, "_name_or_path", "")))) for config in configs if config is not None]
    return json.dumps([*also, *told]).lower()


def called(folder: Path) -> str:
    """Return what a model's folder is called; of one in the hub's cache, the model's id with -- in it."""
    return folder.parent.parent.name if folder.parent.name == "snapshots" else folder.name
