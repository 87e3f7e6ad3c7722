"""How a sentence's words are carried to the words of its English translation: the transport plan between their tokens.

It is the plan that training with the transport objective sees (OPTICAL: Huang, Yu, Allan 2023, arXiv 2301.12566):
uniform marginals over content tokens, cosine cost. For people to look at, the mass of subwords is added up to words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kivuko.encoders.teacher import TextTeacher
from kivuko.encoders.text_tokens import TextTokens, text_tokens
from kivuko.errors import ModelError, UsageError
from kivuko.transport import centred_cosine_cost, cosine_cost, solve

Matrix = NDArray[np.float64]

# A plan to look at is small and solved once, so it is solved much closer than training needs.
_TOLERANCE, _MOST_ITERATIONS = 1e-6, 10_000


@dataclass(frozen=True, eq=False)
class Alignment:
    """The plan between the tokens of a text and those of its English translation, and how well it was solved.

    Attributes:
        source, target: the tokens and words of the text, and of the English.
        token_coupling: float64 [tokens, English tokens], mass moved; sums to 1 unless marginals are relaxed.
        regularization: as asked for, in units of the cost (0-2).
        transport_cost, marginal_error, iterations, converged: see :class:`kivuko.transport.Plan`.
        centred: whether the cost is of vectors relative to the teacher's mean token, as in training.
    """

    source: TextTokens
    target: TextTokens
    token_coupling: Matrix
    regularization: float
    transport_cost: float
    marginal_error: float
    iterations: int
    converged: bool
    centred: bool

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the text, those without a token included."""
        return self.source.words

    @property
    def english_words(self) -> tuple[str, ...]:
        """The words of the English."""
        return self.target.words

    @property
    def coupling(self) -> Matrix:
        """Mass moved from word to word, summed over the tokens of each: [words, English words]."""
        coupling: Matrix = _members(self.source).T @ self.token_coupling @ _members(self.target)
        return coupling


def align(
    model: Any,
    teacher: TextTeacher,
    text: str,
    english: str,
    *,
    regularization: float = 0.02,
    method: str = "sinkhorn",
    marginal_penalty: float | None = None,
    centre: Tensor | None = None,
    student_centred: bool = True,
    name: str = "the model",
) -> Alignment:
    """Align the words of a text with those of its English translation by optimal transport.

    Args:
        model: what :func:`kivuko.encoders.bundle.load_bundle` returns, or any SentenceTransformer with token vectors.
        teacher: the English encoder in whose space the model's vectors lie.
        regularization, method, marginal_penalty: of the plan, see :func:`kivuko.transport.solve`.
        centre: float [dim], the teacher's mean token, taken from the tokens before the cosine, see
            :func:`kivuko.encoders.bundle.read_token_mean`; None for the plain cosine.
        student_centred: whether it is taken from the model's tokens too, see
            :func:`kivuko.encoders.bundle.centres_student`.
        name: of the model, for messages.

    Raises:
        ModelError: the model gives no token vectors, or they are not of the teacher's width.
        UsageError: a text is empty, or no part of it is in the vocabulary; an option does not fit, see ``solve``.
    """
    source = text_tokens(model, text, name)
    target = text_tokens(teacher.model, english, teacher.name, keep_unknown=True)
    for side, what, whose in ((source, text, "model"), (target, english, "teacher")):
        if not side.words:
            raise UsageError(f"the text for the {whose} is empty: write at least one word.")
        if not side.tokens:
            raise UsageError(f"'{what[:80]}': no part of it is in the {whose}'s vocabulary. Try other words.")
    widths = {"its tokens": source.vectors.shape[1], f"those of {teacher.name}": target.vectors.shape[1]}
    if centre is not None:
        widths["the mean token"] = len(centre)
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{what} {width}" for what, width in widths.items())
        raise ModelError(f"{name}: vectors are not of one width ({told}). Name the teacher that taught it.")
    x, y = source.vectors.double()[None], target.vectors.double()[None]
    if centre is None:
        cost = cosine_cost(x, y)  # [1, n, m]
    else:
        cost = centred_cosine_cost(x, y, centre if student_centred else torch.zeros_like(centre), centre)
    plan = solve(
        cost, regularization=regularization, method=method, marginal_penalty=marginal_penalty,
        tolerance=_TOLERANCE, max_iterations=_MOST_ITERATIONS,
    )  # fmt: skip
    return Alignment(
        source, target, plan.coupling[0].double().cpu().numpy(), regularization,
        transport_cost=float(plan.transport_cost[0]), marginal_error=float(plan.marginal_error[0]),
        iterations=int(plan.iterations[0]), converged=bool(plan.converged[0]), centred=centre is not None,
    )  # fmt: skip


def row_shares(coupling: Matrix) -> Matrix:
    """Return the share of each row's mass that goes to each column; NaN in a row without mass.

    >>> row_shares(np.array([[0.375, 0.125], [0.0, 0.0]])).tolist()
    [[0.75, 0.25], [nan, nan]]
    """
    mass = coupling.sum(1, keepdims=True)
    shares: Matrix = np.divide(coupling, mass, out=np.full_like(coupling, np.nan), where=mass > 0)
    return shares


def _members(side: TextTokens) -> Matrix:
    """Return which token belongs to which word: [tokens, words], one 1 in each row."""
    members = np.zeros((len(side.tokens), len(side.words)))
    members[np.arange(len(side.tokens)), side.word_of] = 1.0
    return members
