"""Sentences as a study's data: queries that point at their English, pools of their split, and languages with less."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from kivuko.bitext.sampling import take_pairs
from kivuko.errors import UsageError
from kivuko.studies.data import open_study_data
from sentence_files import write_tico


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
