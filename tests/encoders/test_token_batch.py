"""TokenBatch and the mean under a mask."""

from __future__ import annotations

import torch

from kivuko.encoders.token_batch import TokenBatch, masked_mean


def test_masked_mean_by_hand():
    tokens = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]], [[5.0, 6.0], [7.0, 7.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert torch.equal(masked_mean(tokens, mask), torch.tensor([[2.0, 3.0], [5.0, 6.0]]))


def test_a_row_without_tokens_has_a_zero_mean_and_no_nan_in_its_gradient():
    tokens = torch.randn(2, 3, 4, requires_grad=True)
    mask = torch.tensor([[False] * 3, [True, True, False]])
    mean = masked_mean(tokens, mask)
    assert torch.equal(mean[0], torch.zeros(4))
    mean.square().sum().backward()
    assert tokens.grad.isfinite().all()
    assert tokens.grad[0].abs().max() == 0
    assert tokens.grad[1, 2].abs().max() == 0
    assert tokens.grad[1, 0].abs().max() > 0


def test_masked_mean_keeps_the_floating_type():
    assert (
        masked_mean(torch.ones(1, 2, 3, dtype=torch.float64), torch.ones(1, 2, dtype=torch.bool)).dtype == torch.float64
    )


def test_a_batch_has_as_many_rows_as_texts_and_moves_as_a_whole():
    batch = TokenBatch(torch.zeros(3, 5, 2), torch.ones(3, 5, dtype=torch.bool), torch.zeros(3, 2))
    assert len(batch) == 3
    moved = batch.to("meta")
    assert {moved.tokens.device.type, moved.mask.device.type, moved.pooled.device.type} == {"meta"}
    assert moved.mask.dtype == torch.bool
