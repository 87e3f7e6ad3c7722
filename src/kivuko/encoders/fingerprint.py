"""What tells the vectors of one model from those of another."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from kivuko.files import sha256_of


def image_fingerprint(model: Any) -> str:
    """Hash the weights of a model's image route, 64 hexadecimal digits: picture vectors are valid for these only.

    Args:
        model: a bundle (a ``SentenceTransformer`` whose router has an image route) or an image tower.
    """
    import torch

    side = model[0].sub_modules["image"] if hasattr(model[0], "sub_modules") else model
    digest = hashlib.sha256()
    for name, value in sorted(side.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def folder_fingerprint(folder: Path) -> str:
    """Hash all files that a model's vectors may depend on, 64 hexadecimal digits: all but its card and evaluations."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name != "README.md" and not name.startswith(("evaluation/", ".")):
            digest.update(f"{name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()
