"""The search that the text attacks share: what it spends, keeps and reports; and one pattern for all queries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_scene import LANGUAGES, TEXTS, small_student

from kivuko.errors import DataError, UsageError
from kivuko.perturbations.edits import Perturbed, all_edits, apply_edit, edit_kinds
from kivuko.perturbations.graphemes import graphemes
from kivuko.perturbations.text.gradients import gradient_encoder
from kivuko.perturbations.text.search import (
    AttackedText,
    Pattern,
    TextGoal,
    _mean_reciprocal_ranks,
    _patterns,
    apply_patterns,
    greedy_search,
    sampled,
    universal_edit,
)


@pytest.fixture(scope="module")
def encoder():
    return gradient_encoder(small_student())


@pytest.fixture(scope="module")
def goal(encoder):
    return TextGoal(encoder.encode(TEXTS), np.arange(len(TEXTS)))


class Counted:
    """An encoder that remembers what it was asked."""

    def __init__(self, encode):
        self.encode, self.batches = encode, []

    def __call__(self, texts):
        self.batches.append(list(texts))
        return self.encode(texts)


def test_texts_of_all_queries_are_encoded_together_and_equal_ones_once(encoder, goal):
    counted = Counted(encoder.encode)
    twice = TextGoal(goal.gallery, np.array([0, 0, 1]))
    greedy_search(counted, [TEXTS[0], TEXTS[0], TEXTS[1]], ["sw"] * 3, twice, edits=2, candidates=10)
    assert len(counted.batches) == 3  # the clean queries, and two rounds
    assert all(len(batch) == len(set(batch)) for batch in counted.batches)
    assert counted.batches[0] == TEXTS[:2]


def test_calls_are_the_candidates_that_were_tried(encoder, goal):
    for one in greedy_search(encoder.encode, TEXTS, LANGUAGES, goal, edits=3, candidates=10):
        assert one.calls_per_round == (10,) * len(one.calls_per_round)
        assert one.calls == 10 * len(one.calls_per_round)
        assert [one.within(n).calls for n in range(4)] == [10 * min(n, len(one.calls_per_round)) for n in range(4)]


def test_an_attack_stopped_early_is_the_attack_with_less_budget(encoder, goal):
    long = greedy_search(encoder.encode, TEXTS, LANGUAGES, goal, edits=3, candidates=10, seed=5)
    for budget in range(4):
        short = greedy_search(encoder.encode, TEXTS, LANGUAGES, goal, edits=budget, candidates=10, seed=5)
        assert [one.within(budget) for one in long] == short


def test_a_query_is_attacked_the_same_in_any_company(encoder, goal):
    together = greedy_search(encoder.encode, TEXTS, LANGUAGES, goal, edits=2, candidates=10, seed=3)
    rows = [6, 1]
    some = TextGoal(goal.gallery, np.array(rows))
    texts, languages = [TEXTS[row] for row in rows], [LANGUAGES[row] for row in rows]
    apart = greedy_search(encoder.encode, texts, languages, some, edits=2, candidates=10, seed=3)
    assert [one.perturbed for one in apart] == [together[row].perturbed for row in rows]


def test_seeds_give_other_candidates(encoder, goal):
    found = {
        tuple(one.perturbed.text for one in greedy_search(encoder.encode, TEXTS, LANGUAGES, goal, candidates=4, seed=n))
        for n in range(3)
    }
    assert len(found) == 3


def test_portions_do_not_change_the_result(encoder, goal, monkeypatch):
    whole = greedy_search(encoder.encode, TEXTS, LANGUAGES, goal, edits=2, candidates=10)
    monkeypatch.setattr("kivuko.perturbations.text.search._AT_ONCE", 1)
    parts = greedy_search(encoder.encode, TEXTS, LANGUAGES, goal, edits=2, candidates=10)
    assert [one.perturbed for one in parts] == [one.perturbed for one in whole]


def test_an_edit_that_helps_the_search_is_not_taken():
    """Every edit leads to the own image, only the clean text is further away."""
    goal = TextGoal(np.eye(2, dtype=np.float32), np.array([0]))

    def encode(texts):
        return np.array([[0.8, 0.6] if text == "paka" else [1, 0] for text in texts], dtype=np.float32)

    found = greedy_search(encode, ["paka"], ["sw"], goal, edits=2, candidates=8)[0]
    assert (found.perturbed.text, found.ranks, found.calls_per_round) == ("paka", (1,), (8,))


def test_of_equal_ranks_the_lower_margin_is_worse():
    goal = TextGoal(np.array([[1, 0], [0, 1]], dtype=np.float32), np.array([0]))
    found = goal.rank(np.array([[1, 0], [0.9, 0.44], [0.6, 0.8]], dtype=np.float32), np.zeros(3, dtype=np.int64))
    assert found.ranks.tolist() == [1, 1, 2]
    assert found.margins.tolist() == pytest.approx([1, 0.46, -0.2], abs=1e-6)
    assert found.attack_loss().argsort().tolist() == [0, 1, 2]


def test_a_gallery_of_one_image_leaves_nothing_to_harm():
    goal = TextGoal(np.array([[1.0, 0.0]], dtype=np.float32), np.array([0]))
    found = goal.rank(np.array([[0.6, 0.8]], dtype=np.float32), np.array([0]))
    assert found.ranks.tolist() == [1]
    assert np.isfinite(found.attack_loss()).all()


def test_vectors_of_another_width_are_refused(goal):
    with pytest.raises(DataError, match="same model"):
        goal.rank(np.ones((1, 3), dtype=np.float32), np.array([0]))


def test_an_encoder_that_breaks_on_a_candidate_says_so(encoder, goal):
    def encode(texts):
        vectors = encoder.encode(texts)
        return vectors if list(texts) == TEXTS else np.full_like(vectors, np.nan)

    with pytest.raises(DataError, match="not finite"):
        greedy_search(encode, TEXTS, LANGUAGES, goal)


def test_progress_is_reports_each_round(encoder, goal):
    reports = []
    greedy_search(
        encoder.encode, TEXTS, LANGUAGES, goal, edits=2, candidates=4, progress=lambda *done: reports.append(done)
    )
    assert reports == [(1, 2), (2, 2)]


def query(text):
    return AttackedText(Perturbed(text, text), "sw", 0.0, (1,), (0.0,))


@given(st.sampled_from(["a", "ab", "paka", "हसरा", "कि", "👪", "", " x "]), st.integers(1, 400), st.integers(0, 5))
@settings(max_examples=40)
def test_drawn_edits_are_single_edits_without_doubles(text, count, seed):
    kinds = edit_kinds(["typo"])
    drawn = [apply_edit(text, edit) for edit in sampled(query(text), kinds, count, seed)]
    every = {apply_edit(text, edit) for edit in all_edits(text, "sw", ["typo"])}
    assert len(drawn) == len(set(drawn))
    assert set(drawn) <= every
    assert 0.8 * min(count, len(every)) <= len(drawn) <= count


def test_few_edits_are_all_drawn():
    drawn = sampled(query("ab"), edit_kinds(["delete", "swap"]), 50, 0)
    assert {apply_edit("ab", edit) for edit in drawn} == {"a", "b", "ba"}


def test_the_pattern_is_the_worst_of_all(encoder, goal):
    """Of few queries every pattern is tried on all, so the one found is the best by brute force."""
    found = universal_edit(encoder.encode, TEXTS, "sw", goal)
    pool = _patterns(TEXTS, "sw")

    def mean(pattern):
        texts = [apply_patterns(text, [pattern]).text for text in TEXTS]
        return (1 / goal.rank(encoder.encode(texts), np.arange(len(TEXTS))).ranks).mean()

    means = [mean(pattern) for pattern in pool]
    assert mean(found[0]) == min(means)
    reports = _mean_reciprocal_ranks(encoder.encode, TEXTS, goal, pool, np.arange(len(TEXTS)))
    assert reports.tolist() == pytest.approx([1.0, *means])


def test_sifting_finds_nearly_the_worst(encoder, goal, monkeypatch):
    many, own = TEXTS * 6, np.tile(np.arange(len(TEXTS)), 6)
    monkeypatch.setattr("kivuko.perturbations.text.search._SIFTED_ON", 8)
    large = TextGoal(goal.gallery, own)
    patterns = universal_edit(encoder.encode, many, "sw", large, seed=1)
    texts = [apply_patterns(text, patterns).text for text in many]
    after = (1 / large.rank(encoder.encode(texts), np.arange(len(many))).ranks).mean()
    best = _mean_reciprocal_ranks(encoder.encode, many, large, _patterns(many, "sw"), np.arange(len(many))).min()
    assert after <= best + 0.05


def test_a_smaller_universal_budget_is_the_beginning_of_a_larger_one(encoder, goal):
    two = universal_edit(encoder.encode, TEXTS, "sw", goal, edits=2)
    assert universal_edit(encoder.encode, TEXTS, "sw", goal, edits=1) == two[:1]
    assert universal_edit(encoder.encode, TEXTS, "sw", goal, edits=0) == []
    with pytest.raises(UsageError, match="-1 edits"):
        universal_edit(encoder.encode, TEXTS, "sw", goal, edits=-1)
    with pytest.raises(UsageError, match="7 texts"):
        universal_edit(encoder.encode, TEXTS[:7], "sw", goal)


UNITS = [*"abks", "क", "कि", "क्", "ल्ली", "े", "👩‍🚒", "🇰🇪", " "]
PATTERNS = [
    Pattern(where, old, new)
    for where, old in (("before", ""), ("after", ""), ("first", "क"), ("first", "कि"), ("first", "a"))
    for new in ("x", "क", "ॲ", "")
    if new or old
]


@given(st.lists(st.sampled_from(UNITS), max_size=6).map("".join), st.sampled_from(PATTERNS))
@settings(max_examples=150)
def test_patterns_make_at_most_one_edit_and_tear_nothing(text, pattern):
    edit = pattern.edit(text)
    made = apply_patterns(text, [pattern])
    assert made.edits == ((edit,) if edit else ())
    if edit is None:
        assert made.text == text
        return
    assert made.text.strip()
    rest = [*graphemes(text[: edit.start]), *graphemes(edit.replacement), *graphemes(text[edit.end :])]
    assert graphemes(made.text) == rest
