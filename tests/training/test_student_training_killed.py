"""A training that is killed with SIGKILL goes on in another process and ends with the very same weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("tiny_run.py")
# Checkpoints come after steps 4, 8 and 12. Point of death -> the step with which the next process must begin.
POINTS = {
    "2": 1,  # before there is any checkpoint
    "5": 5,  # right after the first
    "7": 5,  # between two
    "saving-8": 5,  # while the second is being written
    "9": 9,  # right after the second
    "12": 9,  # in the last step
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(folder, first step of each resumed run, how each was killed); one run, "whole", is never interrupted."""
    folder = tmp_path_factory.mktemp("runs")
    # Threads of the tokenizer do not survive a fork: left on by an earlier test's environment, a child waits for ever.
    alone = os.environ | {"TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, str(SCRIPT), str(folder), *POINTS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400, env=alone)
    assert done.returncode == 0, done.stderr
    died, first_steps = json.loads(done.stdout.splitlines()[-1])
    return folder, first_steps, died


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_ends_with_the_same_weights(runs, point):
    folder, first_steps, died = runs
    assert died[point] == signal.SIGKILL
    assert first_steps[point] == POINTS[point]
    whole = np.fromfile(folder / "whole.weights", dtype=np.float32)
    assert len(whole) > 250
    # Nearly always the same bits. Where an array happens to lie otherwise in memory, the math library may add up
    # in another order; a checkpoint that lacks anything gives weights that are off in their second or third digit.
    np.testing.assert_allclose(np.fromfile(folder / f"{point}.weights", dtype=np.float32), whole, rtol=1e-4, atol=1e-6)


def test_the_uninterrupted_run_began_at_the_first_step(runs):
    assert runs[1]["whole"] == 1


def test_one_checkpoint_is_left_of_each_run(runs):
    for point in POINTS:
        assert sorted(file.name for file in (runs[0] / point).iterdir() if not file.name.endswith(".tmp")) == [
            "checkpoint.json", "step-00000012.safetensors",
        ]  # fmt: skip
