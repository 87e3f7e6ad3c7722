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


def net_change(text: str, edit: Edit) -> tuple[int, int, str]:
    """Return the part of ``text`` that an edit really changes, ``(start, end, replacement)``.

    What the text and the result have in common at their beginnings, then at their ends, is left out. So two edits of a
    text have the same net change exactly if they have the same result, which needs no copies of a long text to tell.

    >>> net_change("saab", Edit("delete", 1, 2, "")) == net_change("saab", Edit("delete", 2, 3, "")) == (2, 3, "")
    True
    """
    new, shift = edit.replacement, len(edit.replacement) - (edit.end - edit.start)
    kept_from = edit.start + len(new)

    def result(place: int) -> str:
        return new[place - edit.start] if place < kept_from else text[place - shift]

    start, shorter = edit.start, min(len(text), len(text) + shift)
    while start < shorter and text[start] == result(start):
        start += 1
    end = max(edit.end, start, start - shift)
    while end > max(start, start - shift) and text[end - 1] == result(end - 1 + shift):
        end -= 1
    return start, end, "".join(map(result, range(start, end + shift)))
