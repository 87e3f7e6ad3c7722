"""Evaluation captions in training text: detected in three ways, in any script, on both sides, and nowhere else."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.bitext.leak import NEAR, RUN, SAME, LeakCheck, hash_edged_bigrams, hash_runs, hash_sentences, hash_words
from kivuko.errors import UsageError
from kivuko.text import word_list

CAPTIONS = [
    "Two young children are playing football on a muddy field behind the school",
    "A black cat sleeps on the kitchen table",
    "Paka mweusi amelala juu ya meza ya jikoni",
    "काळी मांजर स्वयंपाकघरातील टेबलावर झोपली आहे",
    "一只黑色的猫正在厨房的桌子上安静地睡觉",
    "Tree",
]


def look_for(*pairs: tuple[str, str]) -> tuple[list[bool], dict[str, int], LeakCheck]:
    check = LeakCheck(CAPTIONS)
    leaks = check.look([text for text, _ in pairs], [english for _, english in pairs], lambda row: f"f.tsv:{row + 1}")
    return leaks.tolist(), check.report().leaked, check


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("a BLACK cat sleeps on the kitchen table.", SAME),
        ("Paka mweusi, amelala juu ya meza ya jikoni!", SAME),
        ("tree", SAME),
        ("I saw two young children are playing football on a muddy street", RUN),
        ("昨天我看见一只黑色的猫正在厨房的桌子上", RUN),
        ("A black cat sleeps on the kitchen tables", NEAR),
        ("A black cat sleeps on a kitchen table", NEAR),
        ("Paka mweusi amelala juu ya meza za jikoni", NEAR),
        ("काळी मांजर स्वयंपाकघरातील टेबलावर झोपलेली आहे", NEAR),
        ("Two children are playing football on a muddy field behind the school", RUN),
    ],
)
@pytest.mark.parametrize("side", [0, 1])
def test_a_caption_is_detected_on_either_side(sentence: str, kind: str, side: int) -> None:
    other = "something else"
    pair = (sentence, other) if side == 0 else (other, sentence)
    leaks, kinds, check = look_for(("Mbwa", "A dog"), pair)
    assert leaks == [False, True]
    assert {name: count for name, count in kinds.items() if count} == {kind: 1}
    example = check.report().examples[0]
    assert (example.kind, example.sentence, example.place) == (kind, sentence, "f.tsv:2")
    assert example.caption in CAPTIONS


@pytest.mark.parametrize(
    "sentence",
    [
        "", "...", "A tree stands in the garden", "The kitchen table is black and the cat is asleep under it",
        "Two old men are playing chess on a bench behind the church", "Mbwa mweupe amelala chini ya kiti",
        "白色的狗在花园里跑", "पांढरा कुत्रा बागेत धावत आहे",
    ],
)  # fmt: skip
def test_other_sentences_are_no_leak(sentence: str) -> None:
    assert look_for((sentence, sentence))[0] == [False]


def test_a_caption_counts_once_in_its_surest_way() -> None:
    near, same = "A black cat sleeps on the kitchen tables", "A black cat sleeps on the kitchen table"
    leaks, kinds, check = look_for((near, ""), (same, same), ("", near))
    assert leaks == [True, True, True]
    report = check.report()
    assert kinds == {SAME: 1, RUN: 0, NEAR: 0}
    assert (report.total, report.pairs, report.looked, report.captions) == (1, 3, 3, len(CAPTIONS))
    assert report.share == pytest.approx(1 / len(CAPTIONS))


def test_captions_that_differ_in_case_and_stops_alone_are_one() -> None:
    assert LeakCheck(["A cat.", "a cat", "A CAT!", "...", ""]).report().captions == 1


@pytest.mark.parametrize("captions", [[], [""], ["...", "?!"]])
def test_no_caption_at_all_is_refused(captions: list[str]) -> None:
    with pytest.raises(UsageError, match="no evaluation caption"):
        LeakCheck(captions)


@pytest.mark.parametrize("similarity", [0.5, 1.1, float("nan")])
def test_a_similarity_out_of_range_is_refused(similarity: float) -> None:
    with pytest.raises(UsageError, match="similarity"):
        LeakCheck(["a cat"], similarity=similarity)


def test_one_changed_word_in_ten_is_nearly_always_detected_among_many() -> None:
    chosen = random.Random(0)
    vocabulary = [f"w{number}x" for number in range(2000)]
    captions = [" ".join(chosen.choices(vocabulary, k=12)) for _ in range(500)]
    check = LeakCheck(captions, similarity=0.8)
    changed = []
    for caption in captions:
        words = caption.split()
        words[chosen.choice([3, 4, 7, 8])] = "other"  # no run of eight stays
        changed.append(" ".join(words))
    leaks = check.look(changed, [""] * len(changed), str)
    assert leaks.mean() > 0.97
    unrelated = [" ".join(chosen.choices(vocabulary, k=12)) for _ in range(500)]
    assert not check.look(unrelated, unrelated, str).any()


@settings(deadline=None, max_examples=80)
@given(st.lists(st.text(alphabet="ab cD é黑猫.\n-7", max_size=30), min_size=1, max_size=8))
def test_sentences_hash_alike_when_their_words_are_the_same(texts: list[str]) -> None:
    hashes = hash_words(texts)
    whole = hash_sentences(hashes).tolist()
    runs, rows = hash_runs(hashes, 3)
    assert hashes.counts.sum() == len(hashes.words)
    assert len(runs) == sum(max(0, count - 2) for count in hashes.counts.tolist())
    assert rows.tolist() == sorted(rows.tolist())
    pairs, pair_rows = hash_edged_bigrams(hashes)
    expected = [count + 1 if count else 0 for count in hashes.counts.tolist()]
    assert [pair_rows.tolist().count(row) for row in range(len(texts))] == expected
    assert len(pairs) == sum(expected)
    alone = [hash_sentences(hash_words([text])).tolist()[0] for text in texts]
    assert whole == alone, "the batch does not matter"
    spaced = [" ".join(word_list(re.sub("([黑猫])", r" \1 ", re.sub("[-.]", " ", text)))) for text in texts]
    assert whole == hash_sentences(hash_words(spaced)).tolist()
    for one, one_words in zip(whole, spaced, strict=True):
        assert (one == 0) == (not one_words)
        for other, other_words in zip(whole, spaced, strict=True):
            assert (one == other) == (one_words == other_words)
