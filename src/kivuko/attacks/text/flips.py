"""Exchanges of subwords as edits of a text, and which of them to first order raise the loss most."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from kivuko.attacks.text.gradient import GradientEncoder, TokenGradients
from kivuko.edits import Edit, graphemes
from kivuko.edits.graphemes import offsets, stay_apart

_WORD_STARTS = ("▁", "Ġ")
_ROWS = 128  # places whose scores for the whole vocabulary are made at once
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

    def best(self, texts: Sequence[str], told: Sequence[TokenGradients], count: int) -> list[list[Edit]]:
        """Return for each text the exchanges that to first order raise the loss most, no more than half at one place.

        To first order an exchange gains the new subword's vector less those of the old ones, times the mean gradient at
        the place.
        """
        slots = [_slots(text, own.spans) for text, own in zip(texts, told, strict=True)]
        slopes = [own.gradients.new_zeros(0, self._vectors.shape[1]) if not places else
                  torch.stack([own.gradients[inside].mean(0) for _, _, inside in places])
                  for places, own in zip(slots, told, strict=True)]  # fmt: skip
        tops = self._tops(slopes, min(2 * count, len(self._spellings)))
        return [
            self._of_text(text, places, own, top, count)
            for text, places, own, top in zip(texts, slots, told, tops, strict=True)
        ]

    def _tops(self, slopes: Sequence[Tensor], count: int) -> list[tuple[Tensor, Tensor]]:
        """Return the best products with the vocabulary, and the subwords, each [places, count], for every text.

        In a static encoder all places of a text have the same gradient, which is then multiplied once.
        """
        once = [own[:1] if len(own) and bool((own == own[:1]).all()) else own for own in slopes]
        rows = torch.cat([self._usable[:0], *once])
        parts = [(part @ self._usable.T).topk(count) for part in rows.split(_ROWS)] if len(rows) else []
        sizes = [len(own) for own in once]
        values = torch.cat([rows.new_zeros(0, count), *(part.values for part in parts)]).split(sizes)
        pieces = torch.cat([torch.zeros(0, count).long(), *(part.indices for part in parts)]).split(sizes)
        return [
            (value.expand(len(own), -1), piece.expand(len(own), -1))
            for value, piece, own in zip(values, pieces, slopes, strict=True)
        ]

    def _of_text(
        self, text: str, slots: Sequence[Slot], told: TokenGradients, top: tuple[Tensor, Tensor], count: int
    ) -> list[Edit]:
        per_slot = max(1, count // 2) if len(slots) > 1 else count
        products = (told.gradients * self._vectors[told.ids]).sum(1).tolist()  # of the subwords that stand there now
        ranked: list[tuple[float, Edit]] = []
        for slot, values, pieces in zip(slots, top[0].tolist(), top[1].tolist(), strict=True):
            lost = sum(products[n] for n in slot[2])
            edits = ((value - lost, self._edit(text, slot, piece)) for value, piece in zip(values, pieces, strict=True))
            ranked += [(gain, edit) for gain, edit in edits if edit is not None][:per_slot]
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


def _slots(text: str, spans: Sequence[tuple[int, int]]) -> list[Slot]:
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
