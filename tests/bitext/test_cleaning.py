"""Cleaning a stream of pairs: every reason, the account, and memory that does not grow."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_source import MadeSource, account_of, pairs_of

from kivuko.bitext.cleaning import BATCH, Sifting
from kivuko.bitext.leak import LeakCheck
from kivuko.bitext.pairs import Pair
from kivuko.bitext.rules import Rules
from kivuko.bitext.verdict import EXAMPLES
from kivuko.text import clean_text

RULES = Rules(language_id="off", expected_pairs=1000)
GOOD = ("Paka mweusi amelala juu ya meza", "The black cat sleeps on the table")


def reason_against(text: str, english: str, language: str = "sw", rules: Rules = RULES) -> str | None:
    account = account_of(MadeSource([(text, english)], language), rules)
    assert account.seen == 1
    assert account.kept + account.dropped.total() == 1
    return next(iter(account.dropped), None)


@pytest.mark.parametrize(
    ("text", "english", "reason"),
    [
        (*GOOD, None),
        ("", "The cat", "empty side"),
        ("\u200b \u00ad", "The cat", "empty side"),
        ("paka " * 900, "cat " * 900, "too long"),
        ("Paka \ufffd mweusi", "The black cat", "broken characters"),
        ("Mbwa \ud800 mweusi", "The black dog", "broken characters"),
        ("Le cafÃ© est noir", "The coffee is black", "broken characters"),
        ("It isnâ€™t", "It is not", "broken characters"),
        ("The black cat", "the black CAT", "untranslated copy"),
        ("The black cat sleeps on the mat .", "On the mat the black cat sleeps", "untranslated copy"),
        ("Ona https://example.org/paka", "See https://example.org/cat", "boilerplate: web address"),
        ("paka@example.com", "cat@example.com: mail", "boilerplate: web address"),
        ("<b>Paka</b> mweusi", "The black cat", "boilerplate: markup"),
        ("Paka &amp; mbwa", "The cat and the dog", "boilerplate: markup"),
        ("{{paka}} mweusi", "black cat", "boilerplate: markup"),
        ("12.5 %", "12,5", "boilerplate: no words"),
        ("Sura ya kwanza ............ 5", "Chapter one ............ 5", "boilerplate: repetition"),
        ("paka mbwa " * 10, "A cat, a dog, another cat, another dog, and many more of both", "boilerplate: repetition"),
        ("Soma zaidi", "Read more »", "boilerplate: web furniture"),
        ("Haki zote zimehifadhiwa", "© 2019 Paka. All rights reserved.", "boilerplate: web furniture"),
        ("Черный кот", "The black cat", "wrong script"),
        ("Paka mweusi", "Черный кот", "wrong script"),
        ("Paka", "The black cat that sat on the mat of our neighbor has gone", "length ratio"),
    ],
)
def test_every_reason_has_its_pair(text: str, english: str, reason: str | None) -> None:
    assert reason_against(text, english) == reason


@pytest.mark.parametrize(
    ("text", "english", "language"),
    [
        ("Mtu huyu anafanya kazi www.example.org kila siku", "This man works at www.example.org each day", "sw"),
        ("Bei ni chini ya 5 < 7", "The price is below 5 < 7", "sw"),
        ("AMANHÃ – SÃO PAULO “MAÇÔ", "TOMORROW – SAINT PAUL “APPLE”", "pt"),
        ("काळी मांजर टेबलावर झोपली आहे", "The black cat is sleeping on the table", "mr"),
        ("黑猫睡在桌子上", "The black cat is sleeping on the table", "zh"),
        ("黒い猫がテーブルの上で寝ている", "A black cat is sleeping on the table", "ja"),
        ("검은 고양이가 탁자 위에서 잔다", "A black cat is sleeping on the table", "ko"),
        ("Црна мачка спава на столу", "The black cat is sleeping on the table", "sr"),
        ("Crna mačka spava na stolu", "The black cat is sleeping on the table", "sr"),
        ("iPhone आणि Windows वापरतो तो", "He uses an iPhone and Windows", "mr"),
        ("yes yes yes yes", "ndiyo ndiyo ndiyo ndiyo", "sw"),
        ("Ndiyo.", "Yes, of course.", "sw"),
        ("nyumbani", "home", "sw"),
    ],
)
def test_good_pairs_pass_in_every_script(text: str, english: str, language: str) -> None:
    assert reason_against(text, english, language) is None


def test_the_script_named_by_the_code_is_the_only_one() -> None:
    assert reason_against("Crna mačka spava na stolu", "The black cat sleeps here", "sr-Cyrl") == "wrong script"
    assert reason_against("Црна мачка спава на столу", "The black cat sleeps here", "sr-Latn") == "wrong script"
    arabic = Rules(language_id="off", scripts=("Arab",))
    assert reason_against("پاکا مويسي املالا", "The black cat sleeps", "sw", arabic) is None
    assert reason_against(*GOOD, "sw", arabic) == "wrong script"


def test_each_rule_can_be_turned_off() -> None:
    off = Rules(
        language_id="off", keep_copied=True, max_length_ratio=None, min_script_share=0, boilerplate=False,
        duplicates=False, max_characters=10_000,
    )  # fmt: skip
    rows = [
        GOOD, GOOD, ("same", "same"), ("x", "y" * 5000), ("Черный", "кот"), ("<b>", "https://a.org"), ("1", "2"),
    ]  # fmt: skip
    assert account_of(MadeSource(rows), off).kept == len(rows)


def test_copies_that_are_kept_need_no_other_script() -> None:
    keep = Rules(language_id="off", keep_copied=True)
    assert reason_against("Microsoft Windows", "Microsoft Windows", "mr", keep) is None
    assert reason_against("Microsoft Windows", "the window", "mr", keep) == "wrong script"


def test_duplicates_are_detected_whatever_their_case_within_and_across_batches() -> None:
    other = [(f"neno la {number} na la {number + 1}", f"word {number} and {number + 1}") for number in range(BATCH)]
    rows = [GOOD, (GOOD[0].upper(), GOOD[1]), *other, GOOD]
    account = account_of(MadeSource(rows), Rules(language_id="off"))
    assert account.dropped == {"duplicate": 2}
    assert account.first == {"duplicate": "made.tsv:2"}
    assert account.kept == BATCH + 1


def test_one_side_may_come_so_often_and_no_more() -> None:
    numerals = ["sifuri", "moja", "mbili", "tatu", "nne", "tano", "sita", "saba", "nane", "tisa"]
    sentences = [" ".join(numerals[int(digit)] for digit in str(number)) for number in range(100, 130)]
    rows = [(sentence, "the same English sentence") for sentence in sentences]
    few = Rules(language_id="off", max_translations=7)
    account = account_of(MadeSource(rows), few)
    assert account.dropped == {"one side too often": 23}
    assert account.kept == 7
    any_number = Rules(language_id="off", max_translations=None)
    assert account_of(MadeSource(rows), any_number).kept == 30


def test_pairs_come_out_cleaned_in_order_with_their_places() -> None:
    rows = [("  Paka\u00a0 mweusi ", "The black cat"), (None, None, "blank line"), ("Mbwa", "The dog")]
    sifting = Sifting(MadeSource(rows, name="folder/sw.tsv"), RULES)
    assert pairs_of(sifting) == [
        Pair("sw", "Paka mweusi", "The black cat", "folder/sw.tsv:1"),
        Pair("sw", "Mbwa", "The dog", "folder/sw.tsv:3"),
    ]
    account = sifting.account
    assert (account.seen, account.kept, account.dropped) == (3, 2, {"blank line": 1})
    assert pairs_of(sifting) == [], "a stream is read once"


def test_the_account_keeps_first_places_and_a_few_examples() -> None:
    rows = [GOOD, *[("Soma zaidi", "Read more")] * 5, ("", "x")]
    account = account_of(MadeSource(rows), RULES)
    assert (account.seen, account.kept) == (7, 1)
    assert account.by_reason() == [
        ("boilerplate: web furniture", 5, "made.tsv:2"),
        ("empty side", 1, "made.tsv:7"),
    ]
    assert [one.place for one in account.examples["boilerplate: web furniture"]] == [
        f"made.tsv:{number}" for number in range(2, 2 + EXAMPLES)
    ]
    assert "empty side" not in account.examples


def test_every_rejected_pair_is_reported() -> None:
    messages: list[tuple[str | None, ...]] = []
    rows = [GOOD, GOOD, (None, None, "missing column")]
    account_of(MadeSource(rows), RULES, rejected=lambda *cells: messages.append(cells))
    assert sorted(messages, key=str) == [
        ("duplicate", "made.tsv:2", *GOOD),
        ("missing column", "made.tsv:3", None, None),
    ]


def test_captions_are_left_out() -> None:
    captions = LeakCheck(["the black cat sleeps on the table"])
    rows = [GOOD, ("Mbwa analala", "The dog sleeps")]
    account = account_of(MadeSource(rows), RULES, captions=captions)
    assert account.dropped == {"in evaluation captions": 1}
    assert captions.report().examples[0].place == "made.tsv:1"


def test_what_is_not_looked_at_is_said() -> None:
    notes = Sifting(MadeSource([GOOD]), RULES).account.notes
    assert notes == ["languages were not identified"]


def test_more_pairs_than_expected_are_noted() -> None:
    rows = [(f"neno hili ni la {number}", f"this word is {number}") for number in range(2500)]
    account = account_of(MadeSource(rows), RULES)
    assert account.kept == pytest.approx(2500, abs=25), "the filter forgets nothing and mistakes little"
    assert "--expected-pairs" in account.notes[-1]
    assert "2,5" in account.notes[-1] or "2,4" in account.notes[-1]


def test_an_empty_source_has_an_account() -> None:
    account = account_of(MadeSource([]), RULES)
    assert (account.seen, account.kept) == (0, 0)
    assert account.gathering.statistics().pairs == 0
    assert account.by_reason() == []


def test_memory_does_not_grow_with_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kivuko.bitext.cleaning.BATCH", 256)

    def many(count: int) -> Iterator[tuple[str, str]]:
        for number in range(count):
            yield f"sentensi ya {number} kati ya nyingi", f"sentence {number} out of many"

    def peak(count: int) -> int:
        tracemalloc.start()
        account_of(MadeSource(many(count)), Rules(language_id="off", expected_pairs=10_000))
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(256)  # tables that are made once
    small, large = peak(512), peak(4096)
    assert large < small + 30_000  # 3,584 more pairs would take ten times that


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.text(max_size=40), st.text(max_size=40)), max_size=30),
    st.sampled_from(["sw", "mr", "zh", "th", "qu"]),
)
def test_any_text_is_kept_clean_or_counted(rows: list[tuple[str, str]], language: str) -> None:
    sifting = Sifting(MadeSource(rows, language), RULES)
    pairs = pairs_of(sifting)
    account = sifting.account
    assert account.seen == len(rows) == len(pairs) + account.dropped.total()
    assert account.kept == len(pairs) == account.gathering.statistics().pairs
    for pair in pairs:
        for side in (pair.text, pair.english):
            assert side == clean_text(side) != ""
            side.encode("utf-8")
