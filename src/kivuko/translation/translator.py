"""What every translator does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Progress = Callable[[int, int], None]  # (done, total)


class Translator(Protocol):
    """Something that translates into English."""

    @property
    def name(self) -> str:
        """A short name for tables and records."""
        ...

    def translate(self, texts: list[str], language: str) -> list[str]:
        """Translate texts into English, one translation per text, in order; an empty text gives an empty text.

        Args:
            texts: all in one language.
            language: its BCP 47 code.

        Raises:
            ModelError: the translator does not know the language.
        """
        ...
