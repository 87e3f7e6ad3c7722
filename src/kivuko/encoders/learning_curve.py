"""The learning curve of a model: JSON lines and an image in the model's folder."""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

CURVE, CURVE_IMAGE = "training.jsonl", "training.png"


def save_curve(curve: Sequence[Mapping[str, float]], folder: Path) -> None:
    """Write the records of ``training.loop.TrainingResult.curve``; draw them where matplotlib is installed."""
    (folder / CURVE).write_text("".join(json.dumps(one) + "\n" for one in curve), encoding="utf-8")
    if can_draw():
        _draw(curve, folder / CURVE_IMAGE)


def can_draw() -> bool:
    """True if matplotlib, which draws the learning curve, is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def _draw(curve: Sequence[Mapping[str, float]], file: Path) -> None:
    """Draw a curve as a PNG of 1600 x 640 pixels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), dpi=200, layout="constrained")
    loss, score = figure.subplots(1, 2)
    loss.plot([one["step"] for one in curve], [one["loss"] for one in curve], color="tab:blue", linewidth=1)
    loss.set(title="Loss of training", xlabel="step")
    below = "step"
    scored = [(one["step"], one["validation"]) for one in curve if "validation" in one]
    if scored:
        best = max(scored, key=lambda one: one[1])
        score.plot(*zip(*scored, strict=True), color="tab:blue", marker="o", markersize=3, linewidth=1)
        score.plot(*best, color="tab:orange", marker="o")
        below += f" (kept: {best[0]:,.0f}, {best[1]:.3f})"
    score.set(title="MRR on held-out pairs", xlabel=below)
    for axes in (loss, score):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, format="png")
