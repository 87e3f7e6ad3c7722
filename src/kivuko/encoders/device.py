"""Where models run: on a GPU where there is one."""

from __future__ import annotations


def fastest_device() -> str:
    """Return torch's name of the device on which encoding is fastest here: "cuda:0", "mps", ..., or "cpu"."""
    from sentence_transformers.util import get_device_name

    return str(get_device_name())
