"""Attacks on queries by model calls: the goal, greedy search for the worst edits, and one misspelling for all queries.

Each round of a search takes the candidate that harms most, if any harms at all. Because a round only ever adds an edit
that makes the rank worse, the attack within a smaller budget is the beginning of the attack within a larger one.
"""

from __future__ import annotations

import functools
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError, UsageError
from kivuko.perturbations.edits import Edit, EditKind, Perturbed, all_edits, apply_edit, edit_kinds
from kivuko.perturbations.graphemes import graphemes, is_letter, letters_for, offsets, stay_apart
from kivuko.progress import Report
from kivuko.ranks import right_ranks

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
EncodeTexts = Callable[[Sequence[str]], Vectors]  # texts -> unit vectors [texts, dim]
_CELLS = 1_000_000  # of the score matrix at once: a few passes over it stay in the cache
_AT_ONCE = 8_192  # texts that are encoded together


@dataclass(frozen=True, eq=False)
class TextGoal:
    """A gallery, and the right image of each query."""

    gallery: Vectors  # unit vectors, float32 [images, dim]
    own: Rows  # int64 [queries], rows of the gallery
    # unit vectors, of perturbed images for example, that replace one image per query, float32 [queries, dim]
    instead: Vectors | None = None
    # int64 [queries], the rows that ``instead`` replaces, -1 for none; None: ``own``
    replaced: Rows | None = None

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

    def rank(self, vectors: Vectors, rows: Rows) -> RankState:
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

    def _replace(self, scores: Vectors, vectors: Vectors, rows: Rows) -> None:
        if self.instead is None:
            return
        columns = (self.own if self.replaced is None else self.replaced)[rows]
        chosen = np.flatnonzero(columns >= 0)
        scores[chosen, columns[chosen]] = (vectors[chosen] * self.instead[rows[chosen]]).sum(1)


@dataclass(frozen=True, eq=False)
class RankState:
    """``ranks``: int64 [n], from 1, ties against the own image; ``margins``: own score less the best other."""

    ranks: Rows
    margins: Vectors

    def attack_loss(self) -> NDArray[np.float64]:
        """Return what an attack raises, float64 [n]: the rank, and among equal ranks the lower margin."""
        loss: NDArray[np.float64] = self.ranks - np.clip(self.margins, -2, 2).astype(np.float64) / 8
        return loss


@dataclass(slots=True)
class AttackedText:
    """A query under attack, after each of its edits."""

    perturbed: Perturbed  # the text before and after all edits
    language: str
    attack_loss: float = field(compare=False)  # after the last edit
    ranks: tuple[int, ...]  # of the right image, from 1, before the first edit and after each: never falling
    margins: tuple[float, ...]  # score of the right image less the best other's, before the first edit and after each
    # texts encoded for this query in each round; the clean query is not counted. There is one round more than edits
    # where the last one had no edit that harms.
    calls_per_round: tuple[int, ...] = ()
    stuck: bool = field(default=False, compare=False)  # no candidate of the last round harmed

    @property
    def calls(self) -> int:
        return sum(self.calls_per_round)

    def within(self, budget: int) -> AttackedText:
        """Return the result of the same attack with a smaller budget: the first ``budget`` edits."""
        original, edits = self.perturbed.original, self.perturbed.edits[:budget]
        perturbed = Perturbed(original, functools.reduce(apply_edit, edits, original), edits)
        ranks, margins = self.ranks[: len(edits) + 1], self.margins[: len(edits) + 1]
        return replace(
            self, perturbed=perturbed, ranks=ranks, margins=margins, calls_per_round=self.calls_per_round[:budget]
        )


# (the queries still under attack, their rows) -> candidate edits of each
Candidates = Callable[[Sequence[AttackedText], Sequence[int]], list[list[Edit]]]
Tried = list[tuple[int, Edit, str]]  # row of the query, the edit, the edited query


def search(
    encode: EncodeTexts,
    texts: Sequence[str],  # of each query, in the goal's order
    languages: Sequence[str],
    goal: TextGoal,
    candidates: Candidates,
    *,
    edits: int,
    progress: Report | None = None,
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
        AttackedText(Perturbed(text, text), language, attack_loss, (rank,), (margin,))
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
    return states


def rank_texts(encode: EncodeTexts, goal: TextGoal, texts: Sequence[str], rows: Sequence[int] | Rows) -> RankState:
    """Rank the own images for texts of these queries; equal texts are encoded once."""
    place = {text: n for n, text in enumerate(dict.fromkeys(texts))}
    vectors = encode(list(place))
    if len(place) < len(texts):
        vectors = vectors[[place[text] for text in texts]]
    return goal.rank(vectors, np.asarray(rows, dtype=np.int64))


def _round(
    encode: EncodeTexts, goal: TextGoal, states: list[AttackedText], rows: list[int], proposed: list[list[Edit]]
) -> None:
    """Try every candidate and let each query take its worst."""
    for row in rows:
        states[row].calls_per_round += (0,)
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
            state.calls_per_round = (*state.calls_per_round[:-1], calls)
            if attack_loss[best] > state.attack_loss:
                state.attack_loss, state.stuck = float(attack_loss[best]), False
                state.perturbed = Perturbed(state.perturbed.original, text, (*state.perturbed.edits, edit))
                state.ranks += (int(ranked.ranks[best]),)
                state.margins += (float(ranked.margins[best]),)


def _portions(states: list[AttackedText], rows: list[int], proposed: list[list[Edit]]) -> Iterator[Tried]:
    """Yield candidates in portions that hold all candidates of a query or none; one that leaves no text is skipped."""
    portion: Tried = []
    for row, own in zip(rows, proposed, strict=True):
        candidates = ((row, edit, apply_edit(states[row].perturbed.text, edit)) for edit in own)
        portion += [one for one in candidates if one[2].strip()]
        if len(portion) >= _AT_ONCE:
            yield portion
            portion = []
    if portion:
        yield portion


_DRAWS = 2  # for each candidate wanted, so that doubles can be left out
_ENOUGH = 0.8  # of the candidates wanted; with fewer, doubles are so many that all edits are listed and drawn from


def greedy_search(
    encode: EncodeTexts,  # texts -> unit vectors; called with large batches, equal texts once
    texts: Sequence[str],  # of each query, in the goal's order
    languages: Sequence[str],
    goal: TextGoal,
    *,
    kinds: Sequence[str | EditKind] = ("typo",),  # of edit, see ``kivuko.perturbations``
    edits: int = 1,  # budget per query, at least 0. ``AttackedText.within`` gives the results for every smaller one.
    candidates: int = 64,  # edits that are tried per query and round, at least 1; all there are if fewer
    seed: int = 0,
    progress: Report | None = None,
) -> list[AttackedText]:
    """Attack queries with the worst of random edits, one after another; a query's result does not depend on others."""
    check_candidates(candidates)
    chosen = edit_kinds(kinds)

    def propose(states: Sequence[AttackedText], _rows: Sequence[int]) -> list[list[Edit]]:
        return [sampled(one, chosen, candidates, seed) for one in states]

    return search(encode, texts, languages, goal, propose, edits=edits, progress=progress)


def check_candidates(candidates: int) -> None:
    """Raise UsageError if a search would try nothing."""
    if candidates < 1:
        raise UsageError(f"a search with {candidates} candidates: give at least 1.")


def sampled(query: AttackedText, kinds: Sequence[EditKind], count: int, seed: int) -> list[Edit]:
    """Return about ``count`` random edits of a text, no two with the same result; all there are if they are fewer.

    They depend on the query, the round and the seed alone.
    """
    text, language = query.perturbed.text, query.language
    original, edits = query.perturbed.original, query.perturbed.edits
    rng = np.random.default_rng([seed, zlib.crc32(original.encode()), len(edits)])
    sample: dict[str, Edit] = {}
    open_kinds = list(kinds)
    for _ in range(_DRAWS * count):
        if not open_kinds:
            return []
        kind = open_kinds[int(rng.random() * len(open_kinds))]
        edit = kind.sample(text, language, rng)
        if edit is None:
            open_kinds.remove(kind)
            continue
        sample.setdefault(apply_edit(text, edit), edit)
        if len(sample) == count:
            return list(sample.values())
    if len(sample) > _ENOUGH * count:
        return list(sample.values())
    rest = {apply_edit(text, edit): edit for edit in all_edits(text, language, kinds)}
    left = [edit for result, edit in rest.items() if result not in sample]
    more = rng.permutation(len(left))[: count - len(sample)].tolist()
    return [*sample.values(), *(left[n] for n in more)]


_KIND = "universal"
_UNITS = 40  # characters that are left out or written otherwise: those that most queries hold
_SIFTED_ON = 64  # queries that all patterns are tried on; a quarter of the patterns on twice as many, and so on


@dataclass(frozen=True, slots=True)
class Pattern:
    """Put ``new`` "before" or "after" a query, or in the place of its "first" ``old``."""

    where: Literal["before", "after", "first"]
    old: str
    new: str

    def edit(self, text: str) -> Edit | None:
        """Return its edit of a text; None if there is none, or if nothing would be left."""
        if not text.strip():
            return None
        units = graphemes(text)
        place = {"before": 0, "after": len(units)}.get(self.where)
        if place is None:
            place = next((n for n, unit in enumerate(units) if unit == self.old), None)
        if place is None:
            return None
        end = place + (self.where == "first")
        left, right = units[:place], units[end:]
        if not (self.new or "".join([*left, *right]).strip()):
            return None
        if not stay_apart("".join(left[-1:]), self.new, "".join(right[:1])):
            return None
        starts = offsets(units)
        return Edit(_KIND, starts[place], starts[end], self.new)


def apply_patterns(text: str, patterns: Sequence[Pattern]) -> Perturbed:
    """Apply patterns one after another."""
    now, edits = text, []
    for pattern in patterns:
        edit = pattern.edit(now)
        if edit is not None:
            now = apply_edit(now, edit)
            edits.append(edit)
    return Perturbed(text, now, tuple(edits))


def universal_edit(
    encode: EncodeTexts,
    texts: Sequence[str],  # queries to learn on, in the goal's order
    language: str,
    goal: TextGoal,
    *,
    edits: int = 1,  # budget per query, at least 0
    seed: int = 0,  # which queries the patterns are sifted on
    progress: Report | None = None,
) -> list[Pattern]:
    """Find the patterns that harm the queries of one language most; one pattern per edit of the budget.

    All patterns are tried on some of the queries, the worst quarter of them on twice as many, and so on up to all
    (successive halving, Karnin et al. 2013, in steps of four). A smaller budget's patterns are the first of a larger
    one's.
    """
    if edits < 0:
        raise UsageError(f"an attack with {edits} edits: give 0 or more.")
    if not texts:
        raise DataError("no query to learn a universal edit on: give at least one.")
    if len(texts) != len(goal.own):
        raise UsageError(f"{len(texts)} texts and {len(goal.own)} images: give one each.")
    order = np.random.default_rng(seed).permutation(len(texts))
    now, chosen = list(texts), list[Pattern]()
    for done in range(edits):
        pool, tried_on = _patterns(now, language), _SIFTED_ON
        while tried_on < len(texts):
            means = _mean_reciprocal_ranks(encode, now, goal, pool, order[:tried_on])[1:]
            pool = [pool[n] for n in np.argsort(means, kind="stable")[: -(-len(pool) // 4)].tolist()]
            tried_on *= 2
        means = _mean_reciprocal_ranks(encode, now, goal, pool, order)
        worst = int(means.argmin())
        if worst == 0:  # no pattern harms
            break
        chosen.append(pool[worst - 1])
        now = [apply_patterns(text, chosen[-1:]).text for text in now]
        if progress:
            progress(done + 1, edits)
    return chosen


def _patterns(texts: Sequence[str], language: str) -> list[Pattern]:
    """Return all patterns over the letters that most texts hold and those of the alphabet."""
    held = Counter(unit for text in texts for unit in set(graphemes(text)) if is_letter(unit))
    used = [unit for unit, _ in sorted(held.items(), key=lambda one: (-one[1], one[0]))][:_UNITS]
    alphabet = sorted({letter for unit in used for letter in letters_for(unit, language)})
    put = [Pattern(where, "", letter) for where in ("before", "after") for letter in alphabet]
    dropped = [Pattern("first", unit, "") for unit in used]
    written = [Pattern("first", unit, letter) for unit in used for letter in alphabet if letter != unit.lower()]
    return [*put, *dropped, *written]


def _mean_reciprocal_ranks(
    encode: EncodeTexts, texts: Sequence[str], goal: TextGoal, pool: Sequence[Pattern], rows: Rows
) -> NDArray[np.float64]:
    """Return the mean reciprocal ranks, float [1 + patterns], of the texts as they are and under each pattern.

    Only texts that a pattern changes are encoded again.
    """
    before = 1 / rank_texts(encode, goal, [texts[row] for row in rows], rows).ranks
    lost = np.zeros(1 + len(pool))
    portion: list[tuple[int, int, str]] = []  # number of the pattern, from 1; place in rows; text

    def settle() -> None:
        places = np.array([place for _, place, _ in portion])
        ranks = rank_texts(encode, goal, [text for _, _, text in portion], rows[places]).ranks
        np.add.at(lost, [number for number, _, _ in portion], before[places] - 1 / ranks)
        portion.clear()

    for number, pattern in enumerate(pool, 1):
        for place, row in enumerate(rows.tolist()):
            edit = pattern.edit(texts[row])
            if edit is not None:
                portion.append((number, place, apply_edit(texts[row], edit)))
        if len(portion) >= _AT_ONCE:
            settle()
    if portion:
        settle()
    means: NDArray[np.float64] = before.mean() - lost / len(rows)
    return means
