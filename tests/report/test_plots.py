"""Labels of lines that end close together stay apart and in order; lengths and colors are the page's."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kivuko.evaluation.statistics import Interval
from kivuko.report import plots
from kivuko.report.plots import FIRST, SECOND, VARIABLES, Axis, Bar, Line, bar_panel, line_panel, spread_apart


@given(st.lists(st.floats(0, 1), max_size=7))
def test_labels_stay_apart_in_order_and_inside(heights):
    moved = spread_apart(sorted(heights), 0.1, 0.0, 1.0)
    assert all(0 <= height <= 1 for height in moved)
    assert all(after - before > 0.099 for before, after in itertools.pairwise(moved))


def test_labels_far_enough_apart_are_not_moved():
    assert spread_apart([0.1, 0.5, 0.9], 0.1, 0.0, 1.0) == [0.1, 0.5, 0.9]


def interval(mean: float, n: int = 3) -> Interval:
    return Interval(mean, mean - 0.01, mean + 0.01, n) if n > 1 else Interval(mean, mean, mean, 1)


@pytest.mark.parametrize("sizes", [(300,), (100, 300, 1000)])
def test_lines_are_labelled_and_colored_by_the_page(sizes):
    points = {size: interval(0.2) for size in sizes}
    lines = [Line(FIRST, "with transport", points), Line(SECOND, "without", points)]
    drawn = line_panel("Swahili", lines, Axis(sizes, [str(size) for size in sizes], "pairs", 0, 1, log=True), "a")
    assert ">with transport<" in drawn
    assert ">without<" in drawn
    assert f'aria-label="Swahili. with transport: 0.200 [0.190, 0.210] at {sizes[0]}' in drawn
    assert "var(--transport, #0072b2)" in drawn
    assert not any(f": {color}" in drawn for color in VARIABLES)  # each stands behind its variable
    assert "<style" not in drawn
    assert "metadata" not in drawn
    # A band over several sizes, a bar at a single one.
    assert ("fill-opacity: 0.14" in drawn) == (len(sizes) > 1)


def test_bars_carry_their_figures_and_hatching():
    groups = [("Swahili", [Bar(FIRST, "with", interval(0.4)), Bar(SECOND, "without", interval(0.3, n=1))])]
    drawn = bar_panel("300 pairs", groups, 1.0, "parity", "b")
    for message in (">0.400<", ">0.300<", ">Swahili<", "<pattern", ">300 pairs<"):
        assert message in drawn
    assert 'aria-label="300 pairs. Swahili: with 0.400, without 0.300."' in drawn


def test_a_key_that_is_full_goes_on_in_another_row():
    roles = {"first": "model (optical)", "second": "baseline-mse (mse)", "third": "teacher", "fourth": "untrained"}
    places = plots.key_places(roles)
    assert [label for _, label, _, _ in places] == list(roles.values())
    assert places[-1][3] == 1  # four entries do not fit into one row
    assert all(left + 21 + 6.2 * len(label) <= plots._WIDTH for _, label, left, _ in places)
    for (_, label, left, row), (_, _, following, below) in itertools.pairwise(places):
        assert below > row or following >= left + 21 + 6.2 * len(label)
