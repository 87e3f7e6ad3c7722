"""What all attacks on images owe, whatever the tower: inside the radius, honest, repeatable, in order of strength."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from attacked_images import assert_allowed, images, naming_goal, search_goal, tiny_tower
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.errors import DataError, UsageError
from kivuko.perturbations.image.goal import Threat, broken
from kivuko.perturbations.image.pgd import apgd, apply_universal, fgsm, pgd, universal
from kivuko.perturbations.image.standard import square, standard


def over_all(tower, pixels, goal, threat, **options):
    return apply_universal(tower, pixels, goal, threat, universal(tower, pixels, goal, threat, epochs=2, **options))


ATTACKS = {
    "fgsm": fgsm,
    "pgd": partial(pgd, steps=3, restarts=2),
    "pgd-deep": partial(pgd, steps=3, early_stop=False),
    "apgd": partial(apgd, steps=5),
    "apgd-dlr": partial(apgd, steps=5, loss="dlr"),
    "apgd-deep": partial(apgd, steps=5, early_stop=False),
    "square": partial(square, queries=8),
    "square-deep": partial(square, queries=8, early_stop=False),
    "standard": partial(standard, steps=3, queries=4),
    "universal": over_all,
}
RADII = {
    "linf": st.sampled_from([0.5 / 255, 1 / 255, 2 / 255, 0.05, 0.6, 1.0]),
    "l2": st.sampled_from([0.002, 0.1, 0.7, 5]),
}


@pytest.mark.parametrize("goal_kind", [search_goal, naming_goal])
@pytest.mark.parametrize("norm", RADII)
@pytest.mark.parametrize("name", ATTACKS)
def test_inside_the_radius_and_honest_about_it(name, norm, goal_kind):
    @given(eps=RADII[norm], seed=st.integers(0, 100), tower_seed=st.integers(0, 2), targeted=st.booleans())
    @settings(max_examples=3, deadline=None)
    def check(eps, seed, tower_seed, targeted):
        tower, pixels, threat = tiny_tower(tower_seed), images(5, seed), Threat(norm, eps)
        before, goal = pixels.clone(), goal_kind(tower, pixels, targeted)
        found = ATTACKS[name](tower, pixels, goal, threat, seed=seed)
        assert torch.equal(pixels, before), "the originals are left alone"
        assert_allowed(found, pixels, threat)
        rows = torch.arange(5)
        torch.testing.assert_close(found.margins, goal.margins(tower.encode(found.pixels), rows), atol=1e-5, rtol=0)
        if name != "universal":
            assert (found.margins <= goal.margins(tower.encode(pixels), rows) + 1e-5).all()

    check()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ATTACKS)
def test_a_budget_of_0_changes_nothing(name, norm):
    tower, pixels = tiny_tower(), images(4)
    found = ATTACKS[name](tower, pixels, naming_goal(tower, pixels), Threat(norm, 0.0))
    assert torch.equal(found.pixels, pixels)


@pytest.mark.parametrize("name", ATTACKS)
def test_no_image_is_not_an_error(name):
    tower, pixels = tiny_tower(), images(3)
    goal = search_goal(tower, pixels)
    none = type(goal)(goal.queries[:0], goal.gallery, goal.own[:0])
    if name == "universal":
        with pytest.raises(DataError, match="at least one"):
            ATTACKS[name](tower, pixels[:0], none, Threat("linf", 0.1))
    else:
        assert ATTACKS[name](tower, pixels[:0], none, Threat("linf", 0.1)).pixels.shape == (0, 3, 16, 16)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "fgsm"])
def test_the_seed_decides(name):
    tower, pixels = tiny_tower(), images(6)
    goal, threat = naming_goal(tower, pixels), Threat("linf", 1 / 255)
    one, again, other = (ATTACKS[name](tower, pixels, goal, threat, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.pixels, again.pixels)
    assert torch.equal(one.calls, again.calls)
    if name != "universal":
        assert not torch.equal(one.pixels, other.pixels)


@pytest.mark.parametrize("goal_kind", [search_goal, naming_goal])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_much_stronger_budget_gives_lower_robust_accuracy(norm, goal_kind):
    radii = [0, 1, 8] if norm == "linf" else [0, 10, 80]
    for seed in range(1 if goal_kind is naming_goal else 2):
        tower, pixels = tiny_tower(seed), images(12, seed)
        goal, robust = goal_kind(tower, pixels), []
        for radius in radii:
            attacked = standard(tower, pixels, goal, Threat(norm, radius / 255), steps=3, queries=8)
            assert_allowed(attacked, pixels, Threat(norm, radius / 255))
            robust.append((~broken(goal, attacked.margins)).sum().item())
        assert robust[0] == 12
        assert robust[-1] < robust[0]
        assert robust == sorted(robust, reverse=True)


@pytest.mark.parametrize("goal_kind", [search_goal, naming_goal])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_effort_goes_deeper(norm, goal_kind):
    tower, pixels = tiny_tower(), images(24)
    goal, threat = goal_kind(tower, pixels), Threat(norm, 4 / 255 if norm == "linf" else 0.3)
    clean = goal.margins(tower.encode(pixels), torch.arange(24))
    options = {"loss": "margin", "early_stop": False}
    one, ten, adaptive = (
        found.margins.mean().item()
        for found in (
            fgsm(tower, pixels, goal, threat, loss="margin"),
            pgd(tower, pixels, goal, threat, steps=20, **options),
            apgd(tower, pixels, goal, threat, steps=20, **options),
        )
    )
    assert adaptive <= ten < one < clean.mean()
    blind = square(tower, pixels, goal, threat, queries=60, early_stop=False).margins.mean().item()
    assert adaptive < blind < clean.mean()


@pytest.mark.parametrize("attack", [apgd, pgd])
def test_no_image_is_safer_after_more_restarts(attack):
    tower, pixels, threat = tiny_tower(), images(12), Threat("linf", 4 / 255)
    goal = search_goal(tower, pixels)
    margins = [attack(tower, pixels, goal, threat, steps=4, restarts=n, early_stop=False).margins for n in (1, 2, 5)]
    assert (margins[1] <= margins[0]).all()
    assert (margins[2] <= margins[1]).all()
    assert (margins[2] < margins[0]).any()


@pytest.mark.parametrize("goal_kind", [search_goal, naming_goal])
@pytest.mark.parametrize("attack", [partial(apgd, steps=20), partial(pgd, steps=20), partial(square, queries=200)])
def test_targeted_attacks_get_what_they_want(attack, goal_kind):
    tower, pixels = tiny_tower(), images(6)
    goal = goal_kind(tower, pixels, targeted=True)
    assert not broken(goal, goal.margins(tower.encode(pixels), torch.arange(6))).any()
    found = attack(tower, pixels, goal, Threat("linf", 0.5))
    assert broken(goal, found.margins).float().mean() > 0.6


@pytest.mark.parametrize("name", ["pgd", "apgd", "square"])
def test_where_only_success_counts_broken_images_are_left_alone(name):
    tower, pixels = tiny_tower(), images(12)
    goal, threat = naming_goal(tower, pixels), Threat("linf", 24 / 255)
    short = ATTACKS[name](tower, pixels, goal, threat)
    deep = ATTACKS[name](tower, pixels, goal, threat, early_stop=False)
    assert short.calls.sum() < deep.calls.sum()
    assert deep.margins.mean() < short.margins.mean()


def test_images_that_are_wrong_already_cost_nothing_in_the_ensemble():
    tower, pixels = tiny_tower(), images(6)
    goal = naming_goal(tower, pixels)
    wrong = type(goal)(goal.texts, goal.labels.roll(1))
    found = standard(tower, pixels, wrong, Threat("linf", 4 / 255), steps=3, queries=3)
    assert torch.equal(found.pixels, pixels)
    assert found.calls.sum() == 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_change_for_all_carries_over_to_other_images(norm):
    tower, seen, unseen = tiny_tower(), images(40, 0), images(40, 1)
    threat = Threat(norm, 0.1 if norm == "linf" else 2.0)
    change = universal(tower, seen, naming_goal(tower, seen), threat, epochs=6)
    assert change.shape == (1, 3, 16, 16)
    assert (change.abs().max() if norm == "linf" else change.norm()) <= threat.eps + 1e-5
    goal = naming_goal(tower, unseen)
    found = apply_universal(tower, unseen, goal, threat, change)
    assert_allowed(found, unseen, threat)
    random = apply_universal(tower, unseen, goal, threat, change[..., torch.randperm(16)])
    assert broken(goal, found.margins).sum() > broken(goal, random.margins).sum()


@pytest.mark.parametrize("attack", [partial(pgd, steps=0), partial(apgd, restarts=0), partial(square, queries=0)])
def test_attacks_of_no_length_are_refused(attack):
    tower, pixels = tiny_tower(), images(2)
    with pytest.raises(UsageError, match="0"):
        attack(tower, pixels, naming_goal(tower, pixels), Threat("linf", 0.1))


def test_the_shipped_tower_has_no_masked_gradients(tiny_world):
    """Undefended, it falls to gradients within a few steps, and they find more than random search does."""
    from kivuko.datasets.emoji.sources import shipped_image_tower
    from kivuko.encoders.image_tower import load_image_tower
    from kivuko.perturbations.image.pixel_tower import PixelTower

    tower = PixelTower(load_image_tower(shipped_image_tower(), 384))
    pixels = tower.pixels([tiny_world.image(row) for row in range(12)])
    goal = naming_goal(tower, pixels)
    found = apgd(tower, pixels, goal, Threat("linf", 24 / 255), steps=20)
    assert broken(goal, found.margins).float().mean() > 0.9
