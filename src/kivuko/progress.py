"""Progress on standard error: bars on a terminal, a line now and then in a log.

``progress=None`` shows bars on a terminal or in a notebook, and else a line now and then during training; True always
shows bars; False shows nothing. A call within another call draws into the outer display and follows its choice.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
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

_WIDE = 110  # columns of a terminal
_SMALLEST_SHOWN = 0.0005  # anything less is displayed as 0.000
_SECONDS_BETWEEN_LINES = 15

Report = Callable[[int, int], None]  # (done, total)
Record = Callable[[Mapping[str, float]], None]  # of a learning curve


class PlainConsole(Console):
    """A console that prints the user's names and texts as they are: brackets and colons are no markup."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Let the command line end quietly, with status 0, when the reader is gone (``| head``)."""
        raise BrokenPipeError


console = PlainConsole(stderr=True)
out = PlainConsole()  # results of commands
_display: ContextVar[Progress | None] = ContextVar("display", default=None)
_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextmanager
def bars(progress: bool | None = None) -> Iterator[Progress]:
    """Yield the Rich display to add tasks to; one that an outer call has opened is used again."""
    outer = _display.get()
    if outer is not None and (progress is not False or _silent.get()):
        yield outer
        return
    with _new_display(_columns(), progress) as display:
        yield display


@contextmanager
def progress_bar(description: str, progress: bool | None = None) -> Iterator[Report]:
    """Yield a callable ``(done, total)`` that shows one bar from its first call on.

    >>> with progress_bar("images", progress=False) as report:
    ...     report(1, 10)
    """
    with bars(progress) as display:
        yield late_task(display, description)


def late_task(display: Progress, description: str) -> Report:
    """Return a callable ``(done, total)`` that adds a bar to ``display`` at its first call."""
    task: TaskID | None = None

    def report(done: int, total: int) -> None:
        nonlocal task
        if task is None:
            task = display.add_task(description, total=total, figures="")
        display.update(task, completed=done)

    return report


def note(text: str) -> None:
    """Print one line for the user on standard error, unless the call was made with ``progress=False``."""
    if not _silent.get():
        console.print(text, soft_wrap=True)


def _log(text: str) -> None:
    if not console.is_terminal:
        note(text)


@contextmanager
def _new_display(columns: Sequence[ProgressColumn], progress: bool | None) -> Iterator[Progress]:
    shown = console.is_terminal or console.is_jupyter if progress is None else progress
    display = Progress(*columns, console=console, disable=not shown)
    resets = [(_display, _display.set(display)), (_silent, _silent.set(progress is False))]
    try:
        with display:
            yield display
    finally:
        for variable, token in resets:
            variable.reset(token)  # type: ignore[attr-defined]


def _columns() -> tuple[ProgressColumn, ...]:
    whole = Column(no_wrap=True)  # a narrow terminal cuts off the end of the figures, not these columns
    return (
        SpinnerColumn(table_column=whole.copy()), TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24 if console.width >= _WIDE else 12, table_column=whole.copy()),
        CountColumn(table_column=whole.copy()), TimeElapsedColumn(table_column=whole.copy()),
        TextColumn("left"), TimeRemainingColumn(table_column=whole.copy()), FiguresColumn(),
    )  # fmt: skip


class CountColumn(ProgressColumn):
    """Done of total: items, or bytes for a task added with ``unit="bytes"``."""

    def render(self, task: Task) -> Text:
        form = decimal if task.fields.get("unit") == "bytes" else str
        total = "?" if task.total is None else form(int(task.total))
        return Text(f"{form(int(task.completed)):>{len(total)}}/{total}", style="progress.download")


class FiguresColumn(ProgressColumn):
    """A task's ``figures``, in one line that is cut where there is no room."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("figures", "")), style="dim", no_wrap=True, overflow="ellipsis")


@dataclass
class TrainingProgress:
    """Shows teacher encoding and training steps: loss, its parts, pairs per second, time left.

    ``record`` receives the learning curve.
    """

    display: Progress
    label: str
    batch_size: int
    unit: str = "pairs"
    record: Record | None = None
    _encoding: Report | None = None
    _training: TaskID | None = None
    _started: float = 0.0
    _first: int = 0
    _last_line: float = field(default_factory=time.monotonic)

    def encoded(self, done: int, total: int) -> None:
        if self._encoding is None:
            self._encoding = late_task(self.display, f"{self.label}: teacher")
        self._encoding(done, total)

    def stepped(self, step: int, steps: int, figures: Mapping[str, float]) -> None:
        now = time.monotonic()
        if self._training is None:
            if step > 1:
                note(f"{self.label}: resuming at step {step:,}")
            self._training = self.display.add_task(f"{self.label}: training", total=steps, figures="")
            self._started, self._first = now, step - 1
        shown = {name: value for name, value in figures.items() if name != "unconverged" or value >= _SMALLEST_SHOWN}
        line = " ".join(f"{name} {value:.3f}" for name, value in shown.items())
        if now - self._started > 1:  # earlier there is nothing to measure a speed by
            speed = (step - self._first) * self.batch_size / (now - self._started)
            line = f"{line} · {speed:,.0f} {self.unit}/s"
        self.display.update(self._training, completed=step, figures=line)
        if now - self._last_line > _SECONDS_BETWEEN_LINES or step == steps:
            self._last_line = now
            _log(f"{self.label}: step {step}/{steps} · {line}")


class StudyRun(Protocol):
    """A run of a study, as its bar needs it: a label, and an estimated cost in core seconds."""

    @property
    def label(self) -> str: ...

    @property
    def cost(self) -> float: ...


@dataclass
class StudyBar:
    """Shows how many runs are done, how long the others may take, and which ones are running.

    Runs count by their estimated cost; the time left comes from the costs and the times of those that are done.
    """

    display: Progress
    finished: int = 0
    _total: int = 0
    _task: TaskID | None = None
    _running: list[Any] = field(default_factory=list)
    _cost_done: float = 0.0
    _cost_left: float = 0.0
    _rate: float = 1.0
    _started: float = field(default_factory=time.monotonic)

    def planned(self, finished: Sequence[StudyRun], waiting: Sequence[StudyRun], workers: int) -> None:
        self.finished, self._total = len(finished), len(finished) + len(waiting)
        before, self._cost_left = sum(run.cost for run in finished), sum(run.cost for run in waiting)
        self._rate, self._started = float(workers), time.monotonic()  # a cost is a second of one core, about
        self._task = self.display.add_task("", total=before + self._cost_left, figures="")
        self.display.advance(self._task, before)
        _log(f"{self.finished} of {self._total} runs are there; {len(waiting)} to go, {workers} workers")

    def began(self, run: StudyRun) -> None:
        self._running.append(run)
        self._show()

    def ended(self, run: StudyRun, seconds: float) -> None:
        self._running.remove(run)
        self.finished += 1
        self._cost_done += run.cost
        self._cost_left -= run.cost
        self._rate = self._cost_done / max(1e-6, time.monotonic() - self._started)
        if self._task is not None:
            self.display.advance(self._task, run.cost)
        self._show()
        _log(f"{self._count()}: {run.label}, {seconds:.0f} s · {self._left()} left")

    def ticked(self) -> None:
        self._show()

    def _show(self) -> None:
        names = " · ".join(run.label for run in self._running)
        if self._task is not None:
            self.display.update(self._task, figures=f"{self._count()} runs · {self._left()} left · {names}")

    def _count(self) -> str:
        return f"{self.finished}/{self._total}"

    def _left(self) -> str:
        minutes, seconds = divmod(round(self._cost_left / max(1e-6, self._rate)), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}"


@contextmanager
def study_bar(progress: bool | None = None) -> Iterator[StudyBar]:
    """Yield one bar for all runs of a study; where standard error is no terminal, a line for each finished run."""
    columns = (SpinnerColumn(), BarColumn(bar_width=24), TextColumn("{task.fields[figures]}", markup=False))
    with _new_display(columns, progress) as display:
        yield StudyBar(display)


class ReadingSource(Protocol):
    """A source of pairs that knows its size in bytes (None: unknown) and how many of them were read."""

    @property
    def size(self) -> int | None: ...

    def bytes_read(self) -> int: ...


@dataclass
class ReadingBar:
    """Shows how far a reading is."""

    source: ReadingSource
    label: str
    display: Progress
    task: TaskID
    _began: float = field(default_factory=time.monotonic)
    _last_line: float = field(default_factory=time.monotonic)

    def show(self, pairs: int) -> None:
        now = time.monotonic()
        figures = f"{pairs:,} pairs · {pairs / max(1e-6, now - self._began):,.0f} pairs/s"
        self.display.update(self.task, completed=self.source.bytes_read(), figures=figures)
        if now - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = now
            _log(f"{self.label}: {figures}")


@contextmanager
def reading_bar(source: ReadingSource, label: str, progress: bool | None = None) -> Iterator[ReadingBar]:
    """Yield a bar for one reading of a source, gone when it ends; where there is no terminal, a line now and then."""
    with bars(progress) as display:
        task = display.add_task(label, total=source.size, unit="bytes", figures="")
        yield ReadingBar(source, label, display, task)
        display.remove_task(task)
