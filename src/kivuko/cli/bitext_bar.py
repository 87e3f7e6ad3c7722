"""A bar for reading parallel text: bytes of the file where its size is known, and pairs per second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from kivuko.cli.progress import console

if TYPE_CHECKING:
    from kivuko.bitext.source import PairSource


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
