"""Random edits: budgets, seeds, whole clusters, no edit that undoes another."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from kivuko.errors import UsageError
from kivuko.perturbations.edits import (
    EDIT_KINDS,
    Edit,
    all_edits,
    apply_edit,
    code_points,
    net_change,
    perturb,
    perturb_within,
)
from kivuko.perturbations.graphemes import graphemes

# Letters of many scripts with the characters that make clusters long: marks, viramas, joiners, flags, jamo, keycaps.
_PIECES = [
    *"ab Kß é İı.1-", "e\u0301", "ö", "क", "ल", "ल्", "र्\u200d", "ि", "ी", "्", "ं", "ش", "ل", "َ", "ש", "ּ", "日", "한",
    "ᄀ", "ᅡ", "ｶ", "ﾞ", "ガ", "ﬁ", "👩", "🚒", "\u200d", "👩\u200d🚒", "🇰", "🇪", "🏽", "❤\ufe0f", "1\ufe0f\u20e3",
    "\r\n", "\u0600", "\u00a0", "  ", "ก", "ำ", "เ", "ஸ்", "й",
]  # fmt: skip
_TEXTS = st.lists(st.sampled_from(_PIECES), max_size=12).map("".join) | st.text(max_size=12)
_LANGUAGES = st.sampled_from(["sw", "mr", "de", "he", "tr", "ja", "th", "und"])
_KINDS = st.sampled_from(list(EDIT_KINDS))
_SEEDS = st.integers(0, 2**32)


@given(_TEXTS, _LANGUAGES, _KINDS)
def test_single_edits_are_real_and_leave_other_clusters_whole(text, language, name):
    edits = EDIT_KINDS[name].all(text, language)
    units = graphemes(text)
    boundaries = {sum(map(len, units[:n])): n for n in range(len(units) + 1)}
    results = [apply_edit(text, edit) for edit in edits]
    assert len(set(results)) == len(results)
    for edit, result in zip(edits, results, strict=True):
        assert edit.kind == name
        assert 0 <= edit.start <= edit.end <= len(text)
        assert result != text
        assert result.strip() or not text.strip()
        before, after = units[: boundaries[edit.start]], units[boundaries[edit.end] :]
        assert graphemes(result) == [*before, *graphemes(edit.replacement), *after]


@given(_TEXTS, _LANGUAGES, st.sampled_from([("insert", 1), ("delete", -1), ("swap", 0), ("substitute", 0)]))
def test_clusters_are_added_dropped_and_moved_whole(text, language, told):
    name, more = told
    units = Counter(graphemes(text))
    for edit in EDIT_KINDS[name].all(text, language):
        result = Counter(graphemes(apply_edit(text, edit)))
        assert result.total() == units.total() + more
        assert (result - units).total() == (0 if name in ("delete", "swap") else 1)


@given(_TEXTS)
def test_swapped_words_keep_their_clusters(text):
    for edit in EDIT_KINDS["swap-words"].all(text, "sw"):
        assert Counter(graphemes(apply_edit(text, edit))) == Counter(graphemes(text))


@given(_TEXTS, _LANGUAGES, _KINDS, _SEEDS)
def test_a_sample_is_one_of_all(text, language, name, seed):
    kind = EDIT_KINDS[name]
    edit = kind.sample(text, language, np.random.default_rng(seed))
    results = {apply_edit(text, one) for one in kind.all(text, language)}
    assert (edit is None) == (not results)
    if edit is not None:
        assert edit.kind == name
        assert apply_edit(text, edit) in results


@given(_TEXTS, _LANGUAGES, st.lists(_KINDS, min_size=1, max_size=3), st.integers(0, 5), _SEEDS)
def test_perturbed_texts_keep_to_the_budget_and_to_their_edits(text, language, kinds, budget, seed):
    found = perturb(text, language, kinds, budget, np.random.default_rng(seed))
    assert found == perturb(text, language, kinds, budget, np.random.default_rng(seed))
    assert len(found.edits) <= budget
    assert found.original == text
    states = [text]
    for edit in found.edits:
        assert apply_edit(states[-1], edit) in {
            apply_edit(states[-1], one) for one in all_edits(states[-1], language, kinds)
        }
        states.append(apply_edit(states[-1], edit))
    assert states[-1] == found.text
    assert len(set(states)) == len(states)  # never back where it was
    assert found.text.strip() or not text.strip()
    assert (found.text != text) == bool(budget and all_edits(text, language, kinds))


@given(_SEEDS)
def test_the_last_edit_undoes_neither_of_the_two_before(seed):
    found = perturb("ab", "haw", ["insert", "delete"], 3, np.random.default_rng(seed))
    first, second, third = found.edits
    grown = len(first.replacement) - (first.end - first.start)
    only_second = set()
    if second.end <= first.start:
        only_second.add(apply_edit("ab", second))
    if second.start >= first.start + len(first.replacement):
        only_second.add(apply_edit("ab", replace(second, start=second.start - grown, end=second.end - grown)))
    assert found.text not in {apply_edit("ab", first), *only_second}, third


@st.composite
def _two_edits(draw):
    text = draw(st.text("ab", max_size=6))
    edits = []
    for _ in range(2):
        start = draw(st.integers(0, len(text)))
        edits.append(Edit("any", start, draw(st.integers(start, len(text))), draw(st.text("ab", max_size=3))))
    return text, *edits


@given(_two_edits())
def test_the_net_change_gives_the_result_and_is_the_same_for_the_same(drawn):
    text, one, other = drawn
    start, end, new = net_change(text, one)
    assert text[:start] + new + text[end:] == apply_edit(text, one)
    assert (net_change(text, one) == net_change(text, other)) == (apply_edit(text, one) == apply_edit(text, other))


def test_a_long_text_has_all_its_edits_listed():
    text = "paka mweusi " * 400
    assert len(all_edits(text, "sw", ["delete", "swap"])) == 400 * 10 + 400 * 8
    assert perturb(text, "sw", ["typo"], 2, np.random.default_rng(0)).text != text


def test_no_edits_change_nothing_and_fewer_than_none_are_refused():
    rng = np.random.default_rng(0)
    assert perturb("paka", "sw", ["typo"], 0, rng).text == "paka"
    with pytest.raises(UsageError, match="-1 edits"):
        perturb("paka", "sw", ["typo"], -1, rng)
    with pytest.raises(UsageError, match="unknown kind"):
        perturb("paka", "sw", ["tyop"], 0, rng)


@pytest.mark.parametrize("text", ["", "   ", "👩‍🚒", "🇰🇪", "1️⃣"])
def test_where_nothing_applies_the_text_comes_back(text):
    found = perturb(text, "sw", ["typo"], 3, np.random.default_rng(0))
    assert (found.text, found.edits) == (text, ())


@pytest.mark.parametrize(
    ("text", "language"), [("k", "sw"), ("कि", "mr"), ("ל", "he"), ("日", "ja"), ("आग", "mr"), ("🐈 paka", "sw")]
)
@pytest.mark.parametrize("budget", [1, 2, 4])
def test_the_whole_budget_is_spent_where_it_can_be(text, language, budget):
    for seed in range(20):
        found = perturb(text, language, ["typo"], budget, np.random.default_rng(seed))
        assert len(found.edits) == budget
        assert found.text.strip()


def test_a_second_edit_falls_back_on_what_is_left():
    found = perturb("ab", "sw", ["split"], 3, np.random.default_rng(0))
    assert (found.text, len(found.edits)) == ("a b", 1)


def test_kinds_and_places_are_drawn_evenly():
    rng = np.random.default_rng(0)
    edits = [perturb("mwenye", "sw", ["typo"], 1, rng).edits[0] for _ in range(4000)]
    kinds = [sum(edit.kind == kind for edit in edits) for kind in ("insert", "delete", "swap", "substitute")]
    assert all(900 < number < 1100 for number in kinds)
    places = [sum((edit.kind, edit.start) == ("delete", place) for edit in edits) for place in range(6)]
    assert all(100 < number < 240 for number in places)


def test_all_edits_of_many_kinds_have_each_result_once():
    edits = all_edits("a é", "fr", ["case", "diacritics", "normalization", "drop-word", "join"])
    assert [(edit.kind, apply_edit("a é", edit)) for edit in edits] == [
        ("case", "A é"),
        ("case", "a É"),
        ("diacritics", "a e"),
        ("normalization", "a e\u0301"),
        ("drop-word", "é"),
        ("drop-word", "a"),
        ("join", "aé"),
    ]


@pytest.mark.parametrize(("text", "language"), [("paka mweusi juu ya paa", "sw"), ("काळी मांजर छतावर आहे", "mr")])
@pytest.mark.parametrize("points", [0, 1, 2, 5, 9])
def test_a_budget_in_code_points_is_kept_in_every_script(text, language, points):
    for seed in range(20):
        result = perturb_within(text, language, ("typo",), points, np.random.default_rng(seed))
        assert reduce(apply_edit, result.edits, text) == result.text
        assert Levenshtein.distance(text, result.text) <= points
        spent, now = 0, text
        for edit in result.edits:
            spent, now = spent + code_points(now, edit), apply_edit(now, edit)
        assert spent <= points
    if points >= 5:
        assert result.edits
    with pytest.raises(UsageError, match="-1 code points"):
        perturb_within(text, language, ("typo",), -1, np.random.default_rng(0))
