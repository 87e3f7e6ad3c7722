"""One measurement of the benchmark of image attacks: how strong an ensemble is, how fast single attacks are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from benchmarks.image_attacks_contenders import Budget, Contender
from benchmarks.image_attacks_setting import SPEED_RADIUS, Extent, Setting
from benchmarks.machine import Interference
from kivuko.perturbations.catalog import LEVELS
from kivuko.perturbations.image.goal import Threat

Row = dict[str, Any]


@dataclass
class Passes:
    """Images that went through the tower, and gradients that came back."""

    forward: int = 0
    backward: int = 0


@contextmanager
def counted(setting: Setting) -> Iterator[Passes]:
    """Count what goes through a setting's tower, whoever asks."""
    passes = Passes()

    def back(gradient: Tensor) -> None:
        passes.backward += len(gradient)

    def note(_module: Any, _inputs: Any, vectors: Tensor) -> None:
        passes.forward += len(vectors)
        if vectors.requires_grad:
            vectors.register_hook(back)

    handle = setting.tower.network.register_forward_hook(note)
    try:
        yield passes
    finally:
        handle.remove()


def strength(contender: Contender, setting: Setting, radius: int, extent: Extent, seed: int = 0) -> Row:
    """Attack all images with an ensemble; return which still stand, as pixels are returned and on 8-bit levels."""
    eps = radius / LEVELS
    budget = Budget(extent.steps, extent.restarts, extent.queries, extent.deepfool)
    others, started = Interference(), time.perf_counter()
    with counted(setting) as passes:
        found = contender.attack("ensemble", setting, eps, budget, seed)
    seconds = time.perf_counter() - started
    rounded = Threat("linf", eps).on_levels(setting.pixels, found)
    return {
        "setting": setting.name, "contender": contender.name, "label": contender.label, "radius": radius,
        "clean": _share(setting.standing(setting.pixels)),
        "raw": _share(setting.standing(found)), "rounded": _share(setting.standing(rounded)),
        "standing": "".join("01"[int(one)] for one in setting.standing(rounded)),
        "furthest": float((found - setting.pixels).abs().max()) * LEVELS,
        "seconds": seconds, "forward": passes.forward, "backward": passes.backward, "others": others.share(),
    }  # fmt: skip


def speed(
    taking_part: Sequence[Contender], setting: Setting, extent: Extent, show: Callable[[str], None] = lambda _: None
) -> list[Row]:
    """Time single attacks of all contenders in turn, round by round, on images that stand when clean.

    Every image takes every step, fooled or not, as far as the library allows it. In each round another begins.
    """
    clean = setting.standing(setting.pixels).nonzero()[: extent.speed_images, 0]
    few, eps = setting.some(clean), SPEED_RADIUS / LEVELS
    budget = Budget(extent.speed_steps, 1, extent.speed_queries, every_step=True)
    warm_up = Budget(1, 1, 1, every_step=True)
    rows = []
    for part in extent.parts:
        for contender in taking_part:
            contender.attack(part, few, eps, warm_up, 0)
        for number in range(extent.rounds):
            shift = number % len(taking_part)
            for contender in (*taking_part[shift:], *taking_part[:shift]):
                show(f"{part}, round {number + 1}: {contender.label}")
                rows.append(_timed(contender, part, few, eps, budget, number))
    return rows


def _timed(contender: Contender, part: str, setting: Setting, eps: float, budget: Budget, number: int) -> Row:
    others, started, spent = Interference(), time.perf_counter(), time.process_time()
    with counted(setting) as passes:
        found = contender.attack(part, setting, eps, budget, number)
    few, tries = setting.goal, budget.queries if part == "square" else budget.steps
    seconds, processor = time.perf_counter() - started, time.process_time() - spent
    rounded = Threat("linf", eps).on_levels(setting.pixels, found)
    return {
        "setting": setting.name, "contender": contender.name, "label": contender.label, "part": part, "round": number,
        "images": len(few), "tries": len(few) * tries,
        "seconds": seconds, "processor": processor, "forward": passes.forward, "backward": passes.backward,
        "rounded": _share(setting.standing(rounded)), "others": others.share(),
    }  # fmt: skip


def _share(flags: Tensor) -> float:
    return float(flags.float().mean())
