"""Plans and costs held against POT's solvers, one unpadded problem at a time."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch
from transport_problems import ragged

from kivuko import transport

SIZES = [(1, 1), (1, 6), (5, 1), (3, 4), (7, 2), (6, 6), (9, 5), (4, 11)]


@pytest.mark.parametrize("regularization", [1.0, 0.3, 0.1, 0.05, 0.02])
def test_plan_equals_pots_sinkhorn(regularization: float) -> None:
    batch = ragged(SIZES, seed=1)
    plan = transport.solve(
        *batch.arguments(),
        **batch.masks(),
        regularization=regularization,
        tolerance=1e-9,
        max_iterations=50_000,
    )
    assert plan.converged.all()
    for i, (n, m) in enumerate(SIZES):
        reference = ot.sinkhorn(
            *(part.numpy() for part in batch.single(i)),
            reg=regularization,
            method="sinkhorn_log",
            stopThr=1e-10,
            numItermax=50_000,
        )
        np.testing.assert_allclose(plan.coupling[i, :n, :m].numpy(), reference, atol=1e-6, rtol=0)
        cost = batch.single(i)[2].numpy()
        assert plan.transport_cost[i].item() == pytest.approx((reference * cost).sum(), abs=1e-6)
        positive = reference[reference > 0]
        assert plan.entropy[i].item() == pytest.approx(-(positive * np.log(positive)).sum(), abs=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.float32, 1e-4)])
def test_small_regularization_reaches_the_exact_cost(dtype: torch.dtype, tolerance: float) -> None:
    batch = ragged(SIZES, seed=2, dtype=dtype)
    plan = transport.solve(
        *batch.arguments(), **batch.masks(), regularization=1e-3, tolerance=tolerance, max_iterations=20_000
    )
    assert plan.converged.all()
    for i in range(len(SIZES)):
        rows, cols, cost = (part.double().numpy() for part in batch.single(i))
        exact = ot.emd2(rows / rows.sum(), cols / cols.sum(), cost)
        # Mass in the wrong place can save at most twice its amount times the largest cost, which is 2.
        slack = 4 * tolerance
        assert exact - slack <= plan.transport_cost[i].item() <= exact + 1e-3 + slack
