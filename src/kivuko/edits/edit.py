"""One edit of a text, and a text with the edits that made it what it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace ``text[start:end]`` by ``replacement``.

    ``start`` and ``end`` count code points of the text that the edit applies to and lie between grapheme clusters;
    ``kind`` names the kind of edit, see ``kivuko.edits.kinds``.
    """

    kind: str
    start: int
    end: int
    replacement: str


@dataclass(frozen=True, slots=True)
class Perturbed:
    """A text before and after; ``edits`` in their order, each against the text that the one before it left."""

    original: str
    text: str
    edits: tuple[Edit, ...] = ()


def apply_edit(text: str, edit: Edit) -> str:
    """Return the edited text.

    >>> apply_edit("paka", Edit("substitute", 1, 2, "o"))
    'poka'
    """
    return text[: edit.start] + edit.replacement + text[edit.end :]
