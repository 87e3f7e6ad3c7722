"""What makes a pretrained student cheap to train: batches cut by length, and token vectors that learn only if used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

_AT_ONCE = 10_000  # texts that are cut to tokens together
_MOST_USED = 0.5  # share of a vocabulary from which leaving rows out saves too little


class UsedRows(nn.Module):
    """A table of token vectors of which the rows in use learn and the others keep their vectors.

    The rows in use learn as in the whole table, exactly if there is no weight decay: AdamW leaves a row without a
    gradient where it is. There are no gradients and moments of the others, most of a multilingual vocabulary.
    """

    table: Tensor  # float [vocabulary, dim]
    places: Tensor  # int64 [vocabulary], the place of a row among ``learned``; -1: it does not learn

    def __init__(self, embedding: nn.Embedding, rows: Tensor) -> None:
        """Let ``rows``, int64 [used] (may be empty), of a table learn; its memory is shared until ``whole``."""
        super().__init__()
        self.padding_idx = embedding.padding_idx
        places = torch.full((embedding.num_embeddings,), -1)
        places[rows] = torch.arange(len(rows))
        self.register_buffer("table", embedding.weight.detach(), persistent=False)
        self.register_buffer("places", places.to(embedding.weight.device), persistent=False)
        self.learned = nn.Parameter(self.table[rows].clone(), requires_grad=len(rows) > 0)

    def forward(self, ids: Tensor) -> Tensor:
        """Look tokens up, int64 [...] -> float [..., dim]."""
        places = self.places[ids]
        learns = places >= 0
        if learns.all():
            return F.embedding(places, self.learned)
        if not len(self.learned):
            return F.embedding(ids, self.table)
        own = F.embedding(places.clamp(min=0), self.learned)
        return torch.where(learns[..., None], own, F.embedding(ids, self.table))

    @torch.no_grad()
    def whole(self) -> nn.Embedding:
        """Return the table as one layer, with the rows as they have learned."""
        rows = (self.places >= 0).nonzero()[:, 0]
        self.table[rows] = self.learned[self.places[rows]]
        rebuilt: nn.Embedding = nn.Embedding.from_pretrained(self.table, freeze=False, padding_idx=self.padding_idx)
        return rebuilt


def used_rows(student: Any, texts: Iterable[str]) -> Tensor | None:
    """Return the rows of a transformer's token vectors that texts use, int64; None if leaving others out saves little.

    None as well for a student without such a table or whose table is frozen (adapters).
    """
    network = getattr(student, "model", None)
    table = network.get_input_embeddings() if network is not None else None
    if not isinstance(table, nn.Embedding) or not table.weight.requires_grad:
        return None
    used = np.zeros(table.num_embeddings, dtype=bool)
    distinct = list(dict.fromkeys(texts))
    for start in range(0, len(distinct), _AT_ONCE):
        for ids in student.token_ids(distinct[start : start + _AT_ONCE]):
            used[ids] = True
    if student.tokenizer.pad_token_id is not None:
        used[student.tokenizer.pad_token_id] = False
    return None if used.mean() > _MOST_USED else torch.from_numpy(np.flatnonzero(used))


def by_length(lengths: Sequence[int], *, cost: int, most: int) -> list[list[int]]:
    """Split a batch of texts into parts of like length, the shortest first, so that little of a part is padding.

    The split is the one with the fewest tokens, padding included, where each further part costs as much as ``cost``
    tokens. No part has more than ``most`` tokens, unless it is one text.

    >>> by_length([3, 40, 4, 3, 41], cost=10, most=1000)
    [[0, 3, 2], [1, 4]]
    """
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    # Candidates for the end of a part: behind the last text of each length.
    ends = [n for n in range(1, len(order) + 1) if n == len(order) or lengths[order[n]] > lengths[order[n - 1]]]
    least, begin = {0: 0}, dict[int, int]()
    for end in ends:
        longest = lengths[order[end - 1]]
        least[end], begin[end] = min((least[first] + (end - first) * longest + cost, first) for first in least)
    parts: list[list[int]] = []
    end = len(order)
    while end:
        rows = order[begin[end] : end]
        size = max(1, most // max(1, lengths[rows[-1]]))
        parts += [rows[first : first + size] for first in range(0, len(rows), size)][::-1]
        end = begin[end]
    return parts[::-1]
