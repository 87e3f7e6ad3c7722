"""Who takes part in the benchmark of image attacks: Kivuko and the Adversarial Robustness Toolbox (ART)."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.image_attacks_setting import Setting
from benchmarks.machine import describe_machine
from kivuko.perturbations.image.goal import CE_SCALE, Threat
from kivuko.perturbations.image.pgd import apgd
from kivuko.perturbations.image.standard import square, standard

_ART = "adversarial-robustness-toolbox"
ART_BATCH = 128  # as ours; its own 32 was no faster
_EPS_STEP = 2.0  # radii: APGD's first step by its authors, and ours


@dataclass(frozen=True)
class Budget:
    """How long an attack goes on. ``every_step``: also with images that it has already fooled, where it can."""

    steps: int
    restarts: int
    queries: int
    deepfool: bool = False
    every_step: bool = False


class Contender(Protocol):
    """One library. ``parts`` are "ensemble", "apgd-ce", "apgd-dlr" and "square"."""

    @property
    def name(self) -> str: ...

    @property
    def label(self) -> str: ...

    def missing(self) -> str | None:
        """Why it cannot take part here; None where it can."""
        ...

    def attack(self, part: str, setting: Setting, eps: float, budget: Budget, seed: int) -> Tensor:
        """Return perturbed pixels, float32 [images, 3, h, w], as the library gives them."""
        ...


@dataclass(frozen=True)
class Kivuko:
    """Our own attacks. They return 8-bit images."""

    name: str = "kivuko"
    label: str = "Kivuko"

    def missing(self) -> str | None:
        return None

    def attack(self, part: str, setting: Setting, eps: float, budget: Budget, seed: int) -> Tensor:
        given = (setting.tower, setting.pixels, setting.goal, Threat("linf", eps))
        stop = not budget.every_step
        if part == "ensemble":
            return standard(*given, steps=budget.steps, queries=budget.queries, seed=seed).pixels
        if part == "square":
            return square(*given, queries=budget.queries, early_stop=stop, seed=seed).pixels
        loss = "ce" if part == "apgd-ce" else "dlr"
        return apgd(*given, steps=budget.steps, restarts=budget.restarts, loss=loss, early_stop=stop, seed=seed).pixels  # type: ignore[arg-type]


class Scores(nn.Module):
    """The tower and the names as one classifier: pixels to cosines times what our own cross entropy multiplies by."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.network = setting.tower.network
        self.tower = setting.tower
        self.names = setting.goal.texts.T.contiguous()

    def forward(self, pixels: Tensor) -> Tensor:
        """Map float [images, 3, h, w] to logits [images, names]."""
        return CE_SCALE * (self.tower(pixels) @ self.names)


@dataclass(frozen=True)
class Art:
    """AutoAttack, AutoProjectedGradientDescent and SquareAttack of ART; what they return is no 8-bit image."""

    name: str = "art"
    label: str = "ART"

    def missing(self) -> str | None:
        absent = [one for one in (_ART, "multiprocess") if _version(one) is None]  # AutoAttack imports both
        return f"not installed: {', '.join(absent)}; run: pip install 'kivuko[bench]'" if absent else None

    def attack(self, part: str, setting: Setting, eps: float, budget: Budget, seed: int) -> Tensor:
        np.random.seed(seed)  # ART draws from NumPy's global generator
        pixels, labels = setting.pixels.contiguous().numpy(), setting.goal.labels.numpy()
        attack = self._ensemble(setting, eps, budget) if part == "ensemble" else self._part(part, setting, eps, budget)
        return torch.from_numpy(attack.generate(x=pixels.copy(), y=labels))

    def _classifier(self, setting: Setting) -> Any:
        from art.estimators.classification import PyTorchClassifier

        return PyTorchClassifier(
            model=Scores(setting), loss=nn.CrossEntropyLoss(), input_shape=tuple(setting.pixels.shape[1:]),
            nb_classes=len(setting.goal.texts), clip_values=(0.0, 1.0), device_type="cpu",
        )  # fmt: skip

    def _part(self, part: str, setting: Setting, eps: float, budget: Budget) -> Any:
        from art.attacks.evasion import AutoProjectedGradientDescent, SquareAttack

        classifier = self._classifier(setting)
        if part == "square":
            return SquareAttack(
                classifier, norm=np.inf, eps=eps, max_iter=budget.queries, batch_size=ART_BATCH, verbose=False
            )
        loss = "cross_entropy" if part == "apgd-ce" else "difference_logits_ratio"
        return AutoProjectedGradientDescent(
            classifier, norm=np.inf, eps=eps, eps_step=_EPS_STEP * eps, max_iter=budget.steps,
            nb_random_init=budget.restarts, batch_size=ART_BATCH, loss_type=loss, verbose=False,
        )  # fmt: skip

    def _ensemble(self, setting: Setting, eps: float, budget: Budget) -> Any:
        from art.attacks.evasion import AutoAttack, DeepFool

        parts = [self._part(part, setting, eps, budget) for part in ("apgd-ce", "apgd-dlr", "square")]
        classifier = self._classifier(setting)
        if budget.deepfool:
            parts.insert(2, DeepFool(classifier, epsilon=1e-3, nb_grads=10, batch_size=ART_BATCH, verbose=False))
        return AutoAttack(
            classifier, norm=np.inf, eps=eps, eps_step=_EPS_STEP * eps, attacks=parts, batch_size=ART_BATCH
        )


def describe_with_art() -> dict[str, Any]:
    """Return what a benchmark ran on, with ART's version, None where it is not installed."""
    return {**describe_machine(), "packages": {name: _version(name) for name in ("torch", "numpy", _ART)}}


def _version(package: str) -> str | None:
    """Return the version of an installed package; another one on PyPI is imported as ``art`` too."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def contenders() -> tuple[Contender, ...]:
    """Return all, ours first."""
    return (Kivuko(), Art())
