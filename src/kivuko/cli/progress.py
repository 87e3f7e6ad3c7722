"""Progress bars on standard error, for everything that takes more than a moment."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to ``main`` to end quietly, with status 0, where the reader has left (``| head``)."""
        raise BrokenPipeError


# What is printed holds names and texts of the user's: brackets and colons in them are no markup.
console = _Console(stderr=True, highlight=False, markup=False, emoji=False)
out = _Console(highlight=False, markup=False, emoji=False)


@contextmanager
def bars() -> Iterator[Progress]:
    """Yield a Rich progress display; where standard error is no terminal it stays silent."""
    columns = (
        SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("[dim]{task.fields[figures]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=False, disable=not console.is_terminal) as progress:
        yield progress


@dataclass
class TrainingWatch:
    """Shows teacher encoding and training steps: loss, its parts, pairs per second, time left."""

    progress: Progress
    label: str
    batch_size: int
    _encoding: int | None = None
    _training: int | None = None
    _started: float = 0.0
    _first: int = 0
    _last_line: float = field(default_factory=time.monotonic)

    def encoded(self, done: int, total: int) -> None:
        """See distill.run.Watch."""
        if self._encoding is None:
            self._encoding = int(self.progress.add_task(f"{self.label}: teacher", total=total, figures="sentences"))
        self.progress.update(self._encoding, completed=done)  # type: ignore[arg-type]

    def stepped(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """See distill.run.Watch."""
        now = time.monotonic()
        if self._training is None:
            self._training = int(self.progress.add_task(f"{self.label}: training", total=steps, figures=""))
            self._started, self._first = now, step - 1
        speed = (step - self._first) * self.batch_size / max(1e-6, now - self._started)
        shown = " ".join(f"{name} {value:.3f}" for name, value in figures.items())
        line = f"{shown} · {speed:,.0f} pairs/s"
        self.progress.update(self._training, completed=step, figures=line)  # type: ignore[arg-type]
        if not console.is_terminal and (now - self._last_line > 15 or step == steps):
            self._last_line = now  # a log gets a line now and then instead of a bar
            console.print(f"{self.label}: step {step}/{steps} · {line}", soft_wrap=True)
