"""The bitext itself and the account it gives."""

from __future__ import annotations

from collections import Counter

import pytest

from kivuko.bitext.pairs import Bitext, Pair, concatenate, report_copied, report_dropped

DOG = Pair("sw", "mbwa", "dog", "a.tsv:1")
CAT = Pair("so", "bisad", "cat", "b.tsv:1")
TAXI = Pair("sw", "taxi", "taxi", "a.tsv:2")


def test_pairs_are_frozen_and_slotted() -> None:
    with pytest.raises(AttributeError):
        DOG.text = "paka"  # type: ignore[misc]
    assert not hasattr(DOG, "__dict__")


def test_languages_and_groups_keep_order() -> None:
    bitext = Bitext((DOG, CAT, TAXI))
    assert len(bitext) == 3
    assert list(bitext) == [DOG, CAT, TAXI]
    assert bitext.languages() == ("sw", "so")
    assert bitext.by_language() == {"sw": (DOG, TAXI), "so": (CAT,)}
    assert list(bitext.by_language()) == ["sw", "so"]


def test_adding_joins_pairs_and_accounts() -> None:
    left = Bitext((DOG,), Counter({"empty side": 2}), {"empty side": "a.tsv:5"})
    right = Bitext((CAT,), Counter({"empty side": 1, "too long": 1}), {"empty side": "b.tsv:2", "too long": "b.tsv:3"})
    both = left + right
    assert both.pairs == (DOG, CAT)
    assert both.dropped == {"empty side": 3, "too long": 1}
    assert both.first_dropped == {"empty side": "a.tsv:5", "too long": "b.tsv:3"}
    assert concatenate([left, right]) == both
    assert left.dropped == {"empty side": 2}, "adding must leave its parts as they were"
    assert concatenate([]) == Bitext(())
    with pytest.raises(TypeError):
        left + DOG  # type: ignore[operator]


def test_report_counts_against_all_lines_commonest_first() -> None:
    bitext = Bitext(
        (DOG,) * 3388,
        Counter({"missing column": 3, "empty side": 9, "too long": 0}),
        {"empty side": "f.tsv:17", "missing column": "f.tsv:20"},
    )
    assert report_dropped(bitext) == (
        "12 of 3,400 lines left out: 9 empty side (first at f.tsv:17), 3 missing column (first at f.tsv:20)"
    )


def test_report_without_drops_is_none_and_one_line_is_singular() -> None:
    assert report_dropped(Bitext((DOG,))) is None
    assert report_dropped(Bitext((), Counter({"too long": 1}))) == "1 of 1 line left out: 1 too long"


def test_copies_are_counted_per_language() -> None:
    copy = Pair("fil", "piano", "piano", "c.tsv:1")
    bitext = Bitext((DOG, TAXI, copy, copy, CAT))
    assert bitext.copied() == {"sw": 1, "fil": 2}
    assert report_copied(bitext) == "3 of 5 pairs with the same text on both sides: 2 in fil, 1 in sw"
    assert report_copied(Bitext((DOG, CAT))) is None


def test_a_bitext_shows_its_size_and_languages() -> None:
    assert repr(Bitext((DOG, CAT, TAXI))) == "Bitext(3 pairs in sw, so)"
    assert repr(Bitext((DOG,), Counter({"empty side": 2}))) == "Bitext(1 pair in sw, 2 lines left out)"
    assert repr(Bitext(())) == "Bitext(0 pairs)"
