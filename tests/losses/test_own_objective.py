"""An objective of the user's own, named package.module:Class: the example of the docs trains, errors are one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import kivuko
from kivuko.encoders.token_batch import TokenBatch
from kivuko.errors import UsageError
from kivuko.training.recipe import load_recipe, parse_recipe
from tiny_bert import save_teacher

DOCS = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text("utf-8")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The docs' class and recipe in a folder that is on the path; returns the folder."""
    code = next(one for one in re.findall(r"```python\n(.*?)```", DOCS, re.S) if "class Hinge" in one)
    recipe = next(one for one in re.findall(r"```toml\n(.*?)```", DOCS, re.S) if "my_losses:Hinge" in one)
    (tmp_path / "my_losses.py").write_text(code)
    (tmp_path / "hinge.toml").write_text(recipe)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "my_losses", raising=False)
    return tmp_path


def batch(pooled):
    return TokenBatch(pooled[:, None], torch.ones(len(pooled), 1, dtype=torch.bool), pooled)


def test_the_example_of_the_docs_trains(own, monkeypatch):
    save_teacher(own / "teacher", ["the", "cat", *(f"word{n}" for n in range(40))], 24)
    (own / "sw.tsv").write_text("".join(f"neno{n} paka\tword{n} cat\n" for n in range(40)), encoding="utf-8")
    monkeypatch.setenv("KIVUKO_CACHE", str(own / "cache"))
    options = {"teacher": own / "teacher", "image_tower": "none", "vocabulary_size": 200, "progress": False}
    model = kivuko.distill({"sw": own / "sw.tsv"}, own / "model", recipe=own / "hinge.toml", steps=3, **options)
    assert model.about.recipe == "hinge"
    assert model.about.best_step == 3


def test_its_parts_are_named_and_its_value_counts(own):
    recipe = load_recipe(own / "hinge.toml")
    value = recipe.objective(torch.zeros(3))(batch(torch.eye(3)), batch(torch.eye(3)))
    assert set(value.parts) == {"Hinge", "transport", "unconverged"}
    assert value.parts["Hinge"] == 0
    reverse = recipe.objective(torch.zeros(3))(batch(torch.eye(3)), batch(torch.eye(3).flip(0)))
    assert reverse.parts["Hinge"] > 0.1
    assert recipe.uses_transport


def test_options_reach_the_constructor_and_the_source_is_part_of_the_key(own):
    term = load_recipe(own / "hinge.toml").terms[0]
    assert term.build(torch.zeros(3)).margin == 0.1
    assert "class Hinge" in term.described()["source"]


def test_a_center_and_own_weights(own):
    (own / "my_centered.py").write_text(
        "import torch\n\n\nclass Centered(torch.nn.Module):\n"
        "    def __init__(self, center):\n        super().__init__()\n        self.center = center\n"
        "        self.scale = torch.nn.Parameter(torch.ones(()))\n\n"
        "    def forward(self, student, teacher):\n"
        "        return (self.scale * student.pooled - teacher.pooled + self.center).square().mean()\n"
    )
    recipe = parse_recipe('[[objective]]\nkind = "my_centered:Centered"\n', "own", "own.toml")
    objective = recipe.objective(torch.full((3,), 2.0))
    assert [name for name, _ in objective.learned().named_parameters()] == ["0.scale"]
    assert objective(batch(torch.eye(3)), batch(torch.eye(3))).total == 4.0


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('"my_losses:Hing"', "my_losses:Hing: module 'my_losses' has no 'Hing' for the objective."),
        ('"no_losses:Hinge"', "no_losses:Hinge: no module 'no_losses' for the objective."),
        (
            '"my_losses:Hinge"\nmargn = 1',
            "own.toml: objective 'my_losses:Hinge' has no option 'margn' (it has: margin).",
        ),
        (
            '"my_losses:Hinge"\nweight = -1',
            "own.toml: objective 'my_losses:Hinge': weight = -1 is not a number of 0 or",
        ),
        ('"hinge"', "own.toml: unknown objective kind 'hinge': choose one of transport, mse, "),
    ],
)
def test_what_is_wrong_is_one_line(own, entry, message):
    with pytest.raises(UsageError) as problem:
        parse_recipe(f"[[objective]]\nkind = {entry}\n", "own", "own.toml")
    assert str(problem.value).startswith(message)
    assert "\n" not in str(problem.value)
