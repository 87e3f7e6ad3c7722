"""The training loop that distillation, adversarial fine-tuning and the image tower share.

All randomness of a step follows from seed and step (``step_seed``), so a checkpoint needs no generator states.
"""

import hashlib
import math
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from kivuko.errors import UsageError
from kivuko.progress import Record
from kivuko.training.checkpoint import RunState, checkpoint_run, load_checkpoint, save_checkpoint

Report = Callable[[int, int, dict[str, float]], None]  # (step, steps, figures)
_RECORDS = 100  # of a learning curve, scored steps aside


class Training:
    """One training, as the loop drives it. A subclass sets the attributes and implements ``set_rate`` and ``loss``."""

    name: str
    optimizer: torch.optim.Optimizer  # over everything that learns
    clipped: list[nn.Parameter]  # the parameters whose gradient is clipped to norm 1
    weights: nn.Module  # the module whose weights are the result
    later_of_equals = False  # which weights are taken where two score alike
    scores_start = False  # whether the weights before the first step may be the result

    def set_rate(self, step: int) -> None:
        """Set the learning rate of a step, counted from 1."""
        raise NotImplementedError

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the scalar to minimize, and figures to show; where batches accumulate, ``step`` counts batches."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Update what is no parameter, after the optimizer's step."""

    def score(self) -> float | None:
        """Score the weights for selection, higher is better; None: the last weights are taken."""
        return None

    def state(self) -> dict[str, Tensor]:
        """Return all tensors that a resumed run needs, except the optimizer's."""
        return self.weights.state_dict()

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.weights.load_state_dict(state)


@dataclass(frozen=True)
class TrainingResult:
    """The best step, its validation score, all scores by step, and the seconds of this process.

    ``curve``: records of the learning curve: ``step``, means over the steps since the record before of ``loss`` and of
    its parts, ``learning_rate``, and ``validation`` where the step was scored. ``step``: the last one.
    """

    best_step: int
    best_score: float
    history: list[tuple[int, float]]
    seconds: float
    curve: list[dict[str, float]] = field(default_factory=list)
    step: int = 0


def fit(
    training: Training,
    steps: int,
    *,
    every: int | Container[int],
    accumulation: int = 1,
    patience: int = 0,
    run: str = "",
    checkpoints: Path | None = None,
    report: Report | None = None,
    record: Record | None = None,
) -> TrainingResult:
    """Train to the last step and leave the weights that scored best, or the last ones where nothing scores.

    ``every``: after how many steps, or after which, weights are scored and saved.
    ``accumulation``: batches of a step. ``patience``: scores in a row without a better one that end it; 0: none do.
    ``checkpoints``: a folder; if it holds a checkpoint of this same run, training resumes there. None: no checkpoints.
    ``report`` is called after each step, ``record`` with each new record of the learning curve.
    """
    started = time.monotonic()
    at, best = _resume(training, run, checkpoints)
    means = _Means()
    if steps and not at.step and training.scores_start:
        best = _select(training, at, best)
    while at.step < steps and not (patience and at.stale() >= patience):
        step = at.step + 1
        training.set_rate(step)
        figures = _backward(training, step, accumulation)
        nn.utils.clip_grad_norm_(training.clipped, 1.0)
        training.optimizer.step()
        training.optimizer.zero_grad(set_to_none=True)
        if not math.isfinite(value := figures["loss"].item()):
            raise UsageError(f"{training.name} diverged at step {step} (loss {value}). Lower learning_rate.")
        training.after_step()
        at.step = step
        shown = {name: one.item() for name, one in figures.items()}
        means.add(shown)
        if report:
            report(step, steps, shown)
        scored = step == steps or (step % every == 0 if isinstance(every, int) else step in every)
        if scored:
            best = _select(training, at, best)
        if scored or step % math.ceil(steps / _RECORDS) == 0:
            at.curve.append({"step": step, **means.take(), "learning_rate": training.optimizer.param_groups[0]["lr"]})
            if at.history and at.history[-1][0] == step:
                at.curve[-1]["validation"] = at.history[-1][1]
            if record:
                record(at.curve[-1])
        if scored and checkpoints:
            save_checkpoint(checkpoints, run, at, training.state(), best, training.optimizer)
    if not steps:
        _select(training, at, best)  # nothing is trained, but the score is of interest
    if best:
        training.weights.load_state_dict(best)
    return TrainingResult(at.best_step, at.best_score, at.history, time.monotonic() - started, at.curve, at.step)


def _backward(training: Training, step: int, accumulation: int) -> dict[str, Tensor]:
    """Leave the mean gradient of a step's batches in the parameters; return the mean loss and figures."""
    if accumulation == 1:
        loss, figures = training.loss(step)
        loss.backward()
        return {"loss": loss.detach(), **figures}
    sums: dict[str, Tensor] = {}
    for batch in range((step - 1) * accumulation + 1, step * accumulation + 1):
        loss, figures = training.loss(batch)
        (loss / accumulation).backward()
        for name, one in {"loss": loss.detach(), **figures}.items():
            sums[name] = sums.get(name, 0.0) + one / accumulation
    return sums


@dataclass
class _Means:
    """Means of figures over steps."""

    sums: dict[str, float] = field(default_factory=dict)
    steps: int = 0

    def add(self, figures: Mapping[str, float]) -> None:
        self.steps += 1
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        """Return the means so far and begin again."""
        means = {name: value / self.steps for name, value in self.sums.items()}
        self.sums, self.steps = {}, 0
        return means


def _resume(training: Training, run: str, checkpoints: Path | None) -> tuple[RunState, dict[str, Tensor]]:
    """Load the progress and the best weights of a killed run, if any."""
    if checkpoints is None or (owner := checkpoint_run(checkpoints)) is None:
        return RunState(), {}
    if owner != run:
        raise UsageError(
            f"{checkpoints}: belongs to another run (other data, settings, seed or version of Kivuko). Delete it, "
            "or choose another --out."
        )
    at, state, best = load_checkpoint(checkpoints, training.optimizer)
    training.load_state(state)
    return at, best


def _select(training: Training, at: RunState, best: dict[str, Tensor]) -> dict[str, Tensor]:
    """Score the weights, note the score in ``at``, and return the best weights so far."""
    score = training.score()
    if score is None:
        return best
    at.history.append((at.step, score))
    if score < at.best_score or (score == at.best_score and not training.later_of_equals):
        return best
    at.best_score, at.best_step = score, at.step
    return {key: value.detach().clone() for key, value in training.weights.state_dict().items()}


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """Return the share of the highest learning rate: a linear warm-up, then half a cosine down to zero.

    >>> [round(warmup_cosine(step, 110, 10 / 110), 3) for step in (1, 10, 60, 110)]
    [0.1, 1.0, 0.5, 0.0]
    """
    warm = max(1, round(warmup * steps))
    if step <= warm:
        return step / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def step_seed(seed: int, step: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}:{step}".encode(), digest_size=7).digest())
