"""Checkpoints: one safetensors file of all tensors, and ``checkpoint.json``, which names it with its SHA-256.

The JSON is replaced last, so the folder holds one whole checkpoint or none at any moment.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kivuko.errors import CorruptFileError, unreadable
from kivuko.files import atomic_path, check_sha256, sha256_of, write_text

_INDEX = "checkpoint.json"


@dataclass
class RunState:
    """The progress of a run: steps done, the best score and its step, and the scores and the curve so far."""

    step: int = 0
    best_score: float = -1.0
    best_step: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)

    def stale(self) -> int:
        """Count the scores since the best one."""
        return sum(step > self.best_step for step, _ in self.history)


def save_checkpoint(
    folder: Path,
    run: str,
    at: RunState,
    weights: dict[str, Tensor],
    best: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    tensors = {f"weights.{k}": v for k, v in weights.items()} | {f"best.{k}": v for k, v in best.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{key}": value for key, value in state.items()}
    file = folder / f"step-{at.step:08d}.safetensors"
    with atomic_path(file) as temporary:
        save_file({key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}, temporary)
    index = {"format": 1, "run": run, "file": file.name, "sha256": sha256_of(file), "progressed": asdict(at)}
    write_text(folder / _INDEX, json.dumps(index | {"check": _check(index)}, indent=1))
    for old in folder.glob("step-*.safetensors"):
        if old != file:
            old.unlink(missing_ok=True)


def checkpoint_run(folder: Path) -> str | None:
    """Return the fingerprint of the run that the folder's checkpoint belongs to; None if there is no checkpoint."""
    return _index(folder)["run"] if (folder / _INDEX).is_file() else None


def load_checkpoint(
    folder: Path, optimizer: torch.optim.Optimizer
) -> tuple[RunState, dict[str, Tensor], dict[str, Tensor]]:
    index = _index(folder)
    file = folder / str(index["file"])
    remedy = f"Delete the folder {folder} to start this training again."
    check_sha256(file, str(index["sha256"]), remedy)
    tensors = load_file(file)
    state: dict[int, dict[str, Tensor]] = {}
    parts: dict[str, dict[str, Tensor]] = {"weights": {}, "best": {}}
    for key, value in tensors.items():
        kind, _, name = key.partition(".")
        if kind == "optimizer":
            number, _, entry = name.partition(".")
            state.setdefault(int(number), {})[entry] = value
        else:
            parts[kind][name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    progressed = index["progressed"]
    progressed["history"] = [(step, score) for step, score in progressed["history"]]
    return RunState(**progressed), parts["weights"], parts["best"]


def _index(folder: Path) -> dict[str, Any]:
    path = folder / _INDEX
    try:
        index = dict(json.loads(path.read_text(encoding="utf-8")))
        intact = index.pop("check") == _check(index)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
        what = f"{path}: corrupted. Delete the folder {folder} to start this training again."
        raise unreadable(path, problem, what) from problem
    if not intact:
        raise CorruptFileError(f"{path}: corrupted. Delete the folder {folder} to start this training again.")
    if index["format"] != 1:
        raise CorruptFileError(f"{path}: not a checkpoint of this version. Delete the folder {folder} to start again.")
    return index


def _check(index: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()
