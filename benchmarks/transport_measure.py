"""Timing the contenders of one cell in turn, round by round, and leaving out those that would take too long."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.machine import Interference
from benchmarks.transport_contenders import (
    OURS,
    REFERENCE,
    ROUNDING,
    TOLERANCE,
    Contender,
    Ready,
    Task,
    marginal_errors,
    worst_iterations,
)
from benchmarks.transport_grid import Cell
from benchmarks.transport_inputs import Inputs

KEY_ROUNDS, ROUNDS = 7, 3
SLOW = 0.5  # seconds a call, above which a contender is timed once and not in every round, but at key cells
_BLOCK = 0.03  # seconds that a timed block of calls lasts at least
_PAUSE = 0.02  # seconds before each, in which the threads of the contender before go to sleep
_PROBE = 16  # problems that a prediction is made from, where no smaller batch was measured

Record = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A contender that takes part in a cell, ready, and what it has done so far."""

    contender: Contender
    ready: Ready
    seconds: list[float]
    errors: torch.Tensor
    distance: torch.Tensor | None
    typical: float  # seconds, of the first call


def measure(
    cell: Cell, inputs: Inputs, contenders: Sequence[Contender], budget: float, earlier: Sequence[Record],
    advance: Callable[[str], None] = lambda label: None,
) -> list[Record]:  # fmt: skip
    """Return one record per contender.

    Args:
        cell: what ``inputs`` are.
        inputs: the problems.
        contenders: those that are installed, ours first.
        budget: seconds; a contender whose single call is predicted to take longer is not run.
        earlier: records of this run, from which predictions are made.
        advance: called with a contender's label before work on it starts.
    """
    entries: list[Entry] = []
    records: list[Record] = []
    ours, our_plan = None, None
    hint = _hint(cell, inputs, budget, earlier)
    task = Task(inputs, cell.regularization, hint, budget)
    for contender in contenders:
        advance(contender.label)
        predicted, basis = predict(contender, cell, task, earlier)
        if predicted > budget:
            note = f"> {budget:g} s predicted: {predicted:.0f} s, {basis}"
            records.append(_record(cell, inputs, contender, note=note))
            continue
        entry, plan = _enter(contender, task, our_plan)
        entries.append(entry)
        if contender.name == OURS.name:
            ours, our_plan = entry, plan
        del plan
    interference = Interference()
    _rounds(cell, entries)
    others = interference.share()
    records += [_record(cell, inputs, entry.contender, entry, ours) | {"others": others} for entry in entries]
    order = [contender.name for contender in contenders]
    return sorted(records, key=lambda record: order.index(record["contender"]))


def predict(contender: Contender, cell: Cell, task: Task, earlier: Sequence[Record]) -> tuple[float, str]:
    """Return how many seconds one call will take, and what that is judged from; time grows with the batch."""
    batch = task.inputs.cost.shape[0]
    if batch <= _PROBE or contender.adapts:
        return 0.0, "no need"
    same = [
        record
        for record in earlier
        if record["contender"] == contender.name
        and all(record[name] == getattr(cell, name) for name in ("kind", "regularization"))
        and record["size"] == cell.size
        and record["batch"] < batch
    ]
    if same:
        largest = max(same, key=lambda record: record["batch"])
        if largest["seconds"] is None:
            return float("inf"), f"a batch of {largest['batch']} took too long"
        return largest["seconds"] * batch / largest["batch"], f"scaled from a batch of {largest['batch']}"
    # The iteration limit that the whole batch needs suits its first problems, too.
    ready = contender.prepare(replace(task, inputs=task.inputs.first(_PROBE)))
    started = time.perf_counter()
    ready.run()
    seconds = time.perf_counter() - started
    return seconds * batch / _PROBE, f"scaled from {_PROBE} of its problems"


def _hint(cell: Cell, inputs: Inputs, budget: float, earlier: Sequence[Record]) -> int | None:
    """Return how many iterations the hardest problem needs, None where finding out would take too long."""
    predicted, _ = predict(REFERENCE, cell, Task(inputs, cell.regularization), earlier)
    return None if predicted > budget else worst_iterations(inputs, cell.regularization)


def _enter(contender: Contender, task: Task, our_plan: torch.Tensor | None) -> tuple[Entry, torch.Tensor]:
    """Set a contender up and let it solve the problems once, untimed; return its plans, too."""
    ready = contender.prepare(task)
    started = time.perf_counter()
    found = ready.run()
    typical = time.perf_counter() - started
    plan = ready.plan(found)
    distance = None if our_plan is None else (plan - our_plan).abs().sum(dim=(1, 2)).max()
    return Entry(contender, ready, [], marginal_errors(plan, task.inputs), distance, typical), plan


def _rounds(cell: Cell, entries: Sequence[Entry]) -> None:
    """Time all in turn, each round starting with another."""
    gc.collect()
    for number in range(KEY_ROUNDS if cell.key else ROUNDS):
        for place in range(len(entries)):
            entry = entries[(place + number) % len(entries)]
            if number and entry.typical > SLOW and not cell.key:
                continue
            calls = max(1, min(100, round(_BLOCK / entry.typical)))
            entry.seconds.append(_block(entry.ready.run, calls))


def _block(run: Callable[[], Any], calls: int) -> float:
    """Return the mean seconds of a call."""
    time.sleep(_PAUSE)
    started = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - started) / calls


def _record(
    cell: Cell, inputs: Inputs, contender: Contender, entry: Entry | None = None, ours: Entry | None = None,
    note: str = "",
) -> Record:  # fmt: skip
    """Return the record of one contender in one cell; numbers are None where it was not run."""
    record: Record = {
        "contender": contender.name, "label": contender.label, **cell.record(), "key": cell.key, "size": cell.size,
        "padded": list(inputs.cost.shape[1:]), "seconds": None, "seconds_min": None, "seconds_max": None, "rounds": 0,
        "ratio": None, "ratio_min": None, "ratio_max": None, "marginal_error": None, "within_tolerance": None,
        "plan_distance": None, "setting": "", "compile_seconds": None, "others": None, "note": note,
    }  # fmt: skip
    if entry is None:
        return record
    record |= {
        "seconds": statistics.median(entry.seconds), "seconds_min": min(entry.seconds),
        "seconds_max": max(entry.seconds), "rounds": len(entry.seconds), "setting": entry.ready.setting,
        "compile_seconds": entry.ready.compile_seconds,
        "within_tolerance": float((entry.errors <= TOLERANCE * ROUNDING).double().mean()),
    }  # fmt: skip
    if bool(entry.errors.isfinite().all()):
        record["marginal_error"] = float(entry.errors.max())
    else:
        record["note"] = "breaks: not a number"
    if entry.distance is not None and bool(entry.distance.isfinite()):
        record["plan_distance"] = float(entry.distance)
    if ours is not None:
        ratios = [theirs / own for theirs, own in zip(entry.seconds, ours.seconds, strict=False)]
        record |= {"ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}
    return record
