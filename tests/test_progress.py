"""Progress bars say how far they are on any terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from kivuko import progress as module
from kivuko.progress import TrainingProgress, bars, note, progress_bar, reading_bar, study_bar

FIGURES = {"loss": 1.110, "transport": 0.642, "unconverged": 0.0, "contrastive": 0.789}


@pytest.fixture
def terminal(monkeypatch):
    def make(width, is_terminal=True):
        console = Console(file=io.StringIO(), force_terminal=is_terminal, width=width, color_system=None, markup=False)
        monkeypatch.setattr(module, "console", console)
        return console

    return make


def trained(console, monkeypatch, steps=(1, 338), clock=(0.0, 10.0)):
    monkeypatch.setattr(module.time, "monotonic", lambda: 0.0)
    with bars() as display:
        watch = TrainingProgress(display, "optical", 256)
        for step, now in zip(steps, clock, strict=True):
            monkeypatch.setattr(module.time, "monotonic", lambda now=now: now)
            watch.stepped(step, 800, FIGURES)
        display.refresh()
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
    assert text.splitlines()[0] == "optical: resuming at step 338"
    assert "step 800/800 · loss 1.110" in text
    assert "5,926 pairs/s" in text  # (800 - 337) * 256 / 20


def test_bars_are_silent_in_a_pipe_unless_forced(terminal):
    for progress, shown in ((None, False), (False, False), (True, True)):
        console = terminal(120, is_terminal=False)
        with progress_bar("images", progress) as report:
            report(3, 10)
        assert ("images" in console.file.getvalue()) == shown


def test_false_silences_a_terminal_and_every_call_within(terminal):
    console = terminal(120)
    with bars(False):
        note("a note")
        with progress_bar("inner") as report:
            report(3, 10)
    assert console.file.getvalue() == ""


def test_a_call_within_another_draws_into_the_same_display(terminal):
    terminal(120)
    with bars() as outer, bars() as inner:
        assert outer is inner
    with bars() as after:
        assert after is not outer


def test_notes_are_printed_as_they_are(terminal):
    console = terminal(20, is_terminal=False)
    note("[bold]: a line that is longer than the console is wide")
    assert console.file.getvalue() == "[bold]: a line that is longer than the console is wide\n"


class Source:
    size = 2_000_000

    def bytes_read(self):
        return 1_000_000


def test_a_reading_bar_counts_bytes_and_leaves_nothing_behind(terminal):
    console = terminal(150)
    with reading_bar(Source(), "en-sw.tmx") as bar:
        bar.show(12_345)
        bar.display.refresh()
        assert "1.0 MB/2.0 MB" in console.file.getvalue()
        assert "12,345 pairs" in console.file.getvalue()
        bar.display.refresh()
    assert "en-sw.tmx" not in console.file.getvalue().splitlines()[-1]


class StudyRun:
    label, cost = "sw optical 0", 2.0


def test_a_study_bar_prints_a_line_per_run_in_a_log(terminal):
    console = terminal(120, is_terminal=False)
    with study_bar() as bar:
        bar.planned([], [StudyRun()], workers=2)
        bar.began(StudyRun)
        bar.ended(StudyRun, 3.0)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "0 of 1 runs are there; 1 to go, 2 workers"
    assert lines[1].startswith("1/1: sw optical 0, 3 s")
