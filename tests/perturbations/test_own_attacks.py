"""Custom attacks, named package.module:Class; the example in docs/attacks.md."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from attacked_images import images, tiny_tower

from kivuko.errors import UsageError
from kivuko.perturbations.runner import AttackRunner, sweeps
from kivuko.perturbations.spec import parse_attack, parse_attacks
from kivuko.perturbations.target import QuerySet

TEXTS = ["paka mweusi", "mbwa mdogo", "gari la zimamoto", "uso wenye machozi", "moyo mwekundu", "nyumba kubwa"]
HERE = "own_attacks_of_this_test"


@dataclass(frozen=True)
class Brighter:
    """Every pixel brighter, by more than the radius allows."""

    eps: float = 2 / 255
    factor: int = 3

    def perturb_images(self, pixels, goal, tower):
        return pixels + self.factor * self.eps


@dataclass(frozen=True)
class TooFew:
    """Loses a text."""

    edits: int = 1

    def perturb_texts(self, texts, languages, encode, goal):
        encode(texts)
        return texts[1:]


@dataclass(frozen=True)
class WithoutBudget:
    """Has no keyword for its budget."""

    strength: int = 1

    def perturb_texts(self, texts, languages, encode, goal):
        return texts


@pytest.fixture(autouse=True)
def module(monkeypatch):
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])


@pytest.fixture(scope="module")
def runner():
    tower, pixels = tiny_tower(), images(6)
    gallery = tower.encode(pixels).numpy()

    def encode(texts):
        rows = [
            min(range(6), key=lambda n: sum(a != b for a, b in zip(text, TEXTS[n], strict=False))) for text in texts
        ]
        return gallery[rows]

    target = SimpleNamespace(gallery=gallery, tower=tower, encode=encode, pixels=lambda rows: pixels[list(rows)])
    return AttackRunner(target), QuerySet("sw", TEXTS, TEXTS, np.arange(6), encode(TEXTS))


def test_the_example_of_the_documentation_is_an_attack(runner, tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text(encoding="utf-8")
    example = next(one for one in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class NoVowels" in one)
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    (tmp_path / "my_attacks.py").write_text(example, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    specs = parse_attacks(["my_attacks:NoVowels:edits=1|2"])
    assert [spec.text for spec in specs] == ["my_attacks:NoVowels:edits=1", "my_attacks:NoVowels:edits=2"]
    assert {(spec.label, spec.attack.family, spec.attack.unit) for spec in specs} == {
        ("my_attacks:NoVowels", "text adversarial", "edits")
    }
    assert sweeps(specs) == [specs]
    attacks, queries = runner
    once, twice = attacks.run(specs, queries)
    assert [one.text for one in once.texts][:2] == ["pka mweusi", "mbw mdogo"]
    assert twice.texts[0].text == "pk mweusi"


def test_images_are_cut_to_the_radius_and_the_label_shows_every_parameter(runner):
    spec = parse_attack(f"{HERE}:Brighter:eps=4/255")
    assert (spec.label, spec.text) == (f"{HERE}:Brighter:factor=3", f"{HERE}:Brighter:eps=4/255,factor=3")
    assert parse_attack(spec.text) == spec
    assert parse_attack(f"{HERE}:Brighter").text == f"{HERE}:Brighter:eps=2/255,factor=3"
    attacks, queries = runner
    (found,) = attacks.run([spec], queries)
    assert max(found.images.change().abs().flatten().tolist()) == pytest.approx(4 / 255, abs=1e-6)
    assert torch.equal((found.images.pixels * 255).round() / 255, found.images.pixels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HERE}:Missing", "has no 'Missing'"),
        ("no_such_module_here:Attack", "no module"),
        (f"{HERE}:WithoutBudget", "'edits'"),
        (f"{HERE}:Brighter:strength=2", "no parameter 'strength'"),
        (f"{HERE}:Brighter:eps=-1", "out of range"),
        (f"{HERE}:TEXTS", "perturb_texts and perturb_images"),
    ],
)
def test_what_is_no_attack_is_refused_in_one_line(text, message):
    with pytest.raises(UsageError) as problem:
        parse_attacks([text])
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_result_of_another_length_is_refused(runner):
    attacks, queries = runner
    with pytest.raises(UsageError, match="6 texts, one for each query"):
        list(attacks.run([parse_attack(f"{HERE}:TooFew")], queries))
