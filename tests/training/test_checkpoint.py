"""Checkpoints: what is saved comes back, whole or not at all."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from kivuko.errors import CorruptFileError, KivukoError
from kivuko.training import checkpoint
from kivuko.training.checkpoint import RunState, checkpoint_run, load_checkpoint, save_checkpoint


def made(seed=0):
    """A small model, with an optimizer that has taken three steps."""
    torch.manual_seed(seed)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, betas=(0.9, 0.98))
    for _ in range(3):
        step(model, optimizer)
    return model, optimizer


def step(model, optimizer):
    model(torch.randn(4, 3)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def save(folder, at_step=4, seed=0):
    model, optimizer = made(seed)
    at = RunState(at_step, 0.625, 2, [(2, 0.625), (4, 0.1 + 0.2)])
    best = {"weight": torch.full((2, 3), 7.0), "bias": torch.zeros(2)}
    save_checkpoint(folder, "run-a", at, model.state_dict(), best, optimizer)
    return model, optimizer, at, best


def fresh_optimizer():
    return torch.optim.AdamW(nn.Linear(3, 2).parameters(), lr=0.5, betas=(0.9, 0.98))


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_what_was_saved_comes_back(tmp_path):
    model, optimizer, at, best = save(tmp_path / "run")
    other = fresh_optimizer()
    found, weights, found_best = load_checkpoint(tmp_path / "run", other)
    assert found == at
    assert same(weights, model.state_dict())
    assert same(found_best, best)
    before, after = optimizer.state_dict()["state"], other.state_dict()["state"]
    assert before.keys() == after.keys()
    assert all(same(before[number], after[number]) for number in before)


def test_a_step_after_loading_is_the_step_that_would_have_come(tmp_path):
    model, optimizer, *_ = save(tmp_path)
    other, other_optimizer = made(seed=1)
    _, weights, _ = load_checkpoint(tmp_path, other_optimizer)
    other.load_state_dict(weights)
    for one, its_optimizer in ((model, optimizer), (other, other_optimizer)):
        torch.manual_seed(9)
        step(one, its_optimizer)
    assert same(model.state_dict(), other.state_dict())


def test_the_run_is_told_without_loading(tmp_path):
    assert checkpoint_run(tmp_path / "none") is None
    save(tmp_path)
    assert checkpoint_run(tmp_path) == "run-a"


def test_a_new_checkpoint_takes_the_place_of_the_old(tmp_path):
    save(tmp_path, at_step=4)
    save(tmp_path, at_step=8, seed=1)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint.json", "step-00000008.safetensors"]
    assert load_checkpoint(tmp_path, fresh_optimizer())[0].step == 8


@pytest.mark.parametrize("name", ["save_file", "write_text"])
def test_a_save_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch, name):
    model, *_ = save(tmp_path, at_step=4)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, name, full)
        with pytest.raises((KivukoError, OSError)):
            save(tmp_path, at_step=8, seed=1)
    found, weights, _ = load_checkpoint(tmp_path, fresh_optimizer())
    assert found.step == 4
    assert same(weights, model.state_dict())
    save(tmp_path, at_step=12)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint.json", "step-00000012.safetensors"]


def loaded(folder):
    """How far the run has come, as the checkpoint tells, or the error that it is damaged."""
    try:
        checkpoint_run(folder)
        return load_checkpoint(folder, fresh_optimizer())[0]
    except CorruptFileError as problem:
        return problem


def corrupt(folder):
    """The message that the checkpoint is damaged."""
    problem = loaded(folder)
    assert isinstance(problem, CorruptFileError), "the damage went unnoticed"
    assert f"Delete the folder {folder}" in str(problem)
    return str(problem)


@pytest.mark.parametrize("place", [0, 8, 60, -400, -1])
def test_a_flipped_bit_in_the_weights_is_noticed(tmp_path, place):
    save(tmp_path)
    file = tmp_path / "step-00000004.safetensors"
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    assert str(file) in corrupt(tmp_path)


@pytest.mark.parametrize("length", [0, 10, -1])
def test_truncated_weights_are_noticed(tmp_path, length):
    save(tmp_path)
    file = tmp_path / "step-00000004.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    assert str(file) in corrupt(tmp_path)


def test_missing_weights_are_noticed(tmp_path):
    save(tmp_path)
    (tmp_path / "step-00000004.safetensors").unlink()
    assert "missing" in corrupt(tmp_path)


def test_no_flipped_bit_in_the_index_goes_unnoticed(tmp_path):
    *_, at, _ = save(tmp_path)
    index = tmp_path / "checkpoint.json"
    content = index.read_bytes()
    for place in range(len(content)):
        index.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        found = loaded(tmp_path)
        # The last digit of a score may be written in more than one way: that is no damage.
        assert found == at or str(index) in str(found), place


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", "{}", '{"format": 1}', "\x00"])
def test_an_index_that_is_none_is_named(tmp_path, content):
    save(tmp_path)
    (tmp_path / "checkpoint.json").write_text(content)
    assert str(tmp_path / "checkpoint.json") in corrupt(tmp_path)


def test_a_truncated_index_is_named(tmp_path):
    save(tmp_path)
    index = tmp_path / "checkpoint.json"
    content = index.read_text()
    json.loads(content)
    for length in range(0, len(content), 20):
        index.write_text(content[:length])
        assert str(index) in corrupt(tmp_path), length
