"""A temperature that training chooses: it moves with the optimizer and comes through a checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from safetensors.torch import load_file

from kivuko.training.recipe import parse_recipe

RECIPE = """
[[objective]]
kind = "mse"
weight = 0.1

[[objective]]
kind = "contrastive"
temperature = 0.2
learned = true

[schedule]
steps = 12
batch_size = 7
learning_rate = 0.05
weight_decay = 0.5
validate_every = 4
"""


@pytest.fixture
def recipe():
    return parse_recipe(RECIPE, "learned", "learned.toml")


def go(run, recipe, student, **changes):
    """Train, and return the temperatures on the way and what training came to."""
    temperatures, then = {}, changes.pop("then", lambda step: None)

    def report(step, steps, figures):
        temperatures[step] = figures["temperature"]
        then(step)

    return temperatures, run.go(recipe=recipe, student=student, report=report, **changes)


def test_training_moves_the_temperature_with_the_optimizer(tiny_run, recipe):
    temperatures, _ = go(tiny_run, recipe, tiny_run.new_student())
    assert temperatures[1] == pytest.approx(0.2)
    # AdamW's first step is the sign of the gradient times the rate; this one is not decayed. Nearly all answers
    # are wrong at first, so the temperature rises.
    assert temperatures[2] == pytest.approx(0.2 * math.exp(0.05), rel=1e-4)
    assert len(set(temperatures.values())) == 12


def interrupt(at):
    def then(step):
        if step == at:
            raise KeyboardInterrupt

    return then


def test_a_resumed_run_goes_on_with_the_temperature_it_had(tiny_run, recipe, tmp_path):
    students = [tiny_run.new_student(), tiny_run.new_student()]
    whole, outcome = go(tiny_run, recipe, students[0])
    with pytest.raises(KeyboardInterrupt):
        go(tiny_run, recipe, tiny_run.new_student(), checkpoints=tmp_path / "run", then=interrupt(10))
    rest, resumed = go(tiny_run, recipe, students[1], checkpoints=tmp_path / "run")
    assert rest == {step: whole[step] for step in range(9, 13)}
    assert dataclasses.replace(resumed, seconds=0) == dataclasses.replace(outcome, seconds=0)
    one, other = (student.state_dict() for student in students)
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_temperature_is_kept_with_the_weights_and_not_with_the_best_ones(tiny_run, recipe, tmp_path):
    go(tiny_run, recipe, tiny_run.new_student(), checkpoints=tmp_path / "run")
    index = json.loads((tmp_path / "run" / "checkpoint.json").read_text())
    kept = load_file(tmp_path / "run" / index["file"])
    assert [key for key in kept if "log_scale" in key] == ["weights.objective.1.log_scale"]
