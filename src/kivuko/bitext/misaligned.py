"""Sentences that have slipped away from their translations, found by their lengths alone.

Translations are about as long as what they translate (Gale and Church, "A Program for Aligning Sentences in Bilingual
Corpora", Computational Linguistics 19, 1993): the logarithm of the ratio of lengths varies little around its median,
while sentences that do not belong together differ as any two sentences of the file do. The likeliest path through
the states "aligned", "one line early", "one line late" and "misaligned" gives the runs. No words, no languages and no
models are used, so the rule is the same for every language; one odd translation is no run.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ALIGNED = 0.2  # standard deviation of log ratios of translations; 0.11 to 0.16 in seven languages of TICO-19
_LEAST_APART = 2 * _ALIGNED  # of other sentences, at least: lengths that differ less say nothing
_MOST = 3.0  # log likelihood ratio that one sentence counts for: a single odd one decides nothing
_SWITCH = 5.0  # log likelihood that a change of state costs; of runs of ten sentences it sees half
_SHORT = 5  # characters added to both lengths: of short sentences they vary more
_FEWEST = 20  # sentences, below which nothing is moved or left out
_OFFSETS = (0, 1, -1)  # from a sentence to the line of its English, by state; the last state is "misaligned"


def aligned_english(texts: Sequence[str], english: Sequence[str]) -> NDArray[np.int64]:
    """Return the row of the English of each sentence [n], -1 where there is none; both in the order of the file.

    It is the sentence's own row, or the next or the previous one in a run that is one line early or late.
    """
    rows = np.arange(len(texts))
    if len(texts) < _FEWEST:
        return rows
    ours, theirs = (np.log([len(one) + _SHORT for one in side]) for side in (texts, english))
    shift = np.median(ours - theirs)
    apart = max(float(np.hypot(ours.std(), theirs.std())), _LEAST_APART)  # of a sentence and any other
    evidence = np.zeros((len(texts), len(_OFFSETS) + 1))
    for state, offset in enumerate(_OFFSETS):
        ratios = ours - np.roll(theirs, -offset) - shift
        values = np.log(apart / _ALIGNED) + ratios**2 / 2 * (apart**-2 - _ALIGNED**-2)
        evidence[:, state] = np.clip(values, -_MOST, _MOST)
    evidence[-1, 1] = evidence[0, 2] = -np.inf  # there is no next, or previous, line
    states = _likeliest(evidence)
    partner = np.where(states < len(_OFFSETS), rows + np.append(_OFFSETS, 0)[states], -1)
    # Where a run ends, two sentences may have one English: one of the two is wrong, and nothing says which.
    taken = np.bincount(partner[partner >= 0], minlength=len(texts))
    partner[(partner >= 0) & (taken[partner] > 1)] = -1
    return partner


def _likeliest(evidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the likeliest sequence of states [n] (Viterbi) for the evidence of each row and state [n, states].

    The file begins and ends in state 0, "aligned"; of equal paths the one that stays wins.
    """
    changes = _SWITCH * (1 - np.eye(evidence.shape[1]))
    scores = -changes[0]
    origins = np.empty(evidence.shape, dtype=np.int64)
    for row, values in enumerate(evidence):
        reached = scores[:, None] - changes
        best = reached.max(axis=0)
        stays = np.diag(reached) >= best
        origins[row] = np.where(stays, np.arange(len(best)), reached.argmax(axis=0))
        scores = best + values
    states = np.empty(len(evidence), dtype=np.int64)
    state = int(np.argmax(scores - changes[0]))
    for row in range(len(evidence) - 1, -1, -1):
        states[row] = state
        state = origins[row, state]
    return states
