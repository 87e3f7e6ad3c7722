"""The structures of fixed size behind duplicates: no known key is missed, and few new ones are mistaken."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.bitext.duplicates import BloomFilter, CountMinSketch, Duplicates, mixed, sentence_keys


def keys(*numbers: int) -> np.ndarray:
    return mixed(np.array(numbers, dtype=np.uint64))


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 50), max_size=30), max_size=10))
def test_the_filter_agrees_with_a_set(batches: list[list[int]]) -> None:
    bloom, known = BloomFilter(1000, 1e-9), set()
    for batch in batches:
        expected = []
        for number in batch:
            expected.append(number in known)
            known.add(number)
        assert bloom.add(keys(*batch)).tolist() == expected
    assert bloom.added == len(known)


def test_the_filter_errs_at_its_stated_rate() -> None:
    bloom = BloomFilter(20_000, 0.01)
    assert bloom.nbytes < 20_000 * 2
    mistaken = int(bloom.add(keys(*range(20_000))).sum())
    assert mistaken < 0.01 * 20_000
    assert bloom.false_positive_rate() == pytest.approx(0.01, rel=0.03)
    before = bloom.added
    new = bloom.add(keys(*range(20_000, 22_000)))
    assert 0.003 < new.mean() < 0.03
    assert bloom.added == before + int((~new).sum())
    assert bloom.add(keys(*range(22_000))).all(), "a key that was added is never missed"


def test_an_empty_filter_takes_no_key_for_known() -> None:
    assert BloomFilter(1000, 1e-6).false_positive_rate() == 0
    assert BloomFilter(1000, 1e-6).add(keys()).shape == (0,)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 20), max_size=40), max_size=8))
def test_the_sketch_agrees_with_a_counter(batches: list[list[int]]) -> None:
    sketch, counter = CountMinSketch(1000), Counter[int]()
    for batch in batches:
        expected = []
        for number in batch:
            counter[number] += 1
            expected.append(counter[number])
        assert sketch.add(keys(*batch)).tolist() == expected


def test_the_sketch_never_counts_too_low_and_stops_at_255() -> None:
    sketch = CountMinSketch(1000)
    sketch.add(keys(*range(50_000)))  # many times what it is meant for
    again = sketch.add(keys(*range(100)))
    assert (again >= 2).all()
    assert sketch.add(keys(*[7] * 300)).max() >= 255
    assert sketch.add(keys(7))[0] == 256, "one more than the highest count"


def test_sentences_have_the_same_keys_in_every_process() -> None:
    assert sentence_keys(["paka", ""]).tolist() == [4706432178775452742, 13020603013274838756]
    assert len(set(sentence_keys(["a", "b", "ab", "\ud800"]).tolist())) == 4


def test_pairs_and_sides() -> None:
    duplicates = Duplicates(1000, 2)
    texts, english = ["a", "a", "b", "c", "d"], ["x", "x", "x", "x", "y"]
    seen, often = duplicates.judge(texts, english)
    assert seen.tolist() == [False, True, False, False, False]
    assert often.tolist() == [False, False, False, True, False]
    seen, often = duplicates.judge(["d", "x"], ["y", "a"])
    assert seen.tolist() == [True, False], "the sides changed over make another pair"
    assert often.tolist() == [False, False]


def test_memory_is_as_stated() -> None:
    duplicates = Duplicates(1_000_000, 20)
    per_pair = duplicates.nbytes / 1_000_000
    assert 6 < per_pair < 10
    before = duplicates.nbytes
    duplicates.judge([str(number) for number in range(5000)], ["x"] * 5000)
    assert duplicates.nbytes == before
