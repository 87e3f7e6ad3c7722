"""Small batches for the tests of objectives."""

from __future__ import annotations

import torch

from kivuko.encoders.token_batch import TokenBatch, masked_mean

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


def drawn(lengths, dim=6, *, seed=0, longest=None, junk=7.0):
    """A float64 batch of random sentences of given lengths, padded to ``longest`` with ``junk``."""
    generator = torch.Generator().manual_seed(seed)
    length = longest or max(lengths)
    mask = torch.arange(length) < torch.tensor(lengths)[:, None]
    tokens = torch.full((len(lengths), length, dim), junk, dtype=torch.float64)
    for row, count in enumerate(lengths):
        tokens[row, :count] = torch.randn(count, dim, generator=generator, dtype=torch.float64)
    return with_tokens(tokens, mask)


def with_tokens(tokens, mask):
    """A batch of these tokens, pooled by their mean over the mask."""
    seen = tokens.masked_fill(~mask[:, :, None], 0.0)
    return TokenBatch(tokens, mask, masked_mean(seen, mask))


def row_of(batch, row):
    """One sentence of a batch alone, without padding, as its tokens [length, dim]."""
    return batch.tokens[row][batch.mask[row]]


def gradient(objective, student, teacher):
    """The gradient of the objective along the student's tokens, float64 [batch, n, dim]."""
    tokens = student.tokens.clone().requires_grad_()
    objective(with_tokens(tokens, student.mask), teacher).total.backward()
    return tokens.grad


def finite_differences(objective, student, teacher, step=1e-5):
    """The same gradient, from the values at two places each."""
    slope = torch.zeros_like(student.tokens)
    for place in student.mask.nonzero().tolist():
        for column in range(student.tokens.shape[2]):
            ends = []
            for sign in (1, -1):
                tokens = student.tokens.clone()
                tokens[*place, column] += sign * step
                ends.append(objective(with_tokens(tokens, student.mask), teacher).total.item())
            slope[*place, column] = (ends[0] - ends[1]) / (2 * step)
    return slope


def assert_same_gradient(slope, expected):
    """Compare a gradient with finite differences, which lose about half of the digits."""
    torch.testing.assert_close(slope, expected, rtol=1e-5, atol=1e-6)
