"""Sentences as a study's data: queries that point at their English, pools of their split, and languages with less."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from killed_study import tiny_recipes

from kivuko.bitext.sampling import take_pairs
from kivuko.encoders.teacher import load_teacher
from kivuko.errors import UsageError
from kivuko.evaluation.measures import CODE_POINTS
from kivuko.studies import low_resource, robustness
from kivuko.studies.data import open_study_data
from kivuko.studies.inputs import Evaluator
from kivuko.studies.robustness_inputs import Plan, PlannedAttack, RobustnessGrid, robustness_inputs
from kivuko.studies.runs import RunFile
from sentence_files import write_tico

POINTS = "code-points:kinds=typo"


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    return open_study_data(f"tico19:{write_tico(tmp_path_factory.mktemp('tico'), 'sw', 'so', slip=(1, 3))}")


def test_a_query_points_at_its_english_in_the_pool_of_its_split(sentences):
    assert set(sentences.languages) == {"sw", "so"}
    train = {pair.english for pair in sentences.bitext("train").pairs}
    for split in ("validation", "test"):
        queries = sentences.queries("sw", split)
        assert queries
        for query in queries:
            assert sentences.pools[split][query.image] == query.english
            assert query.text.split()[0] == query.english.split()[0]  # both begin with the number of the sentence
            assert query.english not in train
        rows = sentences.rows(split)
        assert [sentences.documents[row] for row in rows] == list(sentences.pools[split])
    english = {query.image: query.concept for query in sentences.queries("en", "test")}
    assert all(english[query.image] == query.concept for query in sentences.queries("so", "test"))


def test_a_perfect_search_has_a_map_of_one_and_a_blind_one_nearly_none(sentences):
    queries = sentences.queries("sw", "test")
    scores = np.zeros((len(queries), len(sentences.pools["test"])), dtype=np.float32)
    assert sentences.measure(scores, "sw", "test").values["MAP"].max() < 0.1  # ties count against
    scores[np.arange(len(queries)), [query.image for query in queries]] = 1
    assert sentences.measure(scores, "sw", "test").values["MAP"].tolist() == [1.0] * len(queries)


def test_a_language_with_fewer_pairs_gives_all_of_them(sentences):
    bitext = sentences.bitext("train")
    counts = {code: len(pairs) for code, pairs in bitext.by_language().items()}
    size = max(counts.values())
    assert min(counts.values()) < size  # misaligned documents are left out in the last language
    taken = take_pairs(bitext, size, 0, up_to=True)
    assert {code: len(pairs) for code, pairs in taken.by_language().items()} == counts
    with pytest.raises(UsageError, match="request fewer"):
        take_pairs(bitext, size, 0)


def test_the_data_goes_to_another_process(sentences):
    assert pickle.loads(pickle.dumps(sentences)).fingerprint == sentences.fingerprint


def test_sentences_go_through_both_studies(sentences, tmp_path):
    teacher = load_teacher()
    plan = Plan((PlannedAttack("typo:edits=1|2"), PlannedAttack("code-points:points=3"), PlannedAttack("code-switch")))
    inputs = robustness_inputs(sentences, teacher, plan, words=False)
    grid = RobustnessGrid(
        tiny_recipes(), sizes=(8,), seeds=(0,), languages=sentences.languages, steps=2, translation=None, lexical=False,
        plan=plan, up_to=True,
    )  # fmt: skip
    run = next(run for run in grid.runs(sentences.bitext("train")) if run.objective == "optical")
    measured = robustness.perform(RunFile(run, tmp_path / "run.jsonl", "x"), inputs)
    attacked = {(one.attack, one.budget) for one in measured.records}
    assert attacked == {(None, None), ("typo", 1.0), ("typo", 2.0), (POINTS, 3.0), ("code-switch", 1.0)}
    assert {one.model for one in measured.records} == {"static"}
    changed = [one for one in measured.records if one.measure == CODE_POINTS and one.attack == POINTS]
    assert {one.language for one in changed} == {"sw", "so"}
    assert all(0 < one.value <= 3 for one in changed)

    clean = low_resource.perform(run, Evaluator(inputs.plain))
    assert {(one.dataset, one.scoring) for one in clean.records} == {("tico19", "cosine"), ("tico19", "maxsim")}
    assert {one.measure for one in clean.records if one.split == "test"} == {"R@1", "R@10", "MAP"}
