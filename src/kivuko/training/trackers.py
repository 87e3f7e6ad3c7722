"""Trackers that receive the learning curve of a training as it grows: TensorBoard, Trackio, Weights & Biases."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kivuko.errors import MissingDependencyError, UsageError
from kivuko.files import folder_beside
from kivuko.progress import Record

if TYPE_CHECKING:
    from kivuko.training.recipe import Recipe

TRACKERS = ("tensorboard", "trackio", "wandb")


def check_tracker(name: str | None) -> None:
    """Raise KivukoError unless ``name`` is None or a tracker whose package is installed."""
    if name is None:
        return
    if name not in TRACKERS:
        raise UsageError(f"log_to={name!r}: choose one of {', '.join(TRACKERS)}.")
    if importlib.util.find_spec(name) is None:
        raise MissingDependencyError(f"log_to={name!r} needs {name}. Run: pip install 'kivuko[{name}]'")


@contextlib.contextmanager
def open_tracker(name: str | None, out: Path, recipe: Recipe) -> Iterator[Record | None]:
    """Yield a function that sends a record of the learning curve to the tracker; None for none.

    The project of Trackio and of Weights & Biases is ``kivuko``, and the run is named after the folder of the model.
    """
    check_tracker(name)
    if name is None:
        yield None
        return
    from accelerate import PartialState
    from accelerate.tracking import TensorBoardTracker, TrackioTracker, WandBTracker

    PartialState()
    run = out.absolute().name
    tracker: Any
    if name == "tensorboard":
        tracker = TensorBoardTracker(".", folder_beside(out, "log"))
    else:
        tracker = (TrackioTracker if name == "trackio" else WandBTracker)("kivuko", name=run)
    with contextlib.redirect_stdout(sys.stderr):  # where the trackers say what they do
        tracker.start()
        settings = {key: value for key, value in asdict(recipe.schedule).items() if value is not None}
        if name != "tensorboard":  # which would keep each run's settings as a run of its own
            tracker.store_init_configuration({"recipe": recipe.name, **settings})

    def record(values: Mapping[str, float]) -> None:
        tracker.log({key: value for key, value in values.items() if key != "step"}, step=int(values["step"]))

    try:
        yield record
    finally:
        with contextlib.redirect_stdout(sys.stderr):
            tracker.finish()
