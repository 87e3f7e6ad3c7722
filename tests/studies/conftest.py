"""Inputs over the tiny emoji world, tiny recipes, and runs made in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for killed_study, under any import mode


@pytest.fixture(scope="session")
def inputs(tiny_world):
    """What runs share, in Swahili and Marathi."""
    from kivuko.encoders.teacher import load_teacher
    from kivuko.studies.data import EmojiData
    from kivuko.studies.inputs import study_inputs

    return study_inputs(EmojiData(tiny_world, ("sw", "mr")), load_teacher())


@pytest.fixture(scope="session")
def evaluator(inputs):
    """The measure of all systems."""
    from kivuko.studies.inputs import Evaluator

    return Evaluator(inputs)


@pytest.fixture
def in_process(evaluator, monkeypatch):
    """Make runs here instead of in workers; gives the list of those that were made."""
    import torch

    from kivuko.studies.low_resource import perform
    from kivuko.studies.runs import save_run

    made = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker has it, so that sums come out alike

    def run_all(todo, inputs, prepare, scratch, workers, watch):
        for file in todo:
            watch.began(file.run)
            measured = perform(file.run, evaluator)
            save_run(file, measured)
            made.append(file.run.label)
            watch.ended(file.run, measured.notes["seconds"])

    monkeypatch.setattr("kivuko.studies.engine.run_all", run_all)
    yield made
    torch.set_num_threads(threads)
