"""All kinds of edit by name, and groups of kinds that go together."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from kivuko.edits.characters import CHARACTER_KINDS
from kivuko.edits.edit import Edit
from kivuko.edits.forms import FORM_KINDS
from kivuko.edits.words import WORD_KINDS
from kivuko.errors import UsageError


class EditKind(Protocol):
    """A way to edit a text once."""

    @property
    def name(self) -> str:
        """As in ``Edit.kind``."""
        ...

    @property
    def description(self) -> str:
        """Half a sentence for a list."""
        ...

    def all(self, text: str, language: str) -> list[Edit]:
        """Return every single edit, in a fixed order, none with the result of another."""
        ...

    def sample(self, text: str, language: str, rng: np.random.Generator) -> Edit | None:
        """Return one edit at random; None if none applies."""
        ...


EDIT_KINDS: Mapping[str, EditKind] = {kind.name: kind for kind in (*CHARACTER_KINDS, *FORM_KINDS, *WORD_KINDS)}
EDIT_GROUPS: Mapping[str, tuple[str, ...]] = {
    "typo": ("insert", "delete", "swap", "substitute"),
    "form": ("diacritics", "case", "width", "normalization"),
    "word": ("join", "split", "drop-word", "swap-words"),
    "any": tuple(EDIT_KINDS),
}


def edit_kinds(names: Sequence[str | EditKind]) -> tuple[EditKind, ...]:
    """Return the kinds that names of kinds and groups stand for, each once.

    Raises:
        UsageError: a name is neither.
    """
    found: dict[str, EditKind] = {}
    for name in names:
        if not isinstance(name, str):
            found[name.name] = name
            continue
        if name not in EDIT_KINDS and name not in EDIT_GROUPS:
            near = difflib.get_close_matches(name, [*EDIT_KINDS, *EDIT_GROUPS], 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join([*EDIT_KINDS, *EDIT_GROUPS])}."
            raise UsageError(f"unknown kind of edit '{name}'; {hint}")
        found |= {one: EDIT_KINDS[one] for one in EDIT_GROUPS.get(name, (name,))}
    if not found:
        raise UsageError("no kind of edit is named: give at least one.")
    return tuple(found.values())
