"""IBM Model 1 against EM by hand and in plain Python; the other aligners; one interface for all."""

from __future__ import annotations

import random
import sys
import time
from collections import defaultdict

import pytest
import torch

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.bitext.sampling import word_table
from kivuko.bitext.word_alignment import ALIGNERS, align_units, ibm1
from kivuko.errors import MissingDependencyError, UsageError

needs_fast_align = pytest.mark.skipif(sys.version_info >= (3, 12) or sys.platform != "linux", reason="no wheel")
EVERY = [pytest.param(one, marks=needs_fast_align) if one == "fast_align" else one for one in ALIGNERS]
WORDS = 12


def corpus(pairs=80, seed=0):
    """Sentences of two to four words and their word-by-word translations in another order: word i is word i."""
    drawn = random.Random(seed)
    ours = [drawn.sample(range(WORDS), drawn.randint(2, 4)) for _ in range(pairs)]
    return ours, [drawn.sample(sentence, len(sentence)) for sentence in ours]


def dense(association):
    matrix = torch.zeros(association.shape)
    matrix[association.rows, association.cols] = association.mass
    return matrix


def plain_counts(generated, givers, size, rounds, bonus=lambda unit, giver: 0.0):
    """IBM Model 1 with a null word (None), sentence by sentence, in dictionaries."""
    from math import exp

    probability = defaultdict(lambda: 1 / size)
    for _ in range(rounds):
        counts, totals = defaultdict(float), defaultdict(float)
        for units, others in zip(generated, givers, strict=True):
            for unit in units:
                score = {None: probability[unit, None]}
                likely = [probability[unit, other] * exp(bonus(unit, other)) for other in others]
                total = score[None] + sum(likely)
                for other, one in [*zip(others, likely, strict=True), (None, score[None])]:
                    counts[unit, other] += one / total
                    totals[other] += one / total
        probability = defaultdict(float, {key: value / totals[key[1]] for key, value in counts.items()})
    return counts


def test_two_rounds_of_expectation_maximization_by_hand():
    # das Haus - the house; das - the. Round 1, all likely alike: "das" of the first pair takes 1/3 from the, house and
    # null, of the second 1/2 from the and null. So c(das, the) = 5/6, c(Haus, the) = 1/3: t(das | the) = 5/7, and in
    # the same way t(das | house) = 1/2, t(das | null) = 5/7; t(Haus | ...) = 2/7, 1/2, 2/7.
    # Round 2: "Haus" takes (2/7, 1/2, 2/7) / (15/14) = (4/15, 7/15, 4/15) from the, house, null.
    # "das" takes (5/7) / (27/14) = 10/27 from the in the first pair and 1/2 in the second.
    # The two sides are alike, so both directions give the same, and the geometric mean is of c(x, y) and c(y, x).
    ours = dense(ibm1([[0, 1], [0]], [[0, 1], [0]], (2, 2), rounds=2))
    das_the, haus_the, das_house, haus_house = 10 / 27 + 1 / 2, 4 / 15, 7 / 27, 7 / 15
    cross = (haus_the * das_house) ** 0.5
    torch.testing.assert_close(ours, torch.tensor([[das_the, cross], [cross, haus_house]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("spelled", [False, True])
def test_ibm1_is_the_plain_algorithm_in_both_directions(spelled):
    ours, theirs = corpus(30, seed=5)
    ours[3] = [*ours[3], ours[3][0]]  # a word that occurs twice

    def alike(rows, cols):
        return 0.7 * (rows == cols)

    result = dense(ibm1(ours, theirs, (WORDS, WORDS), rounds=4, affinity=alike if spelled else None))
    bonus = (lambda one, other: 0.7 * (one == other)) if spelled else (lambda one, other: 0.0)
    forward = plain_counts(ours, theirs, WORDS, 4, bonus)
    backward = plain_counts(theirs, ours, WORDS, 4, bonus)
    expected = torch.zeros(WORDS, WORDS)
    for row in range(WORDS):
        for col in range(WORDS):
            expected[row, col] = (forward[row, col] * backward[col, row]) ** 0.5
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("aligner", EVERY)
def test_every_aligner_finds_the_words_and_takes_the_same_input(aligner):
    ours, theirs = corpus()
    result = align_units([*ours, [], [0]], [*theirs, [1], []], (WORDS + 1, WORDS), aligner)
    assert result.best() == {word: word for word in range(WORDS)}
    assert result.mean_of(torch.eye(WORDS))[WORDS].sum() == 0  # a unit that does not occur
    assert (result.mass >= 0).all()
    assert len(align_units([], [], (3, 2), aligner).mass) == 0


@pytest.mark.parametrize("aligner", EVERY)
def test_every_aligner_lets_spelling_decide_what_counts_leave_open(aligner):
    def alike(rows, cols):
        return 6.0 * (rows == cols)

    result = dense(align_units([[0, 1]] * 3, [[0, 1]] * 3, (2, 2), aligner, affinity=alike))
    assert result[0, 0] > 2 * result[0, 1]


@pytest.mark.parametrize("aligner", EVERY)
def test_every_aligner_gives_the_same_twice_and_makes_a_word_table(aligner):
    first, again = (align_units(*corpus(), (WORDS, WORDS), aligner).mass for _ in range(2))
    assert torch.equal(first, again)
    pairs = [("paka analala", "cat sleeps"), ("paka", "cat"), ("mbwa analala", "dog sleeps"), ("mbwa", "dog")]
    bitext = Bitext(tuple(Pair("sw", text, english, "test") for text, english in pairs * 5))
    table = word_table(bitext, "sw", aligner=aligner)
    assert (table["paka"], table["mbwa"]) == ("cat", "dog")


def test_ibm1_takes_seconds_for_twenty_thousand_pairs():
    drawn = random.Random(0)
    ours, theirs = ([[drawn.randrange(8000) for _ in range(20)] for _ in range(1000)] for _ in range(2))
    started = time.process_time()
    ibm1(ours, theirs, (8000, 8000))
    assert time.process_time() - started < 4  # a twentieth of them


def test_an_unknown_aligner_and_a_missing_package_are_one_line(monkeypatch):
    with pytest.raises(UsageError, match="no aligner 'giza': choose one of transport, ibm1, ibm2, fast_align, counts"):
        align_units([[0]], [[0]], (1, 1), "giza")
    monkeypatch.setattr("kivuko.bitext.word_alignment.has_fast_align", lambda: False)
    with pytest.raises(MissingDependencyError, match=r"pip install 'kivuko\[align\]'"):
        align_units([[0]], [[0]], (1, 1), "fast_align")
