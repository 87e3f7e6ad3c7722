"""Units that go together are matched, by plans alone; counting alone finds fewer."""

from __future__ import annotations

import itertools
import random

import pytest
import torch

from kivuko.bitext.word_alignment import align_units
from kivuko.errors import UsageError
from kivuko.transport.association import associate
from kivuko.transport.solve import solve

WORDS = 12


def corpus(pairs: int = 60, seed: int = 0) -> tuple[list[list[int]], list[list[int]]]:
    """Sentences of two to four words and their word-by-word translations in another order: word i is word i."""
    drawn = random.Random(seed)
    ours = [drawn.sample(range(WORDS), drawn.randint(2, 4)) for _ in range(pairs)]
    return ours, [drawn.sample(sentence, len(sentence)) for sentence in ours]


def share_of_the_right_one(result) -> float:
    right = result.mass[result.rows == result.cols].sum()
    return float(right / result.mass.sum())


def test_every_word_finds_its_translation():
    result = associate(*corpus(), (WORDS, WORDS))
    assert result.best() == {word: word for word in range(WORDS)}
    assert share_of_the_right_one(result) > 0.95


def test_plans_find_what_counts_leave_open():
    counted = associate(*corpus(), (WORDS, WORDS), rounds=0)
    planned = associate(*corpus(), (WORDS, WORDS))
    assert share_of_the_right_one(counted) < 0.5 < 0.95 < share_of_the_right_one(planned)


def test_what_one_pair_explains_is_not_explained_again():
    # "a" is known from a pair by itself, so in the other pair what is left must be b's.
    result = associate([[0], [0, 1]], [[0], [0, 1]], (2, 2), regularization=0.2, rounds=6)
    assert result.mean_of(torch.eye(2))[1, 1] > 0.95


ORDER = 8  # units of a sentence, and their translations in the same order or in reverse


def in_order(reverse: bool, seed: int) -> tuple[list[list[int]], list[list[int]]]:
    """Sentences of eight of thirty words, word i is word i; words 30 and 31 occur in one sentence only."""
    drawn = random.Random(seed)
    ours = [drawn.sample(range(30), ORDER) for _ in range(40)]
    ours[0] = [30, *ours[0][1:-1], 31]
    return ours, [one[::-1] if reverse else list(one) for one in ours]


@pytest.mark.parametrize("aligner", ["transport", "ibm2"])
@pytest.mark.parametrize("reverse", [False, True])
def test_distances_tell_apart_words_that_occur_once(aligner, reverse):
    ours, theirs = in_order(reverse, 0)
    other, beside = in_order(not reverse, 1)  # of another language, whose order is the other one
    shape = (64, 64)
    other, beside = ([[unit + 32 for unit in one] for one in side] for side in (other, beside))
    groups = [0] * len(ours) + [1] * len(other)
    result = align_units([*ours, *other], [*theirs, *beside], shape, aligner, groups=groups)
    mean = result.mean_of(torch.eye(64))
    for word in (30, 31, 62, 63):
        assert mean[word].argmax() == word
        assert mean[word, word] > 0.8
    blind = align_units(ours, theirs, shape, "transport" if aligner == "transport" else "ibm1").mean_of(torch.eye(64))
    assert blind[30, 30] == pytest.approx(float(blind[30, 31]), abs=1e-3), "counts alone cannot"


def test_order_that_says_nothing_changes_nothing():
    ours, theirs = corpus()
    plain, masked = (associate(ours, theirs, (WORDS, WORDS), groups=one).mass for one in (None, [-1] * len(ours)))
    assert torch.equal(plain, masked)
    first, second = (
        align_units(ours, theirs, (WORDS, WORDS), "ibm1").mass,
        align_units(ours, theirs, (WORDS, WORDS), "ibm2", groups=[-1] * len(ours)).mass,
    )
    assert torch.equal(first, second)
    with pytest.raises(UsageError, match="2 groups and 60 pairs: give one per pair"):
        associate(ours, theirs, (WORDS, WORDS), groups=[0, 0])


def test_one_round_is_the_plan_of_every_pair_at_the_cost_that_counts_give():
    ours, theirs = corpus(7, seed=3)
    counts = torch.zeros(WORDS, WORDS)
    for x, y in zip(ours, theirs, strict=True):
        for i, j in itertools.product(x, y):
            counts[i, j] += 1 / (len(x) * len(y)) * (len(x) * len(y)) ** 0.5
    strength = counts / (counts.sum(1, keepdim=True) * counts.sum(0)).sqrt().clamp_min(1e-12)
    expected = torch.zeros(WORDS, WORDS)
    for x, y in zip(ours, theirs, strict=True):
        cost = -(strength[x][:, y] + 1e-4).log()
        plan = solve((cost - cost.min())[None], regularization=0.7, tolerance=1e-6, max_iterations=5000).coupling[0]
        for (a, i), (b, j) in itertools.product(enumerate(x), enumerate(y)):
            expected[i, j] += plan[a, b] * (len(x) * len(y)) ** 0.5
    result = associate(ours, theirs, (WORDS, WORDS), regularization=0.7, rounds=1)
    dense = torch.zeros(WORDS, WORDS)
    dense[result.rows, result.cols] = result.mass
    torch.testing.assert_close(dense, expected, atol=5e-3, rtol=0)
    torch.testing.assert_close(result.row_mass(), expected.sum(1), atol=5e-3, rtol=0)


def test_blocks_of_any_size_give_the_same(monkeypatch):
    whole = associate(*corpus(), (WORDS, WORDS))
    monkeypatch.setattr("kivuko.transport.association._CELLS", 20)
    parts = associate(*corpus(), (WORDS, WORDS))
    torch.testing.assert_close(whole.mass, parts.mass, atol=1e-3, rtol=0)


def test_mean_of_weighs_vectors_by_mass_and_leaves_the_unseen_at_zero():
    result = associate([[0, 0], [2]], [[0, 1], [1]], (4, 2), rounds=0)
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert result.mean_of(vectors).tolist() == [[0.5, 0.5], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    assert result.row_mass()[[1, 3]].tolist() == [0.0, 0.0]


def test_affinity_decides_where_counts_do_not():
    def crosswise(rows: torch.Tensor, cols: torch.Tensor) -> torch.Tensor:
        return 3.0 * (rows != cols)

    assert associate([[0, 1]], [[0, 1]], (2, 2), affinity=crosswise).best() == {0: 1, 1: 0}


def test_a_unit_without_a_partner_may_stay_unmatched():
    ours, theirs = [[0, 1], [0], [1, 2], [2]], [[0], [0], [2], [2]]  # 1 has no translation
    strict = associate(ours, theirs, (3, 3), rounds=6)
    loose = associate(ours, theirs, (3, 3), rounds=6, marginal_penalty=0.3)
    assert loose.row_mass()[1] < 0.5 * strict.row_mass()[1]


def test_empty_sides_are_passed_over_and_an_empty_corpus_is_empty():
    result = associate([[0], [], [1]], [[0], [1], []], (2, 2))
    assert result.best() == {0: 0}
    assert associate([], [], (3, 2)).mean_of(torch.ones(2, 5)).shape == (3, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"row_units": [[0]], "col_units": [], "shape": (1, 1)}, "one per pair"),
        ({"row_units": [[3]], "col_units": [[0]], "shape": (3, 1)}, "row units run from 3 to 3: shape allows 0 to 2"),
        ({"row_units": [[0]], "col_units": [[-1]], "shape": (1, 1)}, "column units run from -1"),
        ({"row_units": [[0]], "col_units": [[0]], "shape": (1, 1), "rounds": -1}, "rounds is -1"),
        ({"row_units": [[0]], "col_units": [[0]], "shape": (1, 1), "regularization": 0.0}, "regularization"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(UsageError, match=message):
        associate(**arguments)
