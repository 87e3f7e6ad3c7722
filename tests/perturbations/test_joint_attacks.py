"""Query and image attacked together."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from attacked_images import assert_allowed, images, tiny_tower
from torch.nn import functional as F

from kivuko.perturbations.image.goal import AttackedImages, Threat
from kivuko.perturbations.runner import AttackRunner
from kivuko.perturbations.spec import parse_attack
from kivuko.perturbations.target import Draws, QuerySet
from kivuko.perturbations.text.search import TextGoal

TEXTS = ["paka mweusi", "mbwa mdogo", "gari la zimamoto", "uso wenye machozi", "moyo mwekundu", "nyumba kubwa"]


SCHEMES = ("sep-attack", "co-attack", "sga")


def attacked(name, scene, eps, *, seed=0, **parameters):
    """Run an attack on all queries; its images have no margins."""
    tower, encode, pixels, gallery = scene
    target = SimpleNamespace(
        gallery=gallery, tower=tower, encode=encode, pixels=lambda rows: pixels[list(rows)],
        companions=lambda queries: [[text.upper()] for text in queries.texts],
    )  # fmt: skip
    queries = QuerySet("sw", TEXTS, TEXTS, np.arange(6), encode(TEXTS))
    spec = parse_attack(f"{name}:eps={eps}," + ",".join(f"{key}={value}" for key, value in parameters.items()))
    (result,) = AttackRunner(target, draws=Draws(seed)).run([spec], queries)
    images = AttackedImages(result.images.pixels, torch.zeros(6), torch.from_numpy(result.calls))
    return result, images


@pytest.fixture(scope="module")
def scene():
    """Six queries near their images: a misspelling moves a query's vector, and no two texts have the same one."""
    tower, pixels = tiny_tower(), images(6)
    gallery = tower.encode(pixels)

    def encode(texts):
        found = []
        for text in texts:
            row = min(range(len(TEXTS)), key=lambda n: sum(a != b for a, b in zip(text, TEXTS[n], strict=False)))
            noise = torch.Generator().manual_seed(sum(ord(letter) * (n + 1) for n, letter in enumerate(text)))
            strength = 0.0 if text == TEXTS[row] else 0.05
            found.append(gallery[row] + strength * torch.randn(gallery.shape[1], generator=noise))
        return F.normalize(torch.stack(found), dim=-1).numpy()

    return tower, encode, pixels, gallery.numpy()


@pytest.mark.parametrize("name", SCHEMES)
def test_it_stays_within_both_budgets_and_does_harm(scene, name):
    result, perturbed = attacked(name, scene, "8/255", edits=1, candidates=8, steps=3)
    assert_allowed(perturbed, scene[2], Threat("linf", 8 / 255))
    assert all(len(one.edits) <= 1 for one in result.texts)
    assert len(result.texts) == len(TEXTS)
    assert (result.ranks_before == 1).all()
    assert (result.ranks_after >= result.ranks_before).all()
    assert (result.ranks_after > 1).any()
    assert (result.calls > 0).all()


@pytest.mark.parametrize("name", SCHEMES)
def test_without_a_budget_nothing_changes(scene, name):
    result, perturbed = attacked(name, scene, 0, edits=0, steps=3)
    assert torch.equal(perturbed.pixels, scene[2])
    assert [one.text for one in result.texts] == TEXTS
    assert (result.ranks_after == result.ranks_before).all()


@pytest.mark.parametrize("name", SCHEMES)
def test_the_same_seed_gives_the_same_attack(scene, name):
    one, other = (attacked(name, scene, "4/255", candidates=4, steps=2, seed=3) for _ in range(2))
    assert torch.equal(one[1].pixels, other[1].pixels)
    assert one[0].texts == other[0].texts


def test_the_goal_takes_perturbed_images_in_the_place_of_the_own_ones():
    gallery = np.eye(3, dtype=np.float32)
    own, query = np.array([0]), np.array([[1.0, 0.0, 0.0]], dtype=np.float32)
    assert TextGoal(gallery, own).rank(query, np.array([0])).ranks.tolist() == [1]
    moved = TextGoal(gallery, own, instead=np.array([[0.0, 0.0, 1.0]], dtype=np.float32))
    assert moved.rank(query, np.array([0])).ranks.tolist() == [3]  # a tie with both others, against the image
