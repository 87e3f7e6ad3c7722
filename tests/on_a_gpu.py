"""Checks that need a CUDA GPU, run by ``test_on_a_gpu.py`` in a process that sees it: ``python tests/on_a_gpu.py``.

The other tests do not see a GPU: they hold results against each other bit for bit, which only a CPU keeps to.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent / "distill"))
METHODS = ("sinkhorn", "sinkhorn_log", "proximal", "exact", "greedy")


def ragged_costs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Costs float32 [40, 9, 13] of which a part counts, and the two masks."""
    generator = torch.Generator().manual_seed(0)
    cost = torch.rand(40, 9, 13, generator=generator)
    rows, cols = (torch.randint(1, size + 1, (40, 1), generator=generator) for size in (9, 13))
    return cost, torch.arange(9) < rows, torch.arange(13) < cols


def check_transport_equals_the_cpus() -> None:
    from kivuko.transport.solve import solve

    cost, rows, cols = ragged_costs()
    for method in METHODS:
        how = {"method": method, "tolerance": 1e-5, "max_iterations": 20_000}
        expected = solve(cost, row_mask=rows, col_mask=cols, **how)
        found = solve(cost.cuda(), row_mask=rows.cuda(), col_mask=cols.cuda(), **how)
        assert found.coupling.is_cuda
        assert torch.equal(found.converged.cpu(), expected.converged), method
        # Of two proximal plans that cost the same, either may come out.
        same = ("transport_cost",) if method == "proximal" else ("transport_cost", "value", "entropy", "coupling")
        for name in same:
            torch.testing.assert_close(
                getattr(found, name).cpu(), getattr(expected, name), atol=1e-4, rtol=1e-3,
                msg=lambda told, of=(method, name): f"{of}: {told}",
            )  # fmt: skip


def check_gradients_equal_the_cpus() -> None:
    from kivuko.transport.solve import solve

    cost, rows, cols = ragged_costs()
    for gradient, backend in itertools.product(("envelope", "implicit"), ("auto", "torch", "triton")):
        found = []
        for device in ("cpu", "cuda"):
            leaf = cost.detach().to(device, copy=True).requires_grad_()
            plan = solve(
                leaf, row_mask=rows.to(device), col_mask=cols.to(device), gradient=gradient, tolerance=1e-6,
                max_iterations=20_000, backend=backend if device == "cuda" else "auto",
            )  # fmt: skip
            (plan.value.sum() + (plan.transport_cost**2).sum()).backward()
            found.append(leaf.grad.cpu())
        torch.testing.assert_close(
            found[1], found[0], atol=2e-4, rtol=1e-2, msg=lambda told, of=(gradient, backend): f"{of}: {told}"
        )


def check_alignments_equal_the_cpus() -> None:
    from kivuko.transport.alignment import TokenLists, align_lists

    generator = torch.Generator().manual_seed(1)
    sides = []
    for _ in range(2):
        lengths = torch.randint(0, 12, (150,), generator=generator)
        vectors = torch.randn(int(lengths.sum()), 16, generator=generator)
        sides.append((vectors, lengths, vectors.mean(0)))
    expected = align_lists(*(TokenLists(*side) for side in sides))
    found = align_lists(*(TokenLists(*(part.cuda() for part in side)) for side in sides))
    for name in ("transport_cost", "gradient"):
        torch.testing.assert_close(getattr(found, name).cpu(), getattr(expected, name), atol=1e-4, rtol=1e-3)


def learned(names: Sequence[str]) -> dict[str, float]:
    """Return the validation score that each recipe comes to in a small run."""
    from tiny_run import TinyRun

    from kivuko.training.recipe import load_recipe

    scores = {}
    with tempfile.TemporaryDirectory() as cache:
        run = TinyRun(Path(cache))
        for name in names:
            student = run.new_student()
            recipe = load_recipe(name).with_schedule(steps=60, batch_size=16, learning_rate=0.05, validate_every=60)
            scores[name] = run.go(student=student, recipe=recipe).best_score
            assert student.embedding.weight.device.type == "cpu"
    return scores


def check_an_interrupted_run_goes_on() -> None:
    from tiny_run import TinyRun

    class StopHereError(Exception):
        pass

    def stop(step: int, *_: object) -> None:
        if step == 6:
            raise StopHereError

    with tempfile.TemporaryDirectory() as cache:
        run = TinyRun(Path(cache))
        whole = run.go(student=run.new_student()).history
        with contextlib.suppress(StopHereError):
            run.go(student=run.new_student(), checkpoints=Path(cache) / "run", report=stop)
        resumed = run.go(student=run.new_student(), checkpoints=Path(cache) / "run").history
        assert [step for step, _ in resumed] == [step for step, _ in whole]
        assert all(abs(a - b) < 0.05 for (_, a), (_, b) in zip(resumed, whole, strict=True)), (resumed, whole)


def check_a_clip_encodes_the_same() -> None:
    import numpy as np
    from PIL import Image

    import tiny_clip
    from kivuko.encoders.teacher import load_teacher
    from kivuko.search.encoding import TowerEncoder

    images = [Image.new("RGB", (40 + n, 30), (50 * n, 90, 200 - 40 * n)) for n in range(4)]
    with tempfile.TemporaryDirectory() as place:
        for kind, make in tiny_clip.MAKERS.items():
            teacher = load_teacher(make(Path(place) / kind))
            expected = teacher.encode_tokens(tiny_clip.TEXTS)
            with teacher.accelerated():
                found = teacher.encode_tokens(tiny_clip.TEXTS)
                assert found.pooled.is_cuda
            assert teacher.model.device.type == "cpu"
            torch.testing.assert_close(found.pooled.cpu(), expected.pooled, atol=1e-4, rtol=1e-3)
            assert torch.equal(found.mask.cpu(), expected.mask)
        towers = []
        for device in ("cpu", "cuda"):
            from kivuko.encoders.image_tower import load_image_tower

            tower = TowerEncoder(load_image_tower(Path(place) / "clip", tiny_clip.DIM).to(device))
            towers.append(tower.encode([tower.prepare(one) for one in images]))
        np.testing.assert_allclose(towers[1], towers[0], atol=1e-4)


CHECKS = {name.removeprefix("check_"): found for name, found in list(globals().items()) if name.startswith("check_")}


def report() -> dict[str, str | None]:
    """Return what went wrong with each check, None where nothing did."""
    told: dict[str, str | None] = {}
    for name, check in CHECKS.items():
        try:
            check()
            told[name] = None
        except Exception:
            told[name] = traceback.format_exc()
    return told


if __name__ == "__main__":
    json.dump({"checks": report(), "learned": learned(sys.argv[1:])}, sys.stdout, indent=1)
