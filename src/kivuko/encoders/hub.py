"""Models that are named by their id on the hub: found out at once where it cannot be reached, not after minutes."""

from __future__ import annotations

from pathlib import Path

from kivuko.errors import ModelError, blamed, first_line

_SECONDS = 10.0  # for the one question whether the hub answers
_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.tiktoken")  # not the same weights for other libraries
_PICKLED = "pytorch_model*.bin"  # where there are no others


def require_hub(name: str) -> None:
    """Do nothing if a model is at hand, or the hub answers, whatever it says of the model.

    The loading libraries ask for each of a dozen files several times before they give up.

    Args:
        name: folder or hub id.

    Raises:
        ModelError: it is no folder, nothing of it is in the hub's cache, and the hub cannot be reached.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    if Path(name).expanduser().is_dir() or ":" in name or constants.HF_HUB_OFFLINE or _is_cached(name):
        return
    try:
        HfApi().model_info(name, timeout=_SECONDS)
    except (HfHubHTTPError, ValueError):
        return  # it answers; or this is no id, which the loading library tells
    except Exception as problem:  # of whatever library carries it
        raise ModelError(
            f"{name}: no such folder here, and huggingface.co cannot be reached ({first_line(problem)}). "
            "Fetch the model where there is a network, and name its folder."
        ) from problem


def local_folder(name: str) -> Path:
    """Return the folder of a model: as named, or in the hub's cache, into which it is fetched if need be.

    Raises:
        ModelError: neither a folder nor to be had from the hub.
    """
    folder = Path(name)
    if folder.exists() or folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        return folder
    from huggingface_hub import snapshot_download

    require_hub(name)
    with blamed(lambda reason: ModelError(f"{name}: no such folder, and not to be had from the hub ({reason}).")):
        found = Path(snapshot_download(name, allow_patterns=list(_FILES)))
        if not any(found.glob("*.safetensors")):
            found = Path(snapshot_download(name, allow_patterns=[*_FILES, _PICKLED]))
    return found


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    try:
        return any(isinstance(try_to_load_from_cache(name, file), str) for file in ("config.json", "modules.json"))
    except ValueError:  # no id
        return True
