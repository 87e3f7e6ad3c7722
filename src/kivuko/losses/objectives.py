"""The objectives of distillation: each compares a student's and a teacher's encoding of the same sentences."""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kivuko.encoders.token_batch import TokenBatch
from kivuko.transport.alignment import TokenLists, align_lists
from kivuko.transport.cost import cosine_cost, squared_euclidean_cost
from kivuko.transport.marginals import full_precision, normalize, working_dtype
from kivuko.transport.problem import Plan
from kivuko.transport.solve import solve
from kivuko.vectors import rescaled


@dataclass(frozen=True, slots=True)
class ObjectiveValue:
    """A scalar to minimize, and its named parts to show (each a scalar, before weighting)."""

    total: Tensor
    parts: dict[str, Tensor]


class Objective(Protocol):
    """A function of a student's and a teacher's encoding of the same sentences whose value is to be minimized.

    An objective with weights is a torch module: they are trained with the student's.
    """

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue | Tensor:
        """Compare row i of ``student`` with row i of ``teacher``; the teacher carries no gradient."""
        ...


@dataclass(frozen=True)
class WeightedSum:
    """The sum of objectives, each times its weight."""

    terms: Sequence[tuple[float, Objective]]

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        values = [(weight, _named(objective, objective(student, teacher))) for weight, objective in self.terms]
        parts: dict[str, Tensor] = {}
        for place, (_, value) in enumerate(values, start=1):  # no part hides another of its name
            parts |= {f"{name}_{place}" if name in parts else name: part for name, part in value.parts.items()}
        total = sum((weight * value.total for weight, value in values), student.pooled.new_zeros(()))
        return ObjectiveValue(total, parts)

    def learned(self) -> nn.ModuleDict:
        """Return the objectives that have weights of their own, by their place in the sum; most sums have none."""
        places = enumerate(objective for _, objective in self.terms)
        return nn.ModuleDict({str(place): one for place, one in places if isinstance(one, nn.Module)})


def _named(objective: Objective, value: ObjectiveValue | Tensor) -> ObjectiveValue:
    """Give a bare tensor a name to show, the class's."""
    if isinstance(value, ObjectiveValue):
        return value
    return ObjectiveValue(value, {type(objective).__name__: value.detach()})


def centered_tokens(
    student: TokenBatch, teacher: TokenBatch, center: Tensor | None, student_centered: bool
) -> tuple[Tensor, Tensor]:
    """Return the student's tokens [batch, n, dim] and the teacher's [batch, m, dim], without the common part.

    ``center``: [dim], taken from every token of the teacher's; None: from none. Both are zero where masked, float64 if
    a side is, else float32. Only the student's carry a gradient.
    """
    dtype = working_dtype(student.tokens, teacher.tokens)
    mine, theirs = student.tokens.to(dtype), teacher.tokens.detach().to(dtype)
    if center is not None:
        theirs = theirs - center.to(theirs)
        mine = mine - center.to(mine) if student_centered else mine
    return torch.where(student.mask[..., None], mine, 0.0), torch.where(teacher.mask[..., None], theirs, 0.0)


def filled_rows(student: TokenBatch, teacher: TokenBatch) -> Tensor:
    """Count the sentences that have content tokens on both sides, for an undiluted mean; 1 if there are none."""
    return (student.mask.any(1) & teacher.mask.any(1)).sum().clamp(min=1)


@dataclass(frozen=True)
class SentenceMSE:
    """Mean squared error between pooled vectors, summed over the width, so that weights suit teachers of any width.

    Source: Multilingual-CLIP (Carlsson et al. 2022), after Reimers and Gurevych 2020, "Making Monolingual Sentence
    Embeddings Multilingual Using Knowledge Distillation" (arXiv 2004.09813).
    """

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        total = (student.pooled - teacher.pooled).square().sum(-1).mean()
        return ObjectiveValue(total, {"mse": total.detach()})


@dataclass(frozen=True)
class SentenceCosine:
    """One minus the cosine of pooled vectors, averaged over the batch; 0 to 2.

    Source: the cosine embedding loss of Sanh et al. 2019 (arXiv 1910.01108, section 3), here of pooled vectors.
    """

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        total = (1 - F.cosine_similarity(rescaled(student.pooled), rescaled(teacher.pooled), dim=-1)).mean()
        return ObjectiveValue(total, {"cosine": total.detach()})


LEAST_LEARNED, LARGEST_LEARNED = 0.01, 1.0  # CLIP never scales a cosine by more than 100


@dataclass(frozen=True)
class SentenceContrastive:
    """Cross-entropy of each sentence's choice among the batch's English sentences, in nats.

    No translation of a sentence that the batch holds is a wrong answer to it: not the same English sentence next to
    another language's text, and not a second translation of the same text. Source: InfoNCE (van den Oord et al. 2018,
    arXiv 1807.03748).

    Args:
        temperature: divides the cosines; below 0.1 the nearest wrong answers dominate.
    """

    temperature: float = 0.05

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        total = _cross_entropy(student, teacher, self.temperature)
        return ObjectiveValue(total, {"contrastive": total.detach()})


class LearnedContrastive(nn.Module):
    """SentenceContrastive with a temperature whose logarithm is learned, as CLIP's is (arXiv 2103.00020, section 2.5).

    Args:
        temperature: the first one, 0.01 to 1; it never leaves that range.
    """

    def __init__(self, temperature: float = 0.05) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """Add the temperature to the parts."""
        with torch.no_grad():  # clamped inside the graph, a scale past the bound would have no gradient back
            self.log_scale.clamp_(-math.log(LARGEST_LEARNED), -math.log(LEAST_LEARNED))
        temperature = (-self.log_scale).exp()
        total = _cross_entropy(student, teacher, temperature)
        return ObjectiveValue(total, {"contrastive": total.detach(), "temperature": temperature.detach()})


def same_sentences(directions: Tensor) -> Tensor:
    """Return bool [batch, batch]: True where two unit vectors [batch, dim] are equal, as each is to itself."""
    with full_precision(directions.device):  # rounded to bfloat16, no cosine exceeds this bound
        same = directions @ directions.T > 1 - 1e-6
    return same.fill_diagonal_(True)


def same_texts(batch: TokenBatch) -> Tensor:
    """Return bool [batch, batch]: True where two rows are of one text, by their vectors where texts are not known."""
    if batch.texts is None:
        return same_sentences(F.normalize(rescaled(batch.pooled.detach()), dim=-1))
    numbers: dict[str, int] = {}
    keys = [unicodedata.normalize("NFC", text).casefold() for text in batch.texts]
    own = torch.tensor([numbers.setdefault(key, len(numbers)) for key in keys], device=batch.pooled.device)
    return own[:, None] == own


def _cross_entropy(student: TokenBatch, teacher: TokenBatch, temperature: float | Tensor) -> Tensor:
    target = F.normalize(rescaled(teacher.pooled), dim=-1)  # [batch, dim]
    scores = F.normalize(rescaled(student.pooled), dim=-1) @ target.T / temperature  # [batch, batch]
    # The English sentences next to any row of the same text, and their equals in other rows.
    known = same_texts(student).to(target.dtype) @ same_sentences(target).to(target.dtype) > 0
    scores = scores.masked_fill(known.fill_diagonal_(False), float("-inf"))
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


@dataclass(frozen=True)
class RelationalObjective:
    """Mean over the batch of KL(teacher | student), in nats, between how a sentence's likeness spreads over others.

    The likeness of two sentences is the cosine of their pooled vectors, both in the student's space or both in the
    teacher's. So the value does not change when the student's space is rotated: alone it does not bring the student
    into the teacher's space, and a recipe must add a sentence-level objective as an anchor. A sentence itself,
    the same English sentence in other languages, and the same text with another translation take no part: they would
    draw nearly all of the likeness.

    Source: Passalis and Tefas 2018 (arXiv 1803.10837), with softmaxes of cosines as in SEED (arXiv 2101.04731). Squared
    differences of cosines would drown the few near pairs of a batch in its many unrelated ones.

    Args:
        temperature: divides the cosines; the lower, the more only the nearest neighbors count.
    """

    temperature: float = 0.05

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        dtype = working_dtype(student.pooled, teacher.pooled)
        with full_precision(student.pooled.device):
            target = F.normalize(rescaled(teacher.pooled.detach().to(dtype)), dim=-1)  # [batch, dim]
            hidden = same_sentences(target) | same_texts(student)  # [batch, batch]
            wanted = self._log_likeness(target, hidden)
            actual = self._log_likeness(F.normalize(rescaled(student.pooled.to(dtype)), dim=-1), hidden)
            divergence = (wanted.exp() * (wanted - actual)).masked_fill(hidden, 0.0).sum(1)  # [batch]
        total = divergence.mean()
        return ObjectiveValue(total, {"relational": total.detach()})

    def _log_likeness(self, directions: Tensor, hidden: Tensor) -> Tensor:
        scores = (directions @ directions.T) / self.temperature
        # Not minus infinity: of a row that is hidden as a whole, log_softmax would be NaN.
        return scores.masked_fill(hidden, -1e9).log_softmax(1)


_CHUNK = 64  # sentences whose plans are solved together


@dataclass(frozen=True)
class BarycenterObjective:
    """Mean over the batch, and over a sentence's tokens, of the squared distance from the plan's barycenter.

    The barycenter of a student token is the mean of the teacher's tokens, weighted by the token's row of the plan
    (Courty et al. 2017, "Optimal Transport for Domain Adaptation", equation 14). The square is summed over the width,
    as in SentenceMSE. The plan (cosine cost, uniform marginals) is held fixed.

    Args:
        regularization: entropy weight of the plan, in units of the cost (0-2). The more diffuse the plan, the nearer
            all barycenters are to the sentence's mean.
        center: float [dim], the teacher's corpus mean; None: tokens as they are.
        student_centered: True: the plan is of centered tokens on both sides, and the squares, which do not change
            when both sides are moved, are those of the tokens as they are. False: the center is taken from the
            teacher's tokens only, and the student learns those.
        tolerance, max_iterations: of the solver; training needs no exact plan.
    """

    regularization: float = 0.05
    center: Tensor | None = None
    student_centered: bool = True
    tolerance: float = 1e-3
    max_iterations: int = 100

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """Add the share of plans that did not converge to the parts."""
        error, converged = error_along_plans(
            student, teacher, self.center, self.student_centered,
            regularization=self.regularization, tolerance=self.tolerance, max_iterations=self.max_iterations,
        )  # fmt: skip
        total = error / filled_rows(student, teacher)
        unconverged = (~converged).to(total.dtype).sum() / max(1, len(student))
        return ObjectiveValue(total, {"barycenter": total.detach(), "unconverged": unconverged})


def error_along_plans(
    student: TokenBatch, teacher: TokenBatch, center: Tensor | None, student_centered: bool, **how: Any
) -> tuple[Tensor, Tensor]:
    """Return the summed squared distance of content tokens from their barycenters, and bool [batch]: plan converged.

    A token's distance is weighted by the mass of its row of the plan. ``how``: options of ``transport.solve``.
    """
    content = student.content()  # [content tokens, dim]
    wanted = torch.zeros_like(content, dtype=working_dtype(content, teacher.tokens))
    mass = wanted[:, 0].clone()  # [content tokens]
    converged = torch.ones(len(student), dtype=torch.bool, device=mass.device)
    places = student.mask.flatten().cumsum(0).view_as(student.mask) - 1  # of a token among the content tokens
    for rows in _alike_in_length(student.mask.sum(1), teacher.mask.sum(1)):
        mine, theirs = _trimmed(student, rows), _trimmed(teacher, rows)
        plan, barycenters = _barycenters(mine, theirs, center, student_centered, how)
        at = places[rows, : mine.mask.shape[1]][mine.mask]
        wanted[at], mass[at] = barycenters[mine.mask], plan.coupling.sum(2)[mine.mask]
        converged[rows] = plan.converged
    return ((content - wanted).square().sum(-1) * mass).sum(), converged


@torch.no_grad()
def _barycenters(
    student: TokenBatch, teacher: TokenBatch, center: Tensor | None, student_centered: bool, how: dict[str, Any]
) -> tuple[Plan, Tensor]:
    mine, theirs = centered_tokens(student, teacher, center, student_centered)
    plan = solve(cosine_cost(mine, theirs), row_mask=student.mask, col_mask=teacher.mask, **how)
    mass = plan.coupling.sum(2, keepdim=True)
    with full_precision(theirs.device):
        barycenters = plan.coupling @ theirs / mass.masked_fill(mass == 0, 1.0)  # [chunk, n, dim]
    # Taken from both sides, the center served the plan; the student learns the tokens as they are.
    if center is None or not student_centered:
        return plan, barycenters
    return plan, barycenters + center.to(barycenters)


def _alike_in_length(first: Tensor, second: Tensor) -> Iterator[Tensor]:
    """Yield the rows that have tokens on both sides, in chunks of like length: one long list must not pad them all."""
    order = torch.argsort(first + second, stable=True)
    order = order[(first[order] > 0) & (second[order] > 0)]
    yield from order.split(_CHUNK) if len(order) else ()


def _trimmed(batch: TokenBatch, rows: Tensor) -> TokenBatch:
    mask = batch.mask[rows]
    length = int(mask.any(0).nonzero().max()) + 1
    return TokenBatch(batch.tokens[rows, :length], mask[:, :length], batch.pooled[rows])


@dataclass(frozen=True)
class GreedyObjective:
    """Mean over the batch, and over a sentence's matched pairs, of the squared distance between matched tokens.

    The nearest pair of unmatched tokens, by cosine, is matched first, until one side is used up (DR.DECR, Li et al.
    2022, arXiv 2112.08185). The square is summed over the width, as in SentenceMSE. Unmatched tokens learn nothing.

    Args:
        center: float [dim], the teacher's corpus mean; None: tokens as they are.
        student_centered: True: tokens are matched centered on both sides, and the squares, which do not change when
            both sides are moved, are those of the tokens as they are. False: the center is taken from the teacher's
            tokens only, and the student learns those.
    """

    center: Tensor | None = None
    student_centered: bool = True

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        # Each row of a matching holds one match or none, so its barycenter is the match.
        error, _ = error_along_plans(student, teacher, self.center, self.student_centered, method="greedy")
        total = error / filled_rows(student, teacher)
        return ObjectiveValue(total, {"greedy": total.detach()})


COSTS = {"cosine": cosine_cost, "squared_euclidean": squared_euclidean_cost}
MARGINALS = ("uniform", "norm", "teacher_norm")


@dataclass(frozen=True)
class TransportObjective:
    """Mean over the batch of <plan, cost>; the plan is held fixed, the cost carries the gradient.

    That is the gradient of the regularized transport value itself (envelope theorem). Source: OPTICAL (Huang, Yu,
    Allan 2023, arXiv 2301.12566); the defaults are those of our own measurements (docs/experiments.md).

    Args:
        regularization: entropy weight of the plan, in units of the cost. A diffuse plan pulls every token to the
            sentence's mean; a sharp one holds each word to account for its own meaning.
        center: float [dim], the teacher's corpus mean, subtracted before the cost; None: nothing is. Token vectors
            of pretrained encoders share a large common part that hides their meaning.
        student_centered: whether the center is subtracted from the student's tokens too. If it is much longer than
            they are, that makes them all alike; False lets the student live in the centered space.
        marginal_penalty: weight of the marginals, in units of the cost; None: they must hold. Where they need not,
            about exp(-c / (2 penalty)) of the mass moves whose way costs c; ``mass`` among the parts is the total.
        method: of ``transport.solve``.
        marginals: "uniform"; "norm": a token's mass is the length of its vector, less the center, without gradient
            (Yokoi et al. 2020, "Word Rotator's Distance"; of centered vectors, the length shows how much a word says,
            Oyama et al. 2023); "teacher_norm": the teacher's so, the student's uniform.
        cost: "cosine" (0-2), or "squared_euclidean", in the teacher's squared units: mind the regularization.
        tolerance, max_iterations: of the solver; training needs no exact plan.
    """

    regularization: float = 0.05
    center: Tensor | None = None
    student_centered: bool = True
    marginal_penalty: float | None = None
    method: str = "sinkhorn"
    marginals: str = "uniform"
    cost: str = "cosine"
    tolerance: float = 1e-3
    max_iterations: int = 100

    def __call__(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """Add the share of plans that did not converge to the parts (greedy: nothing to converge)."""
        options = (self.marginal_penalty, self.method, self.marginals, self.cost)
        if options == (None, "sinkhorn", "uniform", "cosine"):
            return self._of_lists(student, teacher)
        return self._of_padded(student, teacher)

    def _of_lists(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        """The one problem that has a path without padding, several times as fast."""
        rows, cols = student.mask.sum(1), teacher.mask.sum(1)
        center = None if self.center is None else self.center.to(student.pooled.device)
        wanted = TokenLists(teacher.content().detach(), cols, center)
        total, unconverged = _AlignedCost.apply(  # type: ignore[no-untyped-call]
            student.content(), rows, center if self.student_centered else None, wanted, self
        )
        total, unconverged = total / filled_rows(student, teacher), unconverged / max(1, len(student))
        return ObjectiveValue(total, {"transport": total.detach(), "unconverged": unconverged})

    def _of_padded(self, student: TokenBatch, teacher: TokenBatch) -> ObjectiveValue:
        mine, theirs = centered_tokens(student, teacher, self.center, self.student_centered)
        plan = solve(
            COSTS[self.cost](mine, theirs),
            _mass(mine, student.mask) if self.marginals == "norm" else None,
            _mass(theirs, teacher.mask) if self.marginals != "uniform" else None,
            row_mask=student.mask, col_mask=teacher.mask, regularization=self.regularization,
            marginal_penalty=self.marginal_penalty, method=self.method, gradient="envelope", tolerance=self.tolerance,
            max_iterations=self.max_iterations, allow_empty=True,
        )  # fmt: skip
        filled = filled_rows(student, teacher)
        total = plan.transport_cost.sum() / filled
        parts = {"transport": total.detach()}
        if self.method != "greedy":
            parts["unconverged"] = (~plan.converged).to(total.dtype).sum() / max(1, len(student))
        if self.marginal_penalty is not None:
            parts["mass"] = plan.coupling.sum() / filled
        return ObjectiveValue(total, parts)


def _mass(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the marginal [batch, n] in proportion to the lengths of the tokens."""
    # Where all of a sentence's vectors are zero they share its mass.
    return normalize(torch.linalg.vector_norm(tokens.detach(), dim=-1).clamp_min(1e-8), mask)


class _AlignedCost(torch.autograd.Function):
    """The sum of <plan, cosine cost> over a batch, and how many plans did not converge, as a function of the tokens."""

    @staticmethod
    def forward(
        ctx: Any, tokens: Tensor, lengths: Tensor, center: Tensor | None, wanted: TokenLists, of: TransportObjective
    ) -> tuple[Tensor, Tensor]:
        aligned = align_lists(
            TokenLists(tokens, lengths, center), wanted,
            regularization=of.regularization, tolerance=of.tolerance, max_iterations=of.max_iterations,
        )  # fmt: skip
        ctx.save_for_backward(aligned.gradient.to(tokens.dtype))
        unconverged = (~aligned.converged).sum().to(aligned.transport_cost.dtype)
        ctx.mark_non_differentiable(unconverged)
        return aligned.transport_cost.sum(), unconverged

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        (along_tokens,) = ctx.saved_tensors
        return along_tokens * gradient, None, None, None, None
