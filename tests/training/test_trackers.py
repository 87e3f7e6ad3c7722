"""Trackers that receive a learning curve: TensorBoard and Trackio, and what is said where one is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from kivuko.errors import MissingDependencyError, UsageError
from kivuko.training.recipe import load_recipe
from kivuko.training.trackers import TRACKERS, check_tracker, open_tracker

CURVE = [
    {"step": 10, "loss": 0.5, "learning_rate": 0.002},
    {"step": 20, "loss": 0.25, "learning_rate": 0.001, "validation": 0.75},
]


def send(name, out):
    with open_tracker(name, out, load_recipe("mse")) as record:
        for one in CURVE:
            record(one)


def test_tensorboard_receives_the_curve(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    send("tensorboard", tmp_path / "model")
    events = EventAccumulator(str(tmp_path / "model.log")).Reload()
    assert sorted(events.Tags()["scalars"]) == ["learning_rate", "loss", "validation"]
    assert [(one.step, one.value) for one in events.Scalars("loss")] == [(10, 0.5), (20, 0.25)]
    assert [(one.step, one.value) for one in events.Scalars("validation")] == [(20, 0.75)]
    assert not (tmp_path / "model").exists(), "the folder of the model is the model's"


def test_trackio_receives_the_curve(tmp_path):
    pytest.importorskip("trackio")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import test_trackers as own\n"
        "own.send('trackio', Path('model'))"
    )
    # In a process of its own: the package reads where it keeps its runs when it is imported.
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"TRACKIO_DIR": str(tmp_path / "runs"), "HF_HUB_OFFLINE": "1"}, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(tmp_path / "runs" / "kivuko.db") as database:
        rows = database.execute("select run_name, step, metrics from metrics order by step").fetchall()
    sent = [{key: value for key, value in one.items() if key != "step"} for one in CURVE]
    assert [(name, step, json.loads(metrics)) for name, step, metrics in rows] == [
        ("model", 10, sent[0]), ("model", 20, sent[1]),
    ]  # fmt: skip


def test_no_tracker_is_no_function(tmp_path):
    with open_tracker(None, tmp_path / "model", load_recipe("mse")) as record:
        assert record is None


def test_a_tracker_that_is_not_known_or_not_installed_is_one_line(monkeypatch):
    with pytest.raises(UsageError, match="log_to='mlflow': choose one of tensorboard, trackio, wandb"):
        check_tracker("mlflow")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in TRACKERS:
        with pytest.raises(MissingDependencyError, match=rf"needs {name}\. Run: pip install 'kivuko\[{name}\]'"):
            check_tracker(name)
