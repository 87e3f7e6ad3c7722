"""The transport objective: the fast path, and the options that go beside it."""

from __future__ import annotations

import dataclasses

import ot
import pytest
import torch
from token_batches import (
    E1,
    E2,
    assert_same_gradient,
    drawn,
    finite_differences,
    gradient,
    row_of,
    sentences,
    with_tokens,
)

from kivuko.encoders.token_batch import TokenBatch, masked_mean
from kivuko.losses import objectives as module
from kivuko.losses.objectives import TransportObjective
from kivuko.transport.cost import cosine_cost
from kivuko.transport.solve import solve


def test_by_hand_where_the_plan_is_forced():
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


def test_the_center_is_taken_from_both_sides():
    center = torch.tensor([10.0, 10.0])
    student, teacher = sentences([[11.0, 10.0]]), sentences([[11.0, 10.0], [10.0, 11.0]])
    assert TransportObjective(center=center)(student, teacher).total.item() == pytest.approx(0.5, abs=1e-3)
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


CENTER = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.0, -0.5], dtype=torch.float64)
EVERY_OPTION = [
    {},
    {"center": CENTER},
    {"center": CENTER, "student_centered": False},
    {"marginals": "norm"},
    {"marginals": "teacher_norm", "center": CENTER, "student_centered": False},
    {"cost": "squared_euclidean", "regularization": 2.0},
    {"marginal_penalty": 0.5},
    {"method": "sinkhorn_log"},
    {"method": "proximal"},
    {"method": "exact"},
    {"method": "greedy"},
]
NAMES = [
    ", ".join(f"{key}={value}" for key, value in one.items() if key != "center") or "plain" for one in EVERY_OPTION
]


def objective_with(options):
    return TransportObjective(**({"regularization": 0.1, "tolerance": 1e-9, "max_iterations": 20000} | options))


@pytest.fixture
def batches():
    return drawn([3, 1, 4]), drawn([2, 3, 4], seed=1)


def by_pot(student, teacher, options):
    """<plan, cost> of POT's plan of one pair of sentences, [n, dim] and [m, dim], float64."""
    center = options.get("center", torch.zeros_like(CENTER))
    theirs = teacher - center
    mine = student - center if options.get("student_centered", True) else student
    metric = {"cosine": "cosine", "squared_euclidean": "sqeuclidean"}[options.get("cost", "cosine")]
    cost = ot.dist(mine.numpy(), theirs.numpy(), metric=metric)

    def marginal(tokens, by_norm):
        length = tokens.norm(dim=1) if by_norm else torch.ones(len(tokens), dtype=torch.float64)
        return (length / length.sum()).numpy()

    chosen = options.get("marginals", "uniform")
    a, b = marginal(mine, chosen == "norm"), marginal(theirs, chosen != "uniform")
    regularization = options.get("regularization", 0.1)
    if options.get("method") in ("exact", "proximal"):
        plan = ot.emd(a, b, cost)
    elif penalty := options.get("marginal_penalty"):
        plan = ot.unbalanced.sinkhorn_unbalanced(
            a, b, cost, regularization, penalty, reg_type="kl", numItermax=100000, stopThr=1e-13
        )
    else:
        plan = ot.sinkhorn(a, b, cost, regularization, method="sinkhorn_log", numItermax=100000, stopThr=1e-13)
    return (plan * cost).sum()


@pytest.mark.parametrize("options", EVERY_OPTION[:-1], ids=NAMES[:-1])
def test_every_option_against_pot(batches, options):
    student, teacher = batches
    expected = [by_pot(row_of(student, row), row_of(teacher, row), options) for row in range(3)]
    value = objective_with(options)(student, teacher)
    assert value.total.item() == pytest.approx(
        sum(expected) / 3, rel=1e-3 if options.get("method") == "proximal" else 1e-5
    )
    assert value.parts["unconverged"].item() == 0


def test_greedy_against_a_search_by_hand(batches):
    student, teacher = batches
    total = 0.0
    for row in range(3):
        cost = cosine_cost(row_of(student, row)[None], row_of(teacher, row)[None])[0]
        matches = min(cost.shape)
        for _ in range(matches):
            place = divmod(int(cost.argmin()), cost.shape[1])
            total += cost[place].item() / matches / 3
            cost[place[0]], cost[:, place[1]] = torch.inf, torch.inf
    value = objective_with({"method": "greedy"})(student, teacher)
    assert value.total.item() == pytest.approx(total)
    assert value.parts.keys() == {"transport"}, "there is nothing that greedy could converge to"


@pytest.mark.parametrize("options", EVERY_OPTION, ids=NAMES)
def test_padding_changes_nothing_whatever_it_holds(batches, options):
    student, teacher = batches
    objective = objective_with(options)
    longer = (drawn([3, 1, 4], longest=7, junk=torch.nan), drawn([2, 3, 4], seed=1, longest=6, junk=torch.nan))
    torch.testing.assert_close(objective(*longer).total, objective(student, teacher).total)
    slope = gradient(objective, *longer)
    torch.testing.assert_close(slope[:, :4], gradient(objective, student, teacher))
    assert slope[:, 4:].abs().max() == 0


@pytest.mark.parametrize("options", EVERY_OPTION, ids=NAMES)
def test_empty_rows_are_harmless_under_every_option(options):
    student, teacher = drawn([2, 0, 3, 0]), drawn([3, 2, 0, 0], seed=1)
    objective = objective_with(options)
    alone = objective(drawn([2]), TokenBatch(teacher.tokens[:1], teacher.mask[:1], teacher.pooled[:1]))
    value = objective(student, teacher)
    assert value.total.item() == pytest.approx(alone.total.item())
    assert value.parts.get("unconverged", torch.zeros(())).item() == 0
    slope = gradient(objective, student, teacher)
    assert slope[0].abs().max() > 0
    assert slope[1:].abs().max() == 0


@pytest.mark.parametrize("options", [EVERY_OPTION[2], *EVERY_OPTION[-2:]], ids=["teacher", "exact", "greedy"])
def test_where_the_plan_stays_the_gradient_is_that_of_the_value(batches, options):
    # A sharp plan does not follow small changes of the tokens, so holding it fixed is exact.
    objective = objective_with(options | ({} if "method" in options else {"regularization": 0.002}))
    expected = finite_differences(objective, *batches)
    torch.testing.assert_close(gradient(objective, *batches), expected, atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize("options", EVERY_OPTION[3:7], ids=NAMES[3:7])
def test_elsewhere_it_is_that_of_the_cost_under_the_fixed_plan(batches, options):
    student, teacher = batches
    objective, frozen = objective_with(options), {}

    def remembered(cost, *marginals, **settings):
        plan = solve(cost, *marginals, **settings)
        frozen.setdefault("coupling", plan.coupling)
        return dataclasses.replace(plan, transport_cost=(frozen["coupling"] * cost.nan_to_num()).sum((1, 2)))

    slope = gradient(objective, student, teacher)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "solve", remembered)
        expected = finite_differences(objective, student, teacher)
    assert_same_gradient(slope, expected)


@pytest.mark.parametrize("centered", [True, False])
def test_the_fast_path_and_the_padded_one_agree(batches, centered):
    for center in (None, CENTER):
        objective = objective_with({"center": center, "student_centered": centered})
        padded = dataclasses.replace(objective, method="sinkhorn_log")
        torch.testing.assert_close(objective(*batches).total, padded(*batches).total)
        torch.testing.assert_close(gradient(objective, *batches), gradient(padded, *batches))


@pytest.mark.parametrize("options", EVERY_OPTION[:3], ids=["plain", "both", "teacher"])
def test_the_plain_problem_takes_the_fast_path(batches, options, monkeypatch):
    monkeypatch.setattr(module, "solve", None)
    objective_with(options)(*batches)


def test_a_center_of_the_teachers_own_lets_short_student_tokens_tell_words_apart():
    # The teacher's words share a long common part. A student of unit vectors less that part is one direction only.
    center = torch.tensor([10.0, 10.0])
    student, teacher = sentences([E1, E2]), sentences([[11.0, 10.0], [10.0, 11.0]])
    both = TransportObjective(center=center)(student, teacher)
    own = TransportObjective(center=center, student_centered=False)(student, teacher)
    assert own.total.item() == pytest.approx(0, abs=1e-3)
    assert both.total.item() > 1


def test_masses_by_norm_carry_no_gradient_and_follow_the_longer_token():
    student, teacher = sentences([E1]), sentences([[3.0, 0.0], E2])
    student.tokens.requires_grad_()
    value = TransportObjective(marginals="teacher_norm")(student, teacher)
    assert value.total.item() == pytest.approx(1 / 4)


def test_a_sentence_of_zero_vectors_has_a_mass_by_norm_all_the_same():
    zeros = with_tokens(torch.zeros(1, 2, 2), torch.ones(1, 2, dtype=torch.bool))
    assert TransportObjective(marginals="norm")(zeros, sentences([E1])).total.item() == pytest.approx(1)


def test_relaxed_marginals_leave_what_is_dear_where_it_is_and_say_how_much_moved():
    # One token against one: of mass whose way costs c, exp(-c / (2 penalty)) moves, but for the regularization.
    objective = TransportObjective(marginal_penalty=0.25, regularization=1e-3, max_iterations=5000, tolerance=1e-6)
    value = objective(sentences([E1], []), sentences([E2], [E1]))
    moved = torch.tensor(-1 / 0.5).exp().item()
    assert value.parts["mass"].item() == pytest.approx(moved, rel=0.01)
    assert value.total.item() == pytest.approx(moved, rel=0.01)
    assert "mass" not in TransportObjective()(sentences([E1]), sentences([E2])).parts
