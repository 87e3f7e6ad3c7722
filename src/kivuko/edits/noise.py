"""Noise: edits drawn at random, without a look at any model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kivuko.edits.edit import Edit, Perturbed, apply_edit, net_change
from kivuko.edits.kinds import EditKind, edit_kinds
from kivuko.errors import UsageError

_TRIES = 4  # draws of an edit that does not bring back an earlier state of the text


def perturb(
    text: str, language: str, kinds: Sequence[str | EditKind], edits: int, rng: np.random.Generator
) -> Perturbed:
    """Apply ``edits`` random edits, one after another: a kind at random, then a place, then what is done there.

    An edit that would bring back the text of an earlier moment, or undo any one of the edits before it, is drawn again.
    Where no kind applies (a text of spaces,
    of one emoji) fewer edits are made, ``Perturbed.edits`` tells which.

    Args:
        kinds: kinds, or names of kinds and groups, see ``edit_kinds``.
        edits: at least 0.

    Raises:
        UsageError: an unknown kind, or a number of edits below 0.
    """
    if edits < 0:
        raise UsageError(f"a text cannot have {edits} edits: give 0 or more.")
    chosen = edit_kinds(kinds)
    made: list[Edit] = []
    seen, now = {text}, text
    ways_back: list[Edit] = []
    for _ in range(edits):
        undone = {apply_edit(now, back) for back in ways_back}
        edit = _draw(now, language, chosen, seen | undone, rng)
        if edit is None:
            break
        made.append(edit)
        back = Edit(edit.kind, edit.start, edit.start + len(edit.replacement), now[edit.start : edit.end])
        ways_back = [*_moved(ways_back, edit), back]
        now = apply_edit(now, edit)
        seen.add(now)
    return Perturbed(text, now, tuple(made))


def all_edits(text: str, language: str, kinds: Sequence[str | EditKind]) -> list[Edit]:
    """Return every single edit of some kinds, kind by kind; of those with the same result the first."""
    found: dict[tuple[int, int, str], Edit] = {}
    for kind in edit_kinds(kinds):
        for edit in kind.all(text, language):
            found.setdefault(net_change(text, edit), edit)
    return list(found.values())


def _moved(ways_back: list[Edit], edit: Edit) -> list[Edit]:
    """Return edits that undo earlier ones as they stand after one more edit; those it overlaps are dropped.

    What was left out where that edit put something in may come back on either side of it.
    """
    shift = len(edit.replacement) - (edit.end - edit.start)
    before = [back for back in ways_back if back.end <= edit.start]
    after = [back for back in ways_back if back.start >= edit.end]
    return before + [Edit(back.kind, back.start + shift, back.end + shift, back.replacement) for back in after]


def _draw(
    text: str, language: str, kinds: tuple[EditKind, ...], shunned: set[str], rng: np.random.Generator
) -> Edit | None:
    left = list(kinds)
    while left:
        kind = left.pop(int(rng.random() * len(left)))
        for _ in range(_TRIES):
            edit = kind.sample(text, language, rng)
            if edit is None:
                break
            if apply_edit(text, edit) not in shunned:
                return edit
    fresh = [edit for edit in all_edits(text, language, kinds) if apply_edit(text, edit) not in shunned]
    return fresh[int(rng.random() * len(fresh))] if fresh else None
