"""The verdict: what makes a bitext usable, usable with care, or not usable; and the figures behind it."""

from __future__ import annotations

import pytest
from made_source import MadeSource, account_of

from kivuko.bitext.leak import LeakReport
from kivuko.bitext.rules import Rules
from kivuko.bitext.verdict import Account, Gathering, judge_bitext

NUMERALS = ["sifuri", "moja", "mbili", "tatu", "nne", "tano", "sita", "saba", "nane", "tisa"]
ENGLISH = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def spelled(number: int, words: list[str]) -> str:
    return " ".join(words[int(digit)] for digit in str(number))


def good(count: int) -> list[tuple[str, str]]:
    return [(spelled(number, NUMERALS), spelled(number, ENGLISH)) for number in range(10_000, 10_000 + count)]


def account(rows: list[tuple[str, str]], **rules: object) -> Account:
    return account_of(MadeSource(rows), Rules(language_id="off", **rules))  # type: ignore[arg-type]


def test_clean_text_is_usable() -> None:
    verdict = judge_bitext(account(good(1500)))
    assert (verdict.level, verdict.findings, verdict.advice) == ("usable", [], [])


@pytest.mark.parametrize(("count", "level"), [(999, "with care"), (99, "not usable"), (0, "not usable")])
def test_few_pairs(count: int, level: str) -> None:
    verdict = judge_bitext(account(good(count)))
    assert verdict.level == level
    assert verdict.findings == [f"only {count} usable pairs"]


def test_a_single_pair_is_no_plural() -> None:
    assert judge_bitext(account(good(1))).findings == ["only 1 usable pair"]


@pytest.mark.parametrize(
    ("bad", "level"), [(50, "usable"), (200, "with care"), (1000, "with care"), (7000, "not usable")]
)
def test_what_is_left_out_counts_by_its_share(bad: int, level: str) -> None:
    rows = good(1500) + [("Soma zaidi", "Read more")] * bad
    verdict = judge_bitext(account(rows))
    assert verdict.level == level
    messages = [finding for finding in verdict.findings if "web furniture" in finding]
    assert bool(messages) == (level != "usable")
    if messages:
        assert f"{bad:,}; first at made.tsv:1501" in messages[0]


def test_columns_the_wrong_way_round_are_named() -> None:
    counted = Account("f.tsv", "sw", Gathering(100), seen=2000, kept=0, swapped=1500)
    counted.dropped["wrong language"] = 2000
    counted.first["wrong language"] = "f.tsv:1"
    verdict = judge_bitext(counted)
    assert verdict.level == "not usable"
    assert "the columns are the wrong way round: name them with --columns 2,1" in verdict.advice
    counted.swapped = 3
    assert "see whether sw is the right code" in judge_bitext(counted).advice


@pytest.mark.parametrize(("leaked", "level"), [(0, "usable"), (5, "with care"), (50, "not usable")])
def test_leaks(leaked: int, level: str) -> None:
    leaks = LeakReport(1000, {"the same words": leaked}, pairs=leaked, looked=1500)
    verdict = judge_bitext(account(good(1500)), leaks)
    assert verdict.level == level
    assert (verdict.findings == []) == (leaked == 0)
    if leaked:
        assert f"{leaked} of 1,000 evaluation captions" in verdict.findings[0]
        assert "--against" in verdict.advice[0]


def test_the_gravest_comes_first() -> None:
    verdict = judge_bitext(account(good(50) + [("Soma zaidi", "Read more")] * 10))
    assert verdict.findings[0] == "only 50 usable pairs"
    assert verdict.level == "not usable"


def test_long_sentences_and_unequal_sides_are_named() -> None:
    long = [(text * 20, english * 20) for text, english in good(1200)]
    verdict = judge_bitext(account(long, boilerplate=False))
    assert verdict.level == "with care"
    assert any("characters long" in finding for finding in verdict.findings)
    unequal = [(text * 4, english) for text, english in good(1200)]
    verdict = judge_bitext(account(unequal, boilerplate=False, max_length_ratio=None))
    assert any("times as long" in finding for finding in verdict.findings)


def test_statistics_agree_with_a_count_by_hand() -> None:
    rows = [("paka", "cat"), ("paka mweusi", "black cat"), ("mbwa wa jirani", "the dog"), ("taxi", "taxi")]
    figures = account(rows, keep_copied=True).gathering.statistics()
    assert figures.pairs == 4
    assert (figures.text.words, figures.english.words) == (7, 6)
    lengths = [len(text) for text, _ in rows]
    assert (figures.text.characters, figures.text.longest) == (sum(lengths), max(lengths))
    assert figures.text.mean == sum(lengths) / 4
    assert (figures.text.median, figures.text.percentile_95) == (4, 14)
    assert figures.copied == 1
    assert figures.script_share == 1
    assert figures.length_ratio[1] == pytest.approx(11 / 9, rel=0.02)
    assert figures.length_ratio[0] == pytest.approx(1, rel=0.02)
    assert figures.length_ratio[2] == pytest.approx(2, rel=0.02)
