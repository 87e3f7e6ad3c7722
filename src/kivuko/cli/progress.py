"""The console of the commands' results; progress itself is ``kivuko.progress``."""

from __future__ import annotations

from kivuko.progress import PlainConsole, TrainingProgress, bars, console, late_task, reading_bar, study_bar

__all__ = ["TrainingProgress", "bars", "console", "late_task", "out", "reading_bar", "study_bar"]

out = PlainConsole()
