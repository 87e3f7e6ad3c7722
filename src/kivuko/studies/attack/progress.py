"""How attacks tell how far they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Progress = Callable[[int, int], None]  # (steps done, steps) of one attack on one language


class Watch(Protocol):
    """What is told while attacks run."""

    def began(self, attack: str, language: str) -> None:
        """An attack on the queries of one language begins."""
        ...

    def stepped(self, done: int, total: int) -> None:
        """Part of it is done."""
        ...

    def ended(self) -> None:
        """It is done."""
        ...


class Unwatched:
    """A watch that tells nobody."""

    def began(self, attack: str, language: str) -> None:
        """See Watch."""

    def stepped(self, done: int, total: int) -> None:
        """See Watch."""

    def ended(self) -> None:
        """See Watch."""
