"""Query and image attacked together."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from attacked_images import assert_allowed, images, tiny_tower
from torch.nn import functional as F

from kivuko.perturbations.image import AttackedImages, Threat
from kivuko.perturbations.joint import AttackedPairs, Pairs, TextSide, co_attack, sga
from kivuko.perturbations.runner import AttackRunner
from kivuko.perturbations.spec import parse_attack
from kivuko.perturbations.target import Draws, QuerySet
from kivuko.perturbations.text import TextGoal

TEXTS = ["paka mweusi", "mbwa mdogo", "gari la zimamoto", "uso wenye machozi", "moyo mwekundu", "nyumba kubwa"]


def sep_attack(encode, tower, pairs, threat, text_side, *, steps=10, seed=0):
    """Run Sep-Attack, which the runner puts together, and return what the other schemes return."""
    target = SimpleNamespace(
        gallery=pairs.gallery, tower=tower, encode=encode, pixels=lambda rows: pairs.pixels[list(rows)]
    )
    queries = QuerySet("sw", pairs.texts, pairs.texts, pairs.own, encode(pairs.texts))
    spec = parse_attack(
        f"sep-attack:eps={threat.eps!r},edits={text_side.edits},candidates={text_side.candidates},steps={steps}"
    )
    (found,) = AttackRunner(target, draws=Draws(seed)).run([spec], queries)
    images = AttackedImages(found.images.pixels, torch.zeros(len(queries)), torch.from_numpy(found.calls))
    texts = [SimpleNamespace(perturbed=one) for one in found.texts]
    return AttackedPairs(texts, images, found.ranks_before, found.ranks_after, found.calls)


SCHEMES = {"sep-attack": sep_attack, "co-attack": co_attack, "sga": sga}


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

    pairs = Pairs(TEXTS, ["sw"] * 6, np.arange(6), pixels, gallery.numpy(), [[text.upper()] for text in TEXTS])
    return tower, encode, pairs


@pytest.mark.parametrize("name", SCHEMES)
def test_it_stays_within_both_budgets_and_does_harm(scene, name):
    tower, encode, pairs = scene
    threat = Threat("linf", 8 / 255)
    found = SCHEMES[name](encode, tower, pairs, threat, TextSide(edits=1, candidates=8), steps=3)
    assert_allowed(found.images, pairs.pixels, threat)
    assert all(len(one.perturbed.edits) <= 1 for one in found.texts)
    assert len(found.texts) == len(TEXTS)
    assert (found.ranks_before == 1).all()
    assert (found.ranks_after >= found.ranks_before).all()
    assert (found.ranks_after > 1).any()
    assert (found.calls > 0).all()


@pytest.mark.parametrize("name", SCHEMES)
def test_without_a_budget_nothing_changes(scene, name):
    tower, encode, pairs = scene
    found = SCHEMES[name](encode, tower, pairs, Threat("linf", 0.0), TextSide(edits=0), steps=3)
    assert torch.equal(found.images.pixels, pairs.pixels)
    assert [one.perturbed.text for one in found.texts] == TEXTS
    assert (found.ranks_after == found.ranks_before).all()


@pytest.mark.parametrize("name", SCHEMES)
def test_the_same_seed_gives_the_same_attack(scene, name):
    tower, encode, pairs = scene
    one, other = (
        SCHEMES[name](encode, tower, pairs, Threat("linf", 4 / 255), TextSide(candidates=4), steps=2, seed=3)
        for _ in range(2)
    )
    assert torch.equal(one.images.pixels, other.images.pixels)
    assert [x.perturbed for x in one.texts] == [x.perturbed for x in other.texts]


def test_the_goal_takes_perturbed_images_in_the_place_of_the_own_ones():
    gallery = np.eye(3, dtype=np.float32)
    own, query = np.array([0]), np.array([[1.0, 0.0, 0.0]], dtype=np.float32)
    assert TextGoal(gallery, own).rank(query, np.array([0])).ranks.tolist() == [1]
    moved = TextGoal(gallery, own, instead=np.array([[0.0, 0.0, 1.0]], dtype=np.float32))
    assert moved.rank(query, np.array([0])).ranks.tolist() == [3]  # a tie with both others, against the image
