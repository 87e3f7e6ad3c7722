"""What an attack on images works against: whether a text finds its picture, or a picture its text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from kivuko.errors import UsageError


class ImageGoal(Protocol):
    """What is to go wrong for each attacked image; ``rows`` says which of them the vectors belong to.

    ``targeted``: the attacker wants the labelled candidate to win, where else it wants it to lose.
    ``one_score``: a single cosine decides, so every loss pushes the same way and the cheapest will do.
    """

    @property
    def targeted(self) -> bool: ...

    @property
    def one_score(self) -> bool: ...

    def __len__(self) -> int:
        """How many images are attacked."""
        ...

    def margins(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """What the attacker pushes down, float [batch]; see :func:`broken`. Differentiable in the vectors."""
        ...

    def logits(self, vectors: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cosines with every candidate, float [batch, candidates], and the labelled ones, int64 [batch]."""
        ...


def broken(goal: ImageGoal, margins: Tensor) -> Tensor:
    """Where the attacker has what it wants, bool: a tie counts against the picture, and against a targeted attacker."""
    return margins < 0 if goal.targeted else margins <= 0


@dataclass(frozen=True)
class TextToImage:
    """Search: each image is perturbed alone and looked for by its query among all other pictures, which stay clean.

    Candidate 0 is the image itself, the others are the other pictures.

    Args:
        queries: unit vectors float32 [images, dim], one query for each attacked image. Of a targeted goal: the query
            that the image should come first for.
        gallery: unit vectors of the clean pictures, float32 [pictures, dim].
        own: row in the gallery of each attacked image, int64 [images].
        targeted: make the image come first, where else it should not.
    """

    queries: Tensor
    gallery: Tensor
    own: Tensor
    targeted: bool = False
    one_score = True

    def __post_init__(self) -> None:
        if len(self.queries) != len(self.own):
            raise UsageError(f"{len(self.queries)} queries for {len(self.own)} images: there must be one for each.")
        if len(self.gallery) < 2:
            raise UsageError("a gallery of one picture: search cannot fail there. Give at least two pictures.")
        _check_rows(self.own, len(self.gallery), "pictures")

    def __len__(self) -> int:
        return len(self.own)

    @cached_property
    def best_rival(self) -> Tensor:
        """Cosine of each query with the best other picture, float32 [images]."""
        best = self.queries.new_empty(len(self.own))
        for rows in torch.arange(len(self.own), device=self.own.device).split(1024):
            scores = self.queries[rows] @ self.gallery.T
            best[rows] = scores.scatter_(1, self.own[rows, None], -torch.inf).amax(1)
        return best

    def margins(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """Lead of the image over the best other picture, negated if targeted."""
        lead = self._cosine(vectors, rows) - self.best_rival[rows]
        return -lead if self.targeted else lead

    def logits(self, vectors: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """See ImageGoal."""
        scores = self.queries[rows] @ self.gallery.T
        scores = scores.scatter(1, self.own[rows, None], scores[:, :1])  # the first picture takes the own one's place
        scores = torch.cat([self._cosine(vectors, rows)[:, None], scores[:, 1:]], dim=1)
        return scores, torch.zeros_like(rows)

    def _cosine(self, vectors: Tensor, rows: Tensor) -> Tensor:
        return (vectors * self.queries[rows]).sum(1)


@dataclass(frozen=True)
class ImageToText:
    """Classification: which of the texts is nearest to the image.

    Args:
        texts: unit vectors float32 [candidates, dim], no text twice.
        labels: the right text of each attacked image, int64 [images]. Of a targeted goal: the wanted one.
        targeted: make that text win, where else it should lose.
    """

    texts: Tensor
    labels: Tensor
    targeted: bool = False
    one_score = False

    def __post_init__(self) -> None:
        if len(self.texts) < 2:
            raise UsageError("one candidate text: an image cannot be mistaken there. Give at least two texts.")
        _check_rows(self.labels, len(self.texts), "texts")

    def __len__(self) -> int:
        return len(self.labels)

    def margins(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """Lead of the labelled text over the best other one, negated if targeted."""
        lead = lead_of(*self.logits(vectors, rows))
        return -lead if self.targeted else lead

    def logits(self, vectors: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """See ImageGoal."""
        return vectors @ self.texts.T, self.labels[rows]


@dataclass(frozen=True)
class Away:
    """No labels: move each image's vector away from an anchor, its clean vector, say; targeted: towards it.

    On unit vectors the cosine falls as the squared distance grows, which is the loss of FARE (Schlarmann et al. 2024).
    At the anchor itself the gradient is zero: start at random.

    Args:
        anchors: unit vectors, float32 [images, dim].
        cosine: the image counts as broken below this cosine (targeted: above it). By default it never does.
    """

    anchors: Tensor
    targeted: bool = False
    cosine: float | None = None
    one_score = True

    def __len__(self) -> int:
        return len(self.anchors)

    def margins(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """Cosine with the anchor above the limit, negated if targeted."""
        limit = (2.0 if self.targeted else -2.0) if self.cosine is None else self.cosine
        lead = (vectors * self.anchors[rows]).sum(1) - limit
        return -lead if self.targeted else lead

    def logits(self, vectors: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """See ImageGoal; the anchor is the one candidate."""
        return (vectors * self.anchors[rows]).sum(1, keepdim=True), torch.zeros_like(rows)


def lead_of(scores: Tensor, labels: Tensor) -> Tensor:
    """Lead of the labelled candidate over the best other one, [batch], from scores [batch, candidates]."""
    others = scores.scatter(1, labels[:, None], -torch.inf)
    return scores.gather(1, labels[:, None])[:, 0] - others.amax(1)


def ranks(goal: ImageGoal, vectors: Tensor, rows: Tensor) -> Tensor:
    """Rank of the labelled candidate, int64 [batch], from 1; ties count against it."""
    scores, labels = goal.logits(vectors, rows)
    return (scores >= scores.gather(1, labels[:, None])).sum(1)


def _check_rows(rows: Tensor, length: int, what: str) -> None:
    outside = rows[(rows < 0) | (rows >= length)]
    if len(outside):
        raise UsageError(f"an image's own is number {int(outside[0])}, but there are {length} {what}.")
