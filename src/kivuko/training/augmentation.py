"""Misspelled training sentences: the student reads the perturbed sentence, the teacher the clean English one.

With ``worst_of`` above 1 the worst of several draws is taken, as LEAF does for English CLIP (arXiv 2506.03355).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.perturbations.edits import perturb


@dataclass(frozen=True)
class Augmentation:
    """The table ``[augmentation]`` of a recipe."""

    kinds: tuple[str, ...] = ("typo",)  # kinds of edit or groups of them, see ``kivuko.perturbations``
    edits: int = 1  # at most so many edits per sentence, at least 1; how many is drawn
    share: float = 0.5  # of the sentences of a batch that are perturbed, above 0 and at most 1
    worst_of: int = 1  # draws of which the worst is taken, at least 1
    copies: int = 0  # misspelled copies of each sentence, for the vocabulary and the first vectors; 0 or more

    def of_batch(self, pairs: Sequence[Pair], student: Any, targets: Tensor, seed: int) -> list[str]:
        """Return a batch's sentences, a share of them perturbed; ``targets`` [batch, dim]: the teacher's vectors."""
        rng = np.random.default_rng(seed)
        texts = [pair.text for pair in pairs]
        chosen = np.flatnonzero(rng.random(len(pairs)) < self.share).tolist()
        draws = [self._drawn([pairs[row] for row in chosen], rng) for _ in range(self.worst_of)]
        if len(draws) > 1 and chosen:
            draws = [_farthest(draws, student, targets[chosen])]
        for row, text in zip(chosen, draws[0], strict=True):
            texts[row] = text
        return texts

    def with_copies(self, bitext: Bitext, seed: int) -> Bitext:
        rng = np.random.default_rng(seed)
        pairs = list(bitext.pairs)
        for _ in range(self.copies):
            texts = self._drawn(bitext.pairs, rng)
            pairs += [replace(pair, text=text) for pair, text in zip(bitext.pairs, texts, strict=True)]
        return Bitext(tuple(pairs))

    def _drawn(self, pairs: Sequence[Pair], rng: np.random.Generator) -> list[str]:
        edits = rng.integers(1, self.edits + 1, size=len(pairs)).tolist()
        return [perturb(p.text, p.language, self.kinds, n, rng).text for p, n in zip(pairs, edits, strict=True)]


@torch.no_grad()
def _farthest(draws: Sequence[Sequence[str]], student: Any, targets: Tensor) -> list[str]:
    """Return the draw of each sentence with the lowest cosine to its target [sentences, dim]."""
    flat = [text for draw in draws for text in draw]
    learning = student.training
    student.eval()
    vectors = student.encode_tokens(flat).pooled.view(len(draws), len(targets), -1)
    student.train(learning)
    worst = F.cosine_similarity(vectors, targets.to(vectors.device), dim=-1).argmin(0).tolist()
    return [draws[draw][row] for row, draw in enumerate(worst)]
