"""The goal of attacks on queries, the rank of the right image, and the search by single edits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError, UsageError
from kivuko.perturbations import Edit, Perturbed, apply_edit
from kivuko.ranks import right_ranks

EncodeTexts = Callable[[Sequence[str]], NDArray[np.float32]]  # texts -> unit vectors [texts, dim]
_CELLS = 1_000_000  # of the score matrix at once: a few passes over it stay in the cache


@dataclass(frozen=True, eq=False)
class TextGoal:
    """A gallery, and the right image of each query."""

    gallery: NDArray[np.float32]  # unit vectors, float32 [images, dim]
    own: NDArray[np.int64]  # int64 [queries], rows of the gallery
    # unit vectors, of perturbed images for example, that replace one image per query, float32 [queries, dim]
    instead: NDArray[np.float32] | None = None
    # int64 [queries], the rows that ``instead`` replaces, -1 for none; None: ``own``
    replaced: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.gallery.ndim != 2 or not len(self.gallery) or not np.isfinite(self.gallery).all():
            raise DataError("the gallery is empty or holds numbers that are not finite: encode its images again.")
        outside = (self.own < 0) | (self.own >= len(self.gallery))
        if outside.any():
            query = int(np.flatnonzero(outside)[0])
            raise DataError(
                f"query {query} should find image {int(self.own[query])}, but the gallery has {len(self.gallery)}: "
                "give the gallery that the queries belong to."
            )

    def rank(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> RankState:
        """Rank the own images for unit vectors [n, dim] of the queries ``rows``, int64 [n]."""
        if vectors.ndim != 2 or vectors.shape[1] != self.gallery.shape[1]:
            raise DataError(
                f"the encoder gave vectors of shape {vectors.shape} for a gallery of {self.gallery.shape[1]} numbers "
                "an image: take both from the same model."
            )
        if not np.isfinite(vectors).all():
            raise DataError("the encoder gave numbers that are not finite: check its weights.")
        ranks, margins = np.empty(len(rows), dtype=np.int64), np.empty(len(rows), dtype=np.float32)
        chunk = max(1, _CELLS // len(self.gallery))
        for start in range(0, len(rows), chunk):
            part = slice(start, start + chunk)
            scores = vectors[part] @ self.gallery.T
            self._replace(scores, vectors[part], rows[part])
            places = (np.arange(len(scores)), self.own[rows[part]])
            own = scores[places].copy()
            ranks[part] = right_ranks(scores, self.own[rows[part]])
            scores[places] = -np.inf
            margins[part] = own - scores.max(1)
        return RankState(ranks, margins)

    def _replace(self, scores: NDArray[np.float32], vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        if self.instead is None:
            return
        columns = (self.own if self.replaced is None else self.replaced)[rows]
        chosen = np.flatnonzero(columns >= 0)
        scores[chosen, columns[chosen]] = (vectors[chosen] * self.instead[rows[chosen]]).sum(1)


@dataclass(frozen=True, eq=False)
class RankState:
    """``ranks``: int64 [n], from 1, ties against the own image; ``margins``: own score less the best other."""

    ranks: NDArray[np.int64]
    margins: NDArray[np.float32]

    def attack_loss(self) -> NDArray[np.float64]:
        """Return what an attack raises, float64 [n]: the rank, and among equal ranks the lower margin."""
        loss: NDArray[np.float64] = self.ranks - np.clip(self.margins, -2, 2).astype(np.float64) / 8
        return loss


Progress = Callable[[int, int], None]  # (rounds done, rounds)


@dataclass(frozen=True, slots=True)
class AttackedText:
    """A query under attack, after each of its edits."""

    perturbed: Perturbed  # the text before and after all edits
    ranks: tuple[int, ...]  # of the right image, from 1, before the first edit and after each: never falling
    margins: tuple[float, ...]  # score of the right image less the best other's, before the first edit and after each
    # texts encoded for this query in each round; the clean query is not counted. There is one round more than edits
    # where the last one had no edit that harms.
    calls_per_round: tuple[int, ...]

    @property
    def rank_before(self) -> int:
        return self.ranks[0]

    @property
    def rank_after(self) -> int:
        return self.ranks[-1]

    @property
    def calls(self) -> int:
        return sum(self.calls_per_round)

    def within(self, budget: int) -> AttackedText:
        """Return the result of the same attack with a smaller budget: the first ``budget`` edits."""
        edits = self.perturbed.edits[:budget]
        text = self.perturbed.original
        for edit in edits:
            text = apply_edit(text, edit)
        kept = len(edits) + 1
        return AttackedText(
            Perturbed(self.perturbed.original, text, edits),
            self.ranks[:kept],
            self.margins[:kept],
            self.calls_per_round[:budget],
        )


@dataclass(slots=True)
class AttackState:
    """The state of one query in a search that adds edit after edit; ``stuck`` once no candidate harms."""

    original: str
    text: str
    language: str
    attack_loss: float
    ranks: list[int]
    margins: list[float]
    edits: list[Edit] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)  # of each round
    stuck: bool = False

    def result(self) -> AttackedText:
        perturbed = Perturbed(self.original, self.text, tuple(self.edits))
        return AttackedText(perturbed, tuple(self.ranks), tuple(self.margins), tuple(self.calls))


# Each round of the search takes the candidate that harms most, if any harms at all. Because a round only ever adds an
# edit that makes the rank worse, the attack within a smaller budget is the beginning of the attack within a larger one.

# (the queries still under attack, their rows) -> candidate edits of each
Candidates = Callable[[Sequence[AttackState], Sequence[int]], list[list[Edit]]]
Tried = list[tuple[int, Edit, str]]  # row of the query, the edit, the edited query
_AT_ONCE = 8_192  # candidate texts that are encoded together


def search(
    encode: EncodeTexts,
    texts: Sequence[str],  # of each query, in the goal's order
    languages: Sequence[str],
    goal: TextGoal,
    candidates: Candidates,
    *,
    edits: int,
    progress: Progress | None = None,
) -> list[AttackedText]:
    """Attack every query with up to ``edits`` rounds."""
    if edits < 0:
        raise UsageError(f"an attack with {edits} edits: give 0 or more.")
    if not len(texts) == len(languages) == len(goal.own):
        raise UsageError(f"{len(texts)} texts, {len(languages)} languages and {len(goal.own)} images: give one each.")
    if not texts:
        return []
    clean = rank_texts(encode, goal, texts, np.arange(len(texts)))
    states = [
        AttackState(text, text, language, attack_loss, [rank], [margin])
        for text, language, attack_loss, rank, margin in zip(
            texts, languages, clean.attack_loss().tolist(), clean.ranks.tolist(), clean.margins.tolist(), strict=True
        )
    ]
    for done in range(edits):
        rows = [row for row, state in enumerate(states) if not state.stuck]
        if not rows:
            break
        _round(encode, goal, states, rows, candidates([states[row] for row in rows], rows))
        if progress:
            progress(done + 1, edits)
    return [state.result() for state in states]


def rank_texts(
    encode: EncodeTexts, goal: TextGoal, texts: Sequence[str], rows: Sequence[int] | NDArray[np.int64]
) -> RankState:
    """Rank the own images for texts of these queries; equal texts are encoded once."""
    place = {text: n for n, text in enumerate(dict.fromkeys(texts))}
    vectors = encode(list(place))
    if len(place) < len(texts):
        vectors = vectors[[place[text] for text in texts]]
    return goal.rank(vectors, np.asarray(rows, dtype=np.int64))


def _round(
    encode: EncodeTexts, goal: TextGoal, states: list[AttackState], rows: list[int], proposed: list[list[Edit]]
) -> None:
    """Try every candidate and let each query take its worst."""
    for row in rows:
        states[row].calls.append(0)
        states[row].stuck = True  # until a candidate harms
    for tried in _portions(states, rows, proposed):
        ranked = rank_texts(encode, goal, [text for _, _, text in tried], [row for row, _, _ in tried])
        attack_loss = ranked.attack_loss()
        row_of = np.array([row for row, _, _ in tried])
        order = np.lexsort((-attack_loss, row_of))  # stable: of equals the first
        first = np.flatnonzero(np.diff(row_of[order], prepend=-1))
        counts = np.diff(first, append=len(order))
        for best, calls in zip(order[first].tolist(), counts.tolist(), strict=True):
            row, edit, text = tried[best]
            state = states[row]
            state.calls[-1] = calls
            if attack_loss[best] > state.attack_loss:
                state.attack_loss, state.text, state.stuck = float(attack_loss[best]), text, False
                state.ranks.append(int(ranked.ranks[best]))
                state.margins.append(float(ranked.margins[best]))
                state.edits.append(edit)


def _portions(states: list[AttackState], rows: list[int], proposed: list[list[Edit]]) -> Iterator[Tried]:
    """Yield candidates in portions that hold all candidates of a query or none; one that leaves no text is skipped."""
    portion: Tried = []
    for row, own in zip(rows, proposed, strict=True):
        candidates = ((row, edit, apply_edit(states[row].text, edit)) for edit in own)
        portion += [one for one in candidates if one[2].strip()]
        if len(portion) >= _AT_ONCE:
            yield portion
            portion = []
    if portion:
        yield portion
