"""Progress bars say how far they are on any terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from kivuko.cli import progress as module
from kivuko.cli.progress import TrainingWatch, bars

FIGURES = {"loss": 1.110, "transport": 0.642, "unconverged": 0.0, "contrastive": 0.789}


@pytest.fixture
def terminal(monkeypatch):
    def make(width, is_terminal=True):
        console = Console(file=io.StringIO(), force_terminal=is_terminal, width=width, color_system=None)
        monkeypatch.setattr(module, "console", console)
        return console

    return make


def trained(console, monkeypatch, steps=(1, 338), clock=(0.0, 10.0)):
    monkeypatch.setattr(module.time, "monotonic", lambda: 0.0)
    with bars() as progress:
        watch = TrainingWatch(progress, "optical", 256)
        for step, now in zip(steps, clock, strict=True):
            monkeypatch.setattr(module.time, "monotonic", lambda now=now: now)
            watch.stepped(step, 800, FIGURES)
        progress.refresh()
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_how_far_it_is_has_room_on_any_terminal(terminal, monkeypatch, width):
    lines = trained(terminal(width), monkeypatch).splitlines()
    last = [line for line in lines if "training" in line][-1]
    assert "optical: training" in last
    assert "338/800" in last
    assert "loss 1.110" in last
    assert "unconverged" not in last
    assert ("pairs/s" in last) == (width == 200)


def test_there_is_no_speed_before_there_is_one(terminal, monkeypatch):
    text = trained(terminal(200), monkeypatch, steps=(1,), clock=(0.0,))
    assert "pairs/s" not in text


def test_training_that_goes_on_says_so(terminal, monkeypatch):
    text = trained(terminal(200, is_terminal=False), monkeypatch, steps=(338, 800), clock=(0.0, 20.0))
    assert text.splitlines()[0] == "optical: going on from step 337"
    assert "step 800/800 · loss 1.110" in text
    assert "5,926 pairs/s" in text  # (800 - 337) * 256 / 20
