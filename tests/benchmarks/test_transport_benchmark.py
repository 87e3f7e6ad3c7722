"""The transport benchmark's own code on the tiniest grid: files come out, and all contenders solve one problem."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from benchmarks.transport import run
from benchmarks.transport_contenders import Task, contenders, marginal_errors
from benchmarks.transport_grid import Cell, Extent, extent
from benchmarks.transport_growth import growth_chart
from benchmarks.transport_inputs import TokenBank, build

from kivuko.transport.solve import solve

PACKAGES = {"pot": "ot", "ott": "ott", "geomloss": "geomloss", "kivuko": "kivuko"}
CELL = Cell("random", 2, 4, 4, 0.1)
TINY = Extent((CELL, replace(CELL, kind="centered")), 10.0, 10.0, ())


@pytest.fixture(scope="module")
def bank() -> TokenBank:
    vectors = torch.randn(100, 8, generator=torch.Generator().manual_seed(1))
    return TokenBank(vectors, torch.tensor([[2, 3], [3, 1], [1, 4], [3, 3]]))


@pytest.fixture(scope="module")
def results_folder(tmp_path_factory, bank):
    pytest.importorskip("ot")
    folder = tmp_path_factory.mktemp("results")
    run(TINY, folder, only=("kivuko", "pot_log"), bank=bank)
    return folder


def test_every_contender_of_every_cell_is_recorded(results_folder):
    results = json.loads((results_folder / "transport.json").read_text(encoding="utf-8"))
    assert results["finished"]
    assert {(row["contender"], row["kind"]) for row in results["rows"]} == {
        (name, kind) for name in ("kivuko", "pot_log") for kind in ("random", "centered")
    }
    for row in results["rows"]:
        assert 0 < row["seconds_min"] <= row["seconds"] <= row["seconds_max"]
        assert row["within_tolerance"] == 1.0
        assert row["marginal_error"] <= 1.02e-4
        assert row["plan_distance"] is None or row["plan_distance"] < 1e-3
    ratios = [row["ratio"] for row in results["rows"] if row["contender"] == "kivuko"]
    assert ratios == [1.0, 1.0]


def test_the_page_gives_the_answer_the_protocol_and_no_place(results_folder):
    page = (results_folder / "transport.md").read_text(encoding="utf-8")
    assert "Kivuko is the faster in" in page
    assert "2 of 4x4" in page
    assert page.index("Kivuko is the faster in") < page.index("## Protocol") < page.index("## All cells")
    assert str(results_folder.parent) not in page
    assert "/home/" not in page


def test_a_run_goes_on_where_it_was_stopped(results_folder, bank):
    file = results_folder / "transport.json"
    results = json.loads(file.read_text(encoding="utf-8"))
    kept = dict(results, cells=results["cells"][:1], finished=False)
    kept["rows"] = [row for row in results["rows"] if row["kind"] == results["cells"][0]["kind"]]
    file.write_text(json.dumps(kept), encoding="utf-8")
    again = run(TINY, results_folder, resume=True, only=("kivuko", "pot_log"), bank=bank)
    assert again["finished"]
    assert again["cells"] == results["cells"]
    assert again["rows"][: len(kept["rows"])] == kept["rows"]
    assert len(again["rows"]) == len(results["rows"])


@pytest.mark.parametrize("name", [one.name for one in contenders()])
def test_all_contenders_solve_the_same_problem(name, bank):
    pytest.importorskip(PACKAGES[name.split("_")[0]])
    inputs = build("ragged", 2, 0, 0, bank)
    contender = next(one for one in contenders() if one.name == name)
    # Annealing without a stopping rule is slow to get there: an easy problem will do to see that it is the same one.
    task = Task(inputs, 0.5, worst_iterations=100, budget=1.0)
    ready = contender.prepare(task)
    plan = ready.plan(ready.run())
    exact = solve(
        inputs.cost.double(), inputs.row_marginal.double(), inputs.col_marginal.double(), row_mask=inputs.row_mask,
        col_mask=inputs.col_mask, regularization=0.5, method="sinkhorn_log", tolerance=1e-9,
    )  # fmt: skip
    torch.testing.assert_close(plan.double(), exact.coupling, atol=1e-3, rtol=0)
    assert float(marginal_errors(plan, inputs).max()) <= 1e-3


def test_what_would_take_too_long_is_left_out_and_says_why(tmp_path, bank):
    pytest.importorskip("ot")
    large = Extent((Cell("random", 32, 4, 4, 0.1),), 1e-9, 1e-9, ())
    results = run(large, tmp_path, only=("kivuko", "pot_log"), bank=bank)
    assert [row["seconds"] for row in results["rows"]] == [None, None]
    assert all("predicted" in row["note"] for row in results["rows"])


def test_growth_is_drawn_once_there_are_two_points_each_way():
    key, reached = {"n": 32, "m": 64}, {"within_tolerance": 1.0}
    rows = [
        {"kind": "centered", "regularization": 0.05, "seconds": batch / 1e3, "label": "a & b", "batch": batch}
        | size
        | reached
        for batch, size in ((16, key), (256, key), (256, {"n": 8, "m": 8}))
    ]
    chart = growth_chart(rows)
    assert chart is not None
    assert "a &amp; b" in chart
    assert growth_chart(rows[:2]) is None


def test_the_grids_hold_the_key_cells():
    for name in ("quick", "normal", "full"):
        cells = extent(name).cells
        assert sum(cell.key for cell in cells) == 4
        assert cells[0].key
        assert len(set(cells)) == len(cells)
    assert set(extent("normal").cells) <= set(extent("full").cells)
