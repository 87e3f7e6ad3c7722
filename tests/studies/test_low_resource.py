"""The comparison of recipes: same sample for both, records written, tests in the right direction."""

from __future__ import annotations

import numpy as np
import pytest

from kivuko.datasets.emoji import emoji_world
from kivuko.distill.recipe import load_recipe
from kivuko.encoders.teacher import load_teacher
from kivuko.evaluation import read_records
from kivuko.studies import demo
from kivuko.studies.low_resource import compare_recipes


@pytest.fixture
def short_recipes(monkeypatch):
    """Recipes cut to a few steps; "mse" hardly learns, so the direction of the difference is known."""

    def short(name):
        return load_recipe(name).with_schedule(steps=80 if name == "optical" else 1, validate_every=40)

    monkeypatch.setattr(demo, "load_recipe", short)


def test_better_recipe_wins_on_every_figure(short_recipes, tmp_path, monkeypatch):
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "cache"))
    world = emoji_world(["sw", "so"])
    records = tmp_path / "records.jsonl"
    means, (found,) = compare_recipes(
        world, ["sw", "so"], load_teacher(), ["optical", "mse"],
        fraction=0.3, seeds=range(2), records=records, command="test", watch=lambda _name, _seed: None,
    )  # fmt: skip
    assert len(means) == len(found.means) == 2
    assert min(means) > max(found.means)
    assert found.over_seeds.mean == pytest.approx(np.mean(means) - np.mean(found.means))
    # Concepts are weighted so that their mean is the mean over languages: both views show one difference.
    assert found.over_concepts.mean == pytest.approx(found.over_seeds.mean)
    assert found.over_concepts.low > 0
    assert found.adjusted == found.test.p_value < 0.01
    header, written = read_records(records)
    assert header.seeds == [0, 1] or tuple(header.seeds) == (0, 1)
    sizes = {(r.objective, r.seed): r.bitext_size for r in written if r.seed is not None}
    assert sizes["optical", 0] == sizes["mse", 0]
    assert sizes["optical", 0] != sizes["optical", 1]
