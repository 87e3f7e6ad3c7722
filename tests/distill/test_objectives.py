"""Objectives against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from kivuko.distill.objective import WeightedSum
from kivuko.distill.sentence import SentenceContrastive, SentenceCosine, SentenceMSE
from kivuko.distill.transport import TransportObjective
from kivuko.encoders.token_batch import TokenBatch, masked_mean
from kivuko.transport import cosine_cost, solve

E1, E2 = [1.0, 0.0], [0.0, 1.0]


def pooled(*rows):
    """A batch of which only the sentence vectors matter."""
    vectors = torch.tensor(rows)
    return TokenBatch(torch.zeros(len(rows), 1, vectors.shape[1]), torch.ones(len(rows), 1, dtype=torch.bool), vectors)


def sentences(*rows, dim=2):
    """A batch of sentences of given token vectors, padded with junk that nobody should see."""
    length = max(1, *map(len, rows))
    tokens, mask = torch.full((len(rows), length, dim), 7.0), torch.zeros(len(rows), length, dtype=torch.bool)
    for row, vectors in enumerate(rows):
        for place, vector in enumerate(vectors):
            tokens[row, place], mask[row, place] = torch.tensor(vector), True
    return TokenBatch(tokens, mask, masked_mean(tokens, mask))


def test_mse_by_hand():
    value = SentenceMSE()(pooled([1.0, 2.0], [0.0, 0.0]), pooled([0.0, 0.0], [3.0, 4.0]))
    assert value.total.item() == pytest.approx((5 + 25) / 2)
    assert value.parts["mse"].item() == pytest.approx(15)


def test_cosine_by_hand():
    value = SentenceCosine()(pooled([3.0, 0.0], [1.0, 1.0], [2.0, 0.0]), pooled(E2, [5.0, 5.0], [-1.0, 0.0]))
    assert value.total.item() == pytest.approx((1 + 0 + 2) / 3)
    assert value.parts.keys() == {"cosine"}


def test_contrastive_by_hand():
    # Each student vector has cosine 1 with its own and 0 with the other: log(1 + exp(-1 / temperature)).
    value = SentenceContrastive(temperature=0.5)(pooled([2.0, 0.0], [0.0, 3.0]), pooled([5.0, 0.0], E2))
    assert value.total.item() == pytest.approx(math.log(1 + math.exp(-2)))
    swapped = SentenceContrastive(temperature=0.5)(pooled(E2, E1), pooled(E1, E2))
    assert swapped.total.item() == pytest.approx(math.log(1 + math.exp(2)))


def test_contrastive_takes_one_english_sentence_in_several_languages_as_one_target():
    # Rows 0 and 1 translate the same sentence. Were they wrong answers to each other, the loss would be log 2.
    value = SentenceContrastive(temperature=0.5)(pooled(E1, E1), pooled(E1, E1))
    assert value.total.item() == 0
    alone = SentenceContrastive(temperature=0.5)(pooled(E1, E2), pooled(E1, E2)).total.item()
    assert SentenceContrastive(temperature=0.5)(pooled(E1, E1, E2), pooled(E1, E1, E2)).total.item() < 1.5 * alone


def test_contrastive_knows_equal_sentences_under_autocast():
    torch.manual_seed(0)
    one = torch.randn(384).tolist()
    with torch.autocast("cpu", torch.bfloat16):
        assert SentenceContrastive()(pooled(one, one), pooled(one, one)).total.item() == 0


def test_contrastive_of_one_sentence_alone_is_nothing_and_has_no_nan():
    student = pooled(E1)
    student.pooled.requires_grad_()
    value = SentenceContrastive()(student, pooled(E2))
    value.total.backward()
    assert value.total.item() == 0
    assert student.pooled.grad.abs().max() == 0


def test_a_weighted_sum_weighs_the_total_and_leaves_the_parts():
    student, teacher = pooled([1.0, 2.0]), pooled([0.0, 0.0])
    value = WeightedSum([(2.0, SentenceMSE()), (0.5, SentenceCosine())])(student, teacher)
    assert value.parts["mse"].item() == pytest.approx(5)
    assert value.parts["cosine"].item() == pytest.approx(1)
    assert value.total.item() == pytest.approx(2 * 5 + 0.5 * 1)


@pytest.mark.parametrize("objective", [SentenceMSE(), SentenceCosine(), SentenceContrastive(), TransportObjective()])
def test_parts_carry_no_gradient_and_totals_do(objective):
    student = sentences([E1, E2], [E2])
    student.tokens.requires_grad_()
    student.pooled.requires_grad_()
    value = objective(student, sentences([E1], [[1.0, 1.0]]))
    assert value.total.requires_grad
    assert value.total.shape == ()
    assert not any(part.requires_grad for part in value.parts.values())


def test_transport_by_hand_where_the_plan_is_forced():
    # One student token must serve both teacher tokens: half of the mass at cost 0, half at cost 1.
    value = TransportObjective()(sentences([E1]), sentences([E1, E2]))
    assert value.total.item() == pytest.approx(0.5, abs=1e-3)
    assert value.parts["transport"].item() == value.total.item()
    assert value.parts["unconverged"].item() == 0


def test_transport_follows_the_words_wherever_they_stand():
    value = TransportObjective(regularization=0.02)(sentences([E1, E2]), sentences([E2, E1]))
    assert value.total.item() == pytest.approx(0, abs=1e-3)


def test_a_diffuse_plan_pairs_everything_with_everything():
    value = TransportObjective(regularization=50.0)(sentences([E1, E2]), sentences([E2, E1]))
    assert value.total.item() == pytest.approx(0.5, abs=0.01)


def test_the_centre_is_taken_from_both_sides():
    centre = torch.tensor([10.0, 10.0])
    student, teacher = sentences([[11.0, 10.0]]), sentences([[11.0, 10.0], [10.0, 11.0]])
    assert TransportObjective(centre=centre)(student, teacher).total.item() == pytest.approx(0.5, abs=1e-3)
    assert TransportObjective()(student, teacher).total.item() < 0.01, "without it all tokens look alike"


def test_masked_tokens_do_not_matter():
    alone = TransportObjective()(sentences([E1]), sentences([E1, E2])).total
    padded = TransportObjective()(sentences([E1], [E1, E2, E1]), sentences([E1, E2], [E1])).total
    other = TransportObjective()(sentences([E1, E2, E1]), sentences([E1])).total
    assert padded.item() == pytest.approx((alone.item() + other.item()) / 2, abs=1e-3)


def test_empty_rows_are_harmless_and_do_not_dilute_the_mean():
    student, teacher = sentences([E1], [], [E1], []), sentences([E1, E2], [E1], [], [])
    student.tokens.requires_grad_()
    value = TransportObjective()(student, teacher)
    assert value.total.item() == pytest.approx(0.5, abs=1e-3)
    assert value.parts["unconverged"].item() == 0
    value.total.backward()
    assert student.tokens.grad.isfinite().all()
    assert student.tokens.grad[1:].abs().max() == 0
    assert student.tokens.grad[0].abs().max() > 0


def test_a_batch_of_nothing_but_empty_rows_costs_nothing():
    student = sentences([], [])
    student.tokens.requires_grad_()
    value = TransportObjective()(student, sentences([], []))
    value.total.backward()
    assert value.total.item() == 0
    assert student.tokens.grad.abs().max() == 0


def test_the_gradient_is_that_of_the_cost_under_the_fixed_plan_and_reaches_the_student_only():
    torch.manual_seed(0)
    tokens, teacher_tokens = torch.randn(3, 4, 8), torch.randn(3, 5, 8)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()
    teacher_mask = torch.tensor([[1] * 5, [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]).bool()
    mine, direct = tokens.clone().requires_grad_(), tokens.clone().requires_grad_()
    student = TokenBatch(mine, mask, masked_mean(mine, mask))
    teacher = TokenBatch(teacher_tokens, teacher_mask, masked_mean(teacher_tokens, teacher_mask))
    TransportObjective(regularization=0.1)(student, teacher).total.backward()

    cost = cosine_cost(direct, teacher_tokens)
    plan = solve(
        cost.detach(), row_mask=mask, col_mask=teacher_mask, regularization=0.1, tolerance=1e-3, max_iterations=100
    )
    ((plan.coupling * cost).sum() / 3).backward()
    torch.testing.assert_close(mine.grad, direct.grad)
    assert mine.grad[mask].abs().max() > 0
    assert mine.grad[~mask].abs().max() == 0
    assert teacher_tokens.grad is None


def test_identical_tokens_cost_little_and_less_than_shuffled_ones():
    torch.manual_seed(0)
    tokens = torch.randn(6, 4, 16)
    mask = torch.ones(6, 4, dtype=torch.bool)
    same = TokenBatch(tokens, mask, masked_mean(tokens, mask))
    shuffled = TokenBatch(tokens.roll(1, 0), mask, masked_mean(tokens.roll(1, 0), mask))
    objective = TransportObjective(regularization=0.02)
    assert objective(same, same).total.item() < 0.01
    assert objective(same, shuffled).total.item() > 0.5


def test_plans_that_do_not_converge_are_counted():
    torch.manual_seed(0)
    tokens = torch.randn(4, 6, 8)
    mask = torch.ones(4, 6, dtype=torch.bool)
    mask[0, 1:] = False  # one token against one: any plan is right at once
    batch = TokenBatch(tokens, mask, masked_mean(tokens, mask))
    other = TokenBatch(tokens.flip(0, 2).roll(1, 1), mask, batch.pooled)
    objective = TransportObjective(regularization=0.01, tolerance=1e-6, max_iterations=1)
    assert objective(batch, other).parts["unconverged"].item() == pytest.approx(3 / 4)
