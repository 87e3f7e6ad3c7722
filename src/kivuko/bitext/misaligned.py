"""Runs of misaligned sentences, which have slipped away from their translations, detected by their lengths alone.

Translations are about as long as what they translate (Gale and Church, "A Program for Aligning Sentences in Bilingual
Corpora", Computational Linguistics 19, 1993): the logarithm of the ratio of lengths varies little around its median,
while sentences that do not belong together differ as any two sentences of the file do. The likeliest path through
the states "aligned" and "misaligned" gives the runs. No words, no languages and no models are used, so the rule is the
same for every language; one odd translation is no run.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ALIGNED = 0.2  # standard deviation of log ratios of translations; 0.11 to 0.16 in seven languages of TICO-19
_LEAST_APART = 2 * _ALIGNED  # of other sentences, at least: lengths that differ less say nothing
_MOST = 3.0  # log likelihood ratio that one sentence counts for: a single odd one decides nothing
_SWITCH = 5.0  # log likelihood that a change of state costs; of runs of ten sentences it sees half
_SHORT = 5  # characters added to both lengths: of short sentences they vary more
_FEWEST = 20  # sentences, below which nothing is left out


def aligned_sentences(texts: Sequence[str], english: Sequence[str]) -> NDArray[np.bool_]:
    """Return a mask of the sentences [n] that belong to the English beside them; both in the order of the file."""
    if len(texts) < _FEWEST:
        return np.ones(len(texts), dtype=np.bool_)
    ours, theirs = (np.log([len(one) + _SHORT for one in side]) for side in (texts, english))
    ratios = ours - theirs
    ratios -= np.median(ratios)
    apart = max(float(np.hypot(ours.std(), theirs.std())), _LEAST_APART)  # of a sentence and any other
    evidence = np.log(apart / _ALIGNED) + ratios**2 / 2 * (apart**-2 - _ALIGNED**-2)
    return _likeliest(np.clip(evidence, -_MOST, _MOST))


def _likeliest(evidence: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the likeliest sequence of states (Viterbi): True where the sum of the evidence speaks for "aligned"."""
    # Scores of the best paths that end misaligned, and aligned; the file begins and ends aligned.
    bad, good = -_SWITCH, 0.0
    changes: list[tuple[bool, bool]] = []  # whether the best path to each state comes from the other one
    for value in evidence.tolist():
        changes.append((good - _SWITCH > bad, bad - _SWITCH > good))
        bad, good = max(bad, good - _SWITCH), max(good, bad - _SWITCH) + value
    states = np.empty(len(evidence), dtype=np.bool_)
    state = good >= bad - _SWITCH
    for row in range(len(evidence) - 1, -1, -1):
        states[row] = state
        state = state != changes[row][state]
    return states
