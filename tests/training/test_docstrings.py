"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib

import pytest

import kivuko

MODULES = ("progress", "plugins", "training.distill", "training.harden", "training.loop")


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    module = importlib.import_module(f"kivuko.{name}")
    result = doctest.testmod(module, extraglobs={"kivuko": kivuko, "tmp": tmp_path})
    assert result.attempted
    assert not result.failed
