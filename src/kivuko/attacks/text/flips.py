"""Exchanges of subwords as edits of a text, and which of them to first order raise the loss most."""

from __future__ import annotations

from itertools import pairwise

import torch

from kivuko.attacks.text.gradient import GradientEncoder, TokenGradients
from kivuko.edits import Edit, graphemes
from kivuko.edits.graphemes import offsets, stay_apart

_WORD_STARTS = ("▁", "Ġ")
Slot = tuple[int, int, list[int]]  # where it begins and ends, in code points; which subwords stand there


class Flips:
    """All subwords of a vocabulary that may take the place of others."""

    def __init__(self, encoder: GradientEncoder) -> None:
        usable = [n for n, spelling in enumerate(encoder.spellings) if spelling]
        self._vectors, self._usable = encoder.vectors, encoder.vectors[usable]
        self._spellings = [encoder.spellings[n] for n in usable]
        marked = any(piece.startswith(_WORD_STARTS) for piece in encoder.pieces)
        self._begins = [
            encoder.pieces[n].startswith(_WORD_STARTS) if marked else not encoder.pieces[n].startswith("##")
            for n in usable
        ]

    def best(self, text: str, told: TokenGradients, count: int) -> list[Edit]:
        """Return the exchanges that to first order raise the loss most, at most half of them at one place."""
        slots = _slots(text, told.spans)
        if not slots or not self._spellings:
            return []
        slopes = torch.stack([told.gradients[inside].mean(0) for _, _, inside in slots])  # [slots, width]
        lost = torch.stack([(told.gradients[inside] * self._vectors[told.ids[inside]]).sum() for _, _, inside in slots])
        per_slot = max(1, count // 2) if len(slots) > 1 else count
        found = (slopes @ self._usable.T).topk(min(2 * per_slot, len(self._spellings)))  # [slots, 2 per_slot]
        ranked: list[tuple[float, Edit]] = []
        for slot, values, pieces in zip(
            slots, (found.values - lost[:, None]).tolist(), found.indices.tolist(), strict=True
        ):
            edits = ((value, self._edit(text, slot, piece)) for value, piece in zip(values, pieces, strict=True))
            ranked += [(value, edit) for value, edit in edits if edit is not None][:per_slot]
        ranked.sort(key=lambda one: -one[0])
        return [edit for _, edit in ranked[:count]]

    def _edit(self, text: str, slot: Slot, piece: int) -> Edit | None:
        """Return the exchange; None if it changes nothing or a grapheme cluster beside it would be another one.

        A subword that begins a word gets a space before it where it stands inside of one.
        """
        start, end, _ = slot
        inside = start > 0 and not text[start - 1].isspace()
        new = " " + self._spellings[piece] if inside and self._begins[piece] else self._spellings[piece]
        before, after = graphemes(text[:start])[-1:], graphemes(text[end:])[:1]
        if new == text[start:end] or not stay_apart("".join(before), new, "".join(after)):
            return None
        return Edit("subword", start, end, new)


def _slots(text: str, spans: list[tuple[int, int]]) -> list[Slot]:
    """Return the places for an exchange: each subword, widened to whole grapheme clusters, without spaces around it."""
    starts = offsets(graphemes(text))
    cluster = [n for n, (start, end) in enumerate(pairwise(starts)) for _ in range(start, end)]
    found: dict[tuple[int, int], None] = {}
    for start, end in spans:
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        if start < end:
            found[starts[cluster[start]], starts[cluster[end - 1] + 1]] = None
    return [(start, end, [n for n, (a, b) in enumerate(spans) if a < end and start < b]) for start, end in found]
