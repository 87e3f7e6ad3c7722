"""Losses that attacks on images push up, all of them on retrieval scores (cosines)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional as F

from kivuko.attacks.image.goal import ImageGoal, lead_of
from kivuko.errors import UsageError

Loss = Callable[[Tensor, Tensor], Tensor]  # (unit vectors [batch, dim], rows int64 [batch]) -> float [batch]
LossName = Literal["margin", "ce", "dlr", "targeted-dlr"]
LOSSES: tuple[str, ...] = get_args(LossName)

# Cosines lie in [-1, 1]. Times 20, a lead of 0.3 is worth 6 nats, so the softmax neither goes flat over thousands of
# candidates nor rounds to 0 and 1; at the 100 of CLIP it is 30 nats, and float32 has lost the gradient.
CE_SCALE = 20.0


def loss_of(goal: ImageGoal, name: LossName, aims: Tensor | None = None) -> Loss:
    """Return the loss of a name against a goal.

    - "margin": the lead of the labelled candidate over the best other one, negated.
    - "ce": cross entropy of the cosines times 20.
    - "dlr": the lead over the difference of the largest and third largest score, negated, which does not change with
      the scale of the scores (Croce & Hein 2020, equation 6).
    - "targeted-dlr": the lead over one candidate, divided by the difference of the largest and the mean of the third
      and fourth largest score, negated (equation 7).

    With three candidates or fewer there is nothing to divide by: then both are leads. Against a targeted goal the
    signs are the other way round, and "targeted-dlr" is "dlr". Where one score decides every loss is the margin.

    Args:
        aims: of "targeted-dlr", the candidate to pull up for each image of the goal, int64 [images].

    Raises:
        UsageError: an unknown loss, or "targeted-dlr" without aims.
    """
    if name not in LOSSES:
        raise UsageError(f"unknown loss '{name}': choose one of {', '.join(LOSSES)}.")
    if name == "margin" or goal.one_score:
        return lambda vectors, rows: -goal.margins(vectors, rows)
    if name == "targeted-dlr" and aims is None and not goal.targeted:
        raise UsageError("targeted-dlr needs the candidates to pull up: give aims, or choose dlr.")
    sign = -1 if goal.targeted else 1

    def cross_entropy(vectors: Tensor, rows: Tensor) -> Tensor:
        scores, labels = goal.logits(vectors, rows)
        return sign * F.cross_entropy(scores * CE_SCALE, labels, reduction="none")

    def ratio(vectors: Tensor, rows: Tensor) -> Tensor:
        scores, labels = goal.logits(vectors, rows)
        return -sign * lead_of(scores, labels) / _spread(scores, mean=False)

    def aimed_ratio(vectors: Tensor, rows: Tensor) -> Tensor:
        assert aims is not None
        scores, labels = goal.logits(vectors, rows)
        lead = scores.gather(1, labels[:, None]) - scores.gather(1, aims[rows, None])
        return -lead[:, 0] / _spread(scores, mean=True)

    if name == "ce":
        return cross_entropy
    return ratio if name == "dlr" or goal.targeted else aimed_ratio


def _spread(scores: Tensor, mean: bool) -> Tensor | float:
    """Return what DLR divides by: how far the best score is above the third, or above the mean of the next two."""
    if scores.shape[1] <= 3:
        return 1.0
    top = scores.topk(4, dim=1).values
    return (top[:, 0] - (top[:, 2:].mean(1) if mean else top[:, 2])).clamp_min(1e-12)
