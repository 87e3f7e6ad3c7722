"""Progress bars on standard error, for everything that takes more than a moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from kivuko.bitext.pairs import PairSource
    from kivuko.studies.low_resource.grid import Run


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to ``main`` to end quietly, with status 0, where the reader has left (``| head``)."""
        raise BrokenPipeError


# What is printed holds names and texts of the user's: brackets and colons in them are no markup.
console = _Console(stderr=True, highlight=False, markup=False, emoji=False)
out = _Console(highlight=False, markup=False, emoji=False)


_WIDE = 110  # columns of a terminal
_SEEN = 0.0005  # what is less is shown as 0.000


@contextmanager
def bars() -> Iterator[Progress]:
    """Yield a Rich progress display; where standard error is no terminal it stays silent."""
    whole = Column(no_wrap=True)  # what a narrow terminal has no room for is cut off the figures at the end
    columns = (
        SpinnerColumn(table_column=whole.copy()), TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24 if console.width >= _WIDE else 12, table_column=whole.copy()),
        MofNCompleteColumn(table_column=whole.copy()), TimeElapsedColumn(table_column=whole.copy()),
        TextColumn("left"), TimeRemainingColumn(table_column=whole.copy()), FiguresColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=False, disable=not console.is_terminal) as progress:
        yield progress


class FiguresColumn(ProgressColumn):
    """What a task says of itself, in one line that is cut where there is no room."""

    def render(self, task: Task) -> Text:
        """See ProgressColumn."""
        return Text(str(task.fields.get("figures", "")), style="dim", no_wrap=True, overflow="ellipsis")


def late_task(progress: Progress, description: str) -> Callable[[int, int], None]:
    """Return what takes (done, total) and shows a bar from the first time on: none where there is nothing to do."""
    task: TaskID | None = None

    def tell(done: int, total: int) -> None:
        nonlocal task
        if task is None:
            task = progress.add_task(description, total=total, figures="")
        progress.update(task, completed=done)

    return tell


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
            if step > 1:
                console.print(f"{self.label}: going on from step {step - 1:,}", soft_wrap=True)
            self._training = int(self.progress.add_task(f"{self.label}: training", total=steps, figures=""))
            self._started, self._first = now, step - 1
        told = {name: value for name, value in figures.items() if name != "unconverged" or value >= _SEEN}
        line = " ".join(f"{name} {value:.3f}" for name, value in told.items())
        if now - self._started > 1:  # sooner, it would be the speed of nothing
            speed = (step - self._first) * self.batch_size / (now - self._started)
            line = f"{line} · {speed:,.0f} pairs/s"
        self.progress.update(self._training, completed=step, figures=line)  # type: ignore[arg-type]
        if not console.is_terminal and (now - self._last_line > 15 or step == steps):
            self._last_line = now  # a log gets a line now and then instead of a bar
            console.print(f"{self.label}: step {step}/{steps} · {line}", soft_wrap=True)


@contextmanager
def study_bar() -> Iterator[StudyBar]:
    """Yield one bar for all runs of a study; where standard error is no terminal, a line for each finished run."""
    columns = (
        SpinnerColumn(), BarColumn(bar_width=24), TextColumn("{task.fields[figures]}", markup=False),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=False, disable=not console.is_terminal) as progress:
        yield StudyBar(progress)


@dataclass
class StudyBar:
    """Shows how many runs are done, how long the others may take, and which ones are running.

    Runs count by their estimated cost; the time left comes from the costs and the times of those that are done.
    """

    progress: Progress
    finished: int = 0
    _total: int = 0
    _task: int | None = None
    _running: list[Run] = field(default_factory=list)
    _cost_done: float = 0.0
    _cost_left: float = 0.0
    _rate: float = 1.0
    _started: float = field(default_factory=time.monotonic)

    def planned(self, finished: Sequence[Run], waiting: Sequence[Run], workers: int) -> None:
        """See studies.low_resource.study.StudyWatch."""
        self.finished, self._total = len(finished), len(finished) + len(waiting)
        before, self._cost_left = sum(run.cost for run in finished), sum(run.cost for run in waiting)
        self._rate, self._started = float(workers), time.monotonic()  # a cost is a second of one core, about
        self._task = int(self.progress.add_task("", total=before + self._cost_left, figures=""))
        self.progress.advance(self._task, before)  # type: ignore[arg-type]
        if not console.is_terminal:
            console.print(f"{self.finished} of {self._total} runs are there; {len(waiting)} to go, {workers} workers")

    def began(self, run: Run) -> None:
        """See studies.low_resource.workers.Watch."""
        self._running.append(run)
        self._show()

    def ended(self, run: Run, seconds: float) -> None:
        """See studies.low_resource.workers.Watch."""
        self._running.remove(run)
        self.finished += 1
        self._cost_done += run.cost
        self._cost_left -= run.cost
        self._rate = self._cost_done / max(1e-6, time.monotonic() - self._started)
        if self._task is not None:
            self.progress.advance(self._task, run.cost)  # type: ignore[arg-type]
        self._show()
        if not console.is_terminal:
            console.print(f"{self._count()}: {run.label}, {seconds:.0f} s · {self._left()} left", soft_wrap=True)

    def ticked(self) -> None:
        """See studies.low_resource.workers.Watch."""
        self._show()

    def _show(self) -> None:
        names = " · ".join(run.label for run in self._running)
        if self._task is not None:
            line = f"{self._count()} runs · {self._left()} left · {names}"
            self.progress.update(self._task, figures=line)  # type: ignore[arg-type]

    def _count(self) -> str:
        return f"{self.finished}/{self._total}"

    def _left(self) -> str:
        minutes, seconds = divmod(round(self._cost_left / max(1e-6, self._rate)), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}"


@contextmanager
def reading_bar(source: PairSource, label: str) -> Iterator[ReadingBar]:
    """Yield a bar for one reading of a source; where standard error is no terminal, a line now and then."""
    columns = (
        SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), DownloadColumn(),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("[dim]{task.fields[figures]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield ReadingBar(source, label, progress, progress.add_task(label, total=source.size, figures=""))


@dataclass
class ReadingBar:
    """Shows how far a reading is."""

    source: PairSource
    label: str
    progress: Progress
    task: TaskID
    _began: float = field(default_factory=time.monotonic)
    _line: float = field(default_factory=time.monotonic)

    def show(self, pairs: int) -> None:
        """Show that so many pairs were read."""
        now = time.monotonic()
        figures = f"{pairs:,} pairs · {pairs / max(1e-6, now - self._began):,.0f} pairs/s"
        if console.is_terminal:
            self.progress.update(self.task, completed=self.source.bytes_read(), figures=figures)
        elif now - self._line > 15:
            self._line = now
            console.print(f"{self.label}: {figures}", soft_wrap=True)
