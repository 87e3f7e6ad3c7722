"""What tells the space of one model's pictures from that of another's."""

from __future__ import annotations

import hashlib
from typing import Any


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
