"""What kind of model a hub id or a folder holds, told by its configuration alone: no weight is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from kivuko.encoders.open_clip import PREFIX

Kind = Literal["clip", "multi-vector", "text"]


def model_kind(source: str) -> Kind:
    """Tell a CLIP-like model and a late-interaction model from all others, which are taken for text encoders.

    Args:
        source: hub id or folder, of ``transformers`` or of ``sentence-transformers``; or ``open_clip:...``.
    """
    if source.startswith(PREFIX):
        return "clip"
    if _json(source, "config_sentence_transformers.json").get("model_type") in ("MultiVectorEncoder", "ColBERT"):
        return "multi-vector"
    config = _json(source, "config.json")
    if "HF_ColBERT" in (config.get("architectures") or []):
        return "multi-vector"
    if "text_config" in config and "vision_config" in config:
        return "clip"
    return "text"


def is_sentence_transformer(source: str) -> bool:
    """Tell whether a hub id or folder was saved by ``sentence-transformers``, so that it says how it pools."""
    return bool(_read(source, "modules.json"))


def _json(source: str, name: str) -> dict[str, Any]:
    found = _read(source, name)
    return found if isinstance(found, dict) else {}


def _read(source: str, name: str) -> Any:
    """Return a configuration file of a model; None where it has none that can be read: the loading library judges."""
    from sentence_transformers.util import load_file_path

    try:
        path = load_file_path(source, name)
        return json.loads(Path(path).read_text(encoding="utf-8")) if path else None
    except (OSError, ValueError, RecursionError):
        return None
