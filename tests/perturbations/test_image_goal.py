"""Goals and losses of image attacks, against what one computes by hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from kivuko.errors import UsageError
from kivuko.perturbations.image.goal import LOSSES, ImageToText, TextToImage, broken, loss_of
from kivuko.ranks import right_ranks


def unit(count: int, seed: int, dim: int = 6) -> torch.Tensor:
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize("targeted", [False, True])
def test_search_margin_and_rank(targeted):
    queries, gallery, own = unit(5, 0), unit(9, 1), torch.tensor([0, 3, 8, 3, 5])
    perturbed, rows = unit(5, 2), torch.tensor([4, 1, 0, 2])
    goal = TextToImage(queries, gallery, own, targeted)
    margins, (scores, labels) = goal.margins(perturbed[rows], rows), goal.logits(perturbed[rows], rows)
    assert scores.shape == (4, 9)
    ranks = right_ranks(scores, labels)
    for place, row in enumerate(rows):
        images = gallery.clone()
        images[own[row]] = perturbed[row]
        expected = images @ queries[row]
        lead = expected[own[row]] - torch.cat([expected[: own[row]], expected[own[row] + 1 :]]).max()
        assert margins[place] == pytest.approx(float(-lead if targeted else lead), abs=1e-6)
        assert sorted(scores[place].tolist()) == pytest.approx(sorted(expected.tolist()), abs=1e-6)
        assert scores[place, labels[place]] == pytest.approx(float(expected[own[row]]), abs=1e-6)
        assert ranks[place] == (expected >= expected[own[row]] - 1e-7).sum()


@pytest.mark.parametrize("targeted", [False, True])
def test_naming_margin(targeted):
    texts, labels, vectors = unit(7, 0), torch.tensor([2, 6, 0]), unit(3, 1)
    goal = ImageToText(texts, labels, targeted)
    margins = goal.margins(vectors, torch.arange(3))
    for row in range(3):
        scores = texts @ vectors[row]
        lead = scores[labels[row]] - scores[torch.arange(7) != labels[row]].max()
        assert margins[row] == pytest.approx(float(-lead if targeted else lead), abs=1e-6)


def test_a_tie_counts_against_the_image_and_against_a_targeted_attacker():
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    even = torch.tensor([[0.5**0.5, 0.5**0.5]])
    for targeted in (False, True):
        goal = ImageToText(texts, torch.tensor([0]), targeted)
        assert broken(goal, goal.margins(even, torch.tensor([0]))).item() is not targeted
    assert right_ranks(*goal.logits(even, torch.tensor([0]))).item() == 2


def test_dlr_does_not_change_with_the_scale():
    texts, labels, rows = unit(9, 0, 4), torch.arange(5), torch.arange(5)
    vectors = unit(5, 1, 4)
    goal = ImageToText(texts, labels)
    aims = (labels + 3) % 9
    for name in ("dlr", "targeted-dlr"):
        loss = loss_of(goal, name, aims)
        torch.testing.assert_close(loss(vectors, rows), loss(0.01 * vectors, rows))


def test_dlr_by_hand():
    vectors, texts = torch.eye(1), torch.tensor([[0.9], [0.5], [0.4], [0.1], [0.0]])
    rows = torch.tensor([0])
    goal = ImageToText(texts, torch.tensor([0]))
    assert loss_of(goal, "margin")(vectors, rows).item() == pytest.approx(-0.4)
    assert loss_of(goal, "dlr")(vectors, rows).item() == pytest.approx(-0.4 / 0.5)
    aimed = loss_of(goal, "targeted-dlr", torch.tensor([2]))
    assert aimed(vectors, rows).item() == pytest.approx(-0.5 / (0.9 - 0.25))
    wanted = ImageToText(texts, torch.tensor([2]), targeted=True)
    assert loss_of(wanted, "dlr")(vectors, rows).item() == pytest.approx(-0.5 / 0.5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("candidates", [2, 3, 4, 30])
def test_every_loss_rises_as_the_right_candidate_falls(name, candidates):
    texts = unit(candidates, 0, 32)
    for targeted in (False, True):
        goal = ImageToText(texts, torch.tensor([0]), targeted)
        loss = loss_of(goal, name, torch.tensor([1]))
        right, wrong = (loss(texts[row, None], torch.tensor([0])).item() for row in (0, 1))
        assert right > wrong if targeted else wrong > right


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_alive_at_the_largest_lead_that_cosines_allow(name):
    texts = torch.cat(
        [torch.tensor([[1.0, 0, 0]]), F.normalize(torch.tensor([[-1.0, 0.1 * i, 0.01] for i in range(9)]))]
    )
    vector = torch.tensor([[1.0, 0.0, 0.0]], requires_grad=True)
    goal = ImageToText(texts, torch.tensor([0]))
    loss_of(goal, name, torch.tensor([4]))(vector, torch.tensor([0])).sum().backward()
    assert vector.grad.abs().sum() > 1e-20
    assert torch.isfinite(vector.grad).all()


def test_bad_goals_and_losses_are_refused():
    goal = ImageToText(unit(5, 0), torch.tensor([0]))
    with pytest.raises(UsageError, match="unknown loss 'hinge': choose one of margin, ce, dlr"):
        loss_of(goal, "hinge")
    with pytest.raises(UsageError, match="aims"):
        loss_of(goal, "targeted-dlr")
    with pytest.raises(UsageError, match="2 queries for 1 images"):
        TextToImage(unit(2, 0), unit(5, 1), torch.tensor([0]))
    with pytest.raises(UsageError, match="5 images"):
        TextToImage(unit(1, 0), unit(5, 1), torch.tensor([5]))
    with pytest.raises(UsageError, match="at least two texts"):
        ImageToText(unit(1, 0), torch.tensor([0]))
    with pytest.raises(UsageError, match="at least two images"):
        TextToImage(unit(1, 0), unit(1, 1), torch.tensor([0]))
