"""Token-level distillation along a greedy one-to-one matching: what transport is measured against.

Source: DR.DECR (Li et al. 2022, "Learning Cross-Lingual IR from an English Retriever", arXiv 2112.08185): the nearest
pair of unmatched tokens is matched first, by cosine distance and without gradient, until one side is used up; the
loss is the mean squared error of the matched pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from kivuko.distill.barycentre import error_along_plans
from kivuko.distill.objective import ObjectiveValue, filled_rows
from kivuko.encoders.token_batch import TokenBatch


@dataclass(frozen=True)
class GreedyObjective:
    """Mean over the batch, and over a sentence's matched pairs, of the squared distance between matched tokens.

    The square is summed over the width, as in SentenceMSE. Unmatched tokens of the longer side learn nothing here.

    Args:
        centre: float [dim], the teacher's corpus mean; None: tokens as they are.
        student_centred: True: tokens are matched centred on both sides, and the squares, which do not change when
            both sides are moved, are those of the tokens as they are. False: the centre is taken from the teacher's
            tokens only, and the student learns those.
    """

    centre: Tensor | None = None
    student_centred: bool = True

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """See Objective."""
        # Each row of a matching holds one match or none, so its barycentre is the match.
        error, _ = error_along_plans(student, teacher, self.centre, self.student_centred, method="greedy")
        total = error / filled_rows(student, teacher)
        return ObjectiveValue(total, {"greedy": total.detach()})
