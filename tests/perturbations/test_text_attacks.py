"""Attacks on queries: by asking, by gradients, and one pattern for all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from text_scene import LANGUAGES, TEXTS, small_student

from kivuko.encoders.model import assemble
from kivuko.encoders.student import small_transformer
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.errors import DataError, ModelError, UsageError
from kivuko.perturbations.text.gradients import char_gradient, gradient_encoder, hotflip
from kivuko.perturbations.text.search import Pattern, TextGoal, apply_patterns, greedy_search, universal_edit


@pytest.fixture(scope="module")
def student():
    """A static student whose clean queries find their own images."""
    return small_student()


@pytest.fixture(scope="module")
def encoder(student):
    return gradient_encoder(student)


@pytest.fixture(scope="module")
def goal(encoder):
    return TextGoal(encoder.encode(TEXTS), np.arange(len(TEXTS)))


ATTACKS = {
    "greedy": lambda encoder, goal, **o: greedy_search(encoder.encode, TEXTS, LANGUAGES, goal, candidates=12, **o),
    "hotflip": lambda encoder, goal, **o: hotflip(encoder, TEXTS, LANGUAGES, goal, candidates=8, **o),
    "char-gradient": lambda encoder, goal, **o: char_gradient(encoder, TEXTS, LANGUAGES, goal, candidates=8, **o),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_it_does_harm_within_its_budget_and_reports_what_it_did(encoder, goal, name):
    found = ATTACKS[name](encoder, goal, edits=2)
    texts = [one.perturbed.text for one in found]
    after = goal.rank(encoder.encode(texts), np.arange(len(texts))).ranks
    assert [one.ranks[-1] for one in found] == after.tolist()
    assert (after > 1).sum() >= 2
    assert all(len(one.perturbed.edits) <= 2 and one.calls > 0 for one in found)


@pytest.mark.parametrize("name", ATTACKS)
def test_more_edits_never_help_the_search_and_a_smaller_budget_is_the_beginning(encoder, goal, name):
    for one in ATTACKS[name](encoder, goal, edits=3):
        assert list(one.ranks) == sorted(one.ranks)
        for budget in range(4):
            part = one.within(budget)
            assert part.perturbed.edits == one.perturbed.edits[:budget]
            assert part.ranks[-1] == one.ranks[min(budget, len(one.ranks) - 1)]


@pytest.mark.parametrize("name", ATTACKS)
def test_a_budget_of_zero_changes_nothing(encoder, goal, name):
    found = ATTACKS[name](encoder, goal, edits=0)
    assert [one.perturbed.text for one in found] == TEXTS
    assert all(one.calls == 0 and one.ranks == (1,) for one in found)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_same_call_gives_the_same_attack(encoder, goal, name):
    assert ATTACKS[name](encoder, goal, edits=2) == ATTACKS[name](encoder, goal, edits=2)


def test_queries_that_cannot_be_edited_stay_and_cost_nothing(encoder):
    goal = TextGoal(np.eye(16, dtype=np.float32), np.array([0, 1, 2]))
    for one in greedy_search(encoder.encode, ["", "  ", "👩‍🚒"], ["sw"] * 3, goal, edits=2):
        assert one.perturbed.edits == ()
        assert one.calls == 0


def test_bad_input_says_what_is_wrong(encoder, goal):
    with pytest.raises(UsageError, match="-1 edits"):
        greedy_search(encoder.encode, TEXTS, LANGUAGES, goal, edits=-1)
    with pytest.raises(UsageError, match="0 candidates"):
        greedy_search(encoder.encode, TEXTS, LANGUAGES, goal, candidates=0)
    with pytest.raises(UsageError, match="1 texts"):
        greedy_search(encoder.encode, TEXTS[:1], LANGUAGES, goal)
    with pytest.raises(UsageError, match="typo"):
        greedy_search(encoder.encode, TEXTS, LANGUAGES, goal, kinds=["typos"])
    with pytest.raises(DataError, match="image 9"):
        TextGoal(np.eye(3, dtype=np.float32), np.array([9]))
    with pytest.raises(DataError, match="not finite"):
        TextGoal(np.full((2, 3), np.nan, dtype=np.float32), np.array([0]))
    with pytest.raises(DataError, match="encoder gave"):
        goal.rank(np.full((1, 16), np.nan, dtype=np.float32), np.array([0]))
    with pytest.raises(ModelError, match="greedy"):
        gradient_encoder([torch.nn.Linear(2, 2)])


def test_ties_count_against_the_own_image():
    goal = TextGoal(np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32), np.array([0]))
    assert goal.rank(np.array([[1, 0]], dtype=np.float32), np.array([0])).ranks.tolist() == [2]


@given(st.lists(st.floats(-1, 1, width=32), min_size=5, max_size=5), st.integers(0, 4))
@settings(max_examples=50)
def test_the_standing_is_what_sorting_says(scores, own):
    gallery = np.array(scores, dtype=np.float32)[:, None]
    found = TextGoal(gallery, np.array([own])).rank(np.ones((1, 1), dtype=np.float32), np.array([0]))
    assert found.ranks[0] == sum(score >= gallery[own, 0] for score in gallery[:, 0])
    assert found.margins[0] == pytest.approx(gallery[own, 0] - max(np.delete(gallery[:, 0], own)), abs=1e-6)


@pytest.mark.parametrize("kind", ["static", "transformer"])
def test_gradients_agree_with_differences(kind, student):
    """The change of the loss along a small change of one subword's vector, where the model is asked again."""
    torch.manual_seed(1)
    model = student if kind == "static" else small_transformer(train_vocabulary(TEXTS, 120), 16, layers=1, width=32)
    encoder = gradient_encoder(model if kind == "static" else assemble(model, None))
    goal = TextGoal(np.eye(16, dtype=np.float32), np.arange(8))
    told = encoder.gradients(TEXTS[:1], goal, [3])[0]
    assert len(told.ids) == len(told.spans) == len(told.gradients) > 0
    assert told.gradients.abs().max() > 0
    if kind == "static":
        from kivuko.perturbations.text.gradients import retrieval_loss

        means = encoder.vectors[told.ids].clone()
        step = 1e-3 * torch.randn(means.shape[1], generator=torch.Generator().manual_seed(0))
        losses = []
        for sign in (1, -1):
            moved = means.clone()
            moved[0] += sign * step
            losses.append(retrieval_loss(torch.nn.functional.normalize(moved.mean(0, keepdim=True), dim=-1), goal, [3]))
        expected = (told.gradients[0] @ step).item()
        assert (losses[0] - losses[1]).item() / 2 == pytest.approx(expected, rel=0.05, abs=1e-5)


def test_a_model_is_attacked_as_the_student_is(student, encoder):
    again = gradient_encoder(assemble(student, None))
    np.testing.assert_allclose(again.encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)


def test_hotflip_needs_no_more_calls_than_candidates(encoder, goal):
    assert all(one.calls <= 8 for one in hotflip(encoder, TEXTS, LANGUAGES, goal, edits=1, candidates=8))


def test_a_universal_edit_is_one_pattern_that_lowers_the_mean(encoder, goal):
    some = TextGoal(goal.gallery, goal.own[:6])
    found = universal_edit(encoder.encode, TEXTS[:6], "sw", some, edits=2)
    made = [apply_patterns(text, found) for text in TEXTS[:6]]
    assert 1 <= len(found) <= 2
    assert all(len(one.edits) <= 2 for one in made)
    after = some.rank(encoder.encode([one.text for one in made]), np.arange(6)).ranks
    assert (1 / after).mean() < 1


def test_patterns():
    assert apply_patterns("paka", [Pattern("before", "", "x")]).text == "xpaka"
    assert apply_patterns("paka", [Pattern("first", "a", "o")]).text == "poka"
    assert apply_patterns("a", [Pattern("first", "a", "")]).text == "a"  # nothing would be left
    assert apply_patterns(" ", [Pattern("after", "", "x")]).text == " "
    nothing = TextGoal(np.eye(2, dtype=np.float32), np.zeros(0, dtype=np.int64))
    with pytest.raises(DataError, match="no query"):
        universal_edit(lambda texts: np.zeros((0, 2)), [], "sw", nothing)
