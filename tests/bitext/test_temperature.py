"""Shares by temperature, quotas that add up, and samples taken out of streams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_source import MadeSource

from kivuko.bitext.sampling import RankCounts, Selection, count_ranks, quotas, sampled, tempered_shares
from kivuko.errors import UsageError

COUNTS = {"de": 1_000_000, "sw": 10_000, "so": 100}


def test_shares_by_temperature() -> None:
    assert tempered_shares(COUNTS, 1)["de"] == pytest.approx(1_000_000 / 1_010_100)
    shares = tempered_shares(COUNTS, 2)  # square roots: 1000, 100, 10
    assert shares == pytest.approx({"de": 1000 / 1110, "sw": 100 / 1110, "so": 10 / 1110})
    assert tempered_shares(COUNTS, 1e9)["so"] == pytest.approx(1 / 3, abs=1e-6)
    assert tempered_shares({"sw": 5, "so": 0}, 5) == {"sw": 1.0, "so": 0.0}


def test_quotas_hand_on_what_a_language_cannot_fill() -> None:
    assert quotas(COUNTS, 1110, 2) == {"de": 1000, "sw": 100, "so": 10}
    assert quotas(COUNTS, 60_000, 1e9) == {"de": 49_900, "sw": 10_000, "so": 100}
    assert quotas(COUNTS, 10**9, 5) == COUNTS
    assert quotas({"sw": 7, "so": 0}, 3, 5) == {"sw": 3, "so": 0}


@given(
    st.dictionaries(st.text("abc", min_size=1), st.integers(0, 10_000), min_size=1).filter(lambda d: any(d.values())),
    st.integers(1, 40_000),
    st.floats(1, 1e6),
)
def test_quotas_add_up_and_no_pair_is_taken_twice(counts: dict[str, int], total: int, temperature: float) -> None:
    taken = quotas(counts, total, temperature)
    assert list(taken) == list(counts)
    assert sum(taken.values()) == min(total, sum(counts.values()))
    assert all(0 <= taken[code] <= count for code, count in counts.items())


@pytest.mark.parametrize(
    ("counts", "total", "temperature", "told"),
    [({"sw": 5}, 3, 0.5, "at least 1"), ({"sw": 5}, 3, float("nan"), "at least 1"), ({"sw": 0}, 3, 5, "no pair"),
     ({}, 3, 5, "no pair"), ({"sw": 5}, 0, 5, "at least 1")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(counts: dict[str, int], total: int, temperature: float, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        quotas(counts, total, temperature)


def rows(count: int, repeat: int = 1) -> list[tuple[str, str]]:
    return [(f"neno {number} {again}", f"word {number}") for number in range(count) for again in range(repeat)]


def taken(source: MadeSource, quota: int, seed: int = 0) -> list[str]:
    ranks = count_ranks(source, seed)
    return [text for texts, _ in sampled(source, ranks, quota) for text in texts]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 300), st.integers(1, 3), st.integers(-5, 5), st.data())
def test_exactly_as_many_always_the_same_and_smaller_within_larger(
    count: int, repeat: int, seed: int, data: st.DataObject
) -> None:
    made = rows(count, repeat)
    few, many = sorted(data.draw(st.tuples(st.integers(0, len(made)), st.integers(0, len(made)))))
    smaller, larger = taken(MadeSource(made), few, seed), taken(MadeSource(made), many, seed)
    assert (len(smaller), len(larger)) == (few, many)
    assert set(smaller) <= set(larger)
    assert larger == [text for text, _ in made if text in set(larger)], "in the order of the source"
    assert taken(MadeSource(made), few, seed) == smaller


def test_seeds_choose_and_english_decides() -> None:
    source = MadeSource(rows(1000))
    assert set(taken(source, 100, 0)) != set(taken(source, 100, 1))
    other = MadeSource([(f"eray {number}", f"WORD {number}") for number in range(1000)], "so")
    assert [text.split()[1] for text in taken(other, 100)] == [text.split()[1] for text in taken(source, 100)]


def test_the_sample_is_even_over_the_source() -> None:
    numbers = np.array([int(text.split()[1]) for text in taken(MadeSource(rows(10_000)), 2000)])
    halves = (numbers < 5000).mean()
    assert 0.45 < halves < 0.55  # four standard deviations


def test_what_cannot_be_written_is_in_neither_reading() -> None:
    source = MadeSource([("a", "b"), ("", "c"), (None, None, "blank line"), ("d \ud800", "e"), ("taxi", "taxi")])
    ranks = count_ranks(source, 0)
    assert ranks.pairs == 2
    assert [pair for texts, _ in sampled(source, ranks, 2) for pair in texts] == ["a", "taxi"]


def test_watchers_are_told() -> None:
    told: list[int] = []
    ranks = count_ranks(MadeSource(rows(10)), 0, told.append)
    list(sampled(MadeSource(rows(10)), ranks, 5, told.append))
    assert told == [10, 10]


def test_all_and_none() -> None:
    ranks = RankCounts(3)
    ranks.add(["a", "b", "c"])
    assert Selection(ranks, 3).take(["a", "b", "c"]).all()
    assert not Selection(ranks, 0).take(["a", "b", "c"]).any()
