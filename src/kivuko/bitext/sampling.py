"""Smaller bitexts from larger ones: the same choice on every machine, larger samples holding smaller ones.

Each group of pairs (all translations of one English sentence) gets a number from 0 to 1 from a hash of the seed and the
sentence, so the choice depends neither on the file's order nor on the other languages.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext.cleaning import Sifting
from kivuko.bitext.duplicates import mixed, sentence_keys
from kivuko.bitext.pairs import Bitext, Pair, PairSource
from kivuko.bitext.rules import Rules
from kivuko.errors import DataError, UsageError, check_number
from kivuko.languages import language as describe
from kivuko.text import word_list

_BITS = 53  # of the hash, so that the quotient is an exact float below 1


def take_pairs(bitext: Bitext, n_per_language: int, seed: int, *, up_to: bool = False) -> Bitext:
    """Take exactly ``n_per_language`` pairs of each language; ``up_to``: all of a language that has fewer.

    Groups are taken whole in the order of their hash, except that the last one may be cut. A smaller sample of a seed
    is part of a larger one. Order is kept.
    """
    check_number("n_per_language", n_per_language, least=1, whole=True)
    rank = _rank("take", seed)
    by_language: dict[str, list[int]] = {}
    for index, pair in enumerate(bitext.pairs):
        by_language.setdefault(pair.language, []).append(index)
    chosen = [False] * len(bitext)
    for language, indices in by_language.items():
        if len(indices) < n_per_language and not up_to:
            raise UsageError(
                f"{n_per_language:,} pairs per language requested, but {language} has {len(indices):,}; "
                f"request fewer or give more bitext"
            )
        for index in sorted(indices, key=lambda i: (rank(bitext.pairs[i]), i))[:n_per_language]:
            chosen[index] = True
    return _selected(bitext.pairs, chosen)


def hold_out(bitext: Bitext, fraction: float, seed: int) -> tuple[Bitext, Bitext]:
    """Split into (train, validation) so that no English sentence, case ignored, is on both sides in any language.

    Validation gets ``fraction`` of the sentences on average, and neither side is ever empty. The choice is independent
    of ``take_pairs``'. Order is kept.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"fraction {fraction}: give a number over 0 and below 1")
    rank = _rank("hold out", seed)
    numbers = [rank(pair) for pair in bitext.pairs]
    if len(set(numbers)) < 2:
        raise UsageError("holding out needs at least two different English sentences; give more bitext")
    lowest, highest = min(numbers), max(numbers)
    held = [n == lowest or (n < fraction and n != highest) for n in numbers]
    return _selected(bitext.pairs, [not one for one in held]), _selected(bitext.pairs, held)


def _rank(purpose: str, seed: int) -> Callable[[Pair], float]:
    """Return a function from a pair to the number of its group, in [0, 1), the same in every process."""

    def rank(pair: Pair) -> float:
        hashed = f"{purpose}\0{seed}\0{pair.english.casefold()}".encode(errors="surrogatepass")
        number = int.from_bytes(hashlib.blake2b(hashed, digest_size=8).digest(), "big")
        return (number >> (64 - _BITS)) / (1 << _BITS)

    return rank


def _selected(pairs: Iterable[Pair], chosen: Iterable[bool]) -> Bitext:
    return Bitext(tuple(pair for pair, taken in zip(pairs, chosen, strict=True) if taken))


# Sampling with temperature, as in Arivazhagan et al., "Massively Multilingual Neural Machine Translation in the Wild"
# (arXiv 1907.05019): T = 1 keeps the proportions, T = 5 is usual, a very high T takes as many of each. XLM-R's exponent
# (alpha 0.3) is 1/T.

DEFAULT_TEMPERATURE = 5.0


def tempered_shares(counts: Mapping[str, int], temperature: float) -> dict[str, float]:
    """Return each language's share of the sample, in proportion to its pairs to the power of 1/temperature."""
    check_number("temperature", temperature, least=1)
    most = max(counts.values(), default=0)
    if most < 1:
        raise UsageError("there is no pair to take a sample of")
    powers = {code: (count / most) ** (1 / temperature) if count else 0.0 for code, count in counts.items()}
    total = math.fsum(powers.values())
    return {code: power / total for code, power in powers.items()}


def quotas(counts: Mapping[str, int], total: int, temperature: float) -> dict[str, int]:
    """Return how many pairs of each language to take, ``total`` together if there are so many.

    Pairs that a language lacks are taken from the others, in proportion to their shares.
    """
    check_number("pairs", total, least=1, whole=True)
    shares = tempered_shares(counts, temperature)
    if total >= sum(counts.values()):
        return dict(counts)
    full: dict[str, int] = {}
    while True:
        open_shares = {code: share for code, share in shares.items() if code not in full and share > 0}
        left, weight = total - sum(full.values()), math.fsum(open_shares.values())
        over = {code: counts[code] for code, share in open_shares.items() if left * share / weight >= counts[code]}
        if not over:
            break
        full |= over
    exact = {code: left * share / weight for code, share in open_shares.items()}
    taken = {code: math.floor(number) for code, number in exact.items()}
    # Largest remainders get what rounding left over; ties by code, so that the choice repeats.
    rest = sorted(exact, key=lambda code: (taken[code] - exact[code], code))
    for code in rest[: left - sum(taken.values())]:
        taken[code] += 1
    return {code: full.get(code, taken.get(code, 0)) for code in counts}


# An exact sample of a stream in bounded memory: the stream is read twice. Each pair has a rank, a hash of the seed and
# its English sentence. The first reading counts how many pairs fall into each of 65,536 equal intervals of ranks; that
# gives the rank up to which pairs are taken, and how many of the last interval, so that the second reading takes
# exactly the right number. A smaller sample is part of a larger one of the same seed, and languages with the same
# English sentences get the same ones, as far as their numbers go.

_TEMPERED_SAMPLE_BITS = 16

# Samples are not cleaned: only pairs that cannot be written or read again are left out.
_ANYTHING = Rules(
    keep_copied=True, max_length_ratio=None, min_script_share=0, boilerplate=False, duplicates=False, language_id="off"
)

Watch = Callable[[int], None]  # called with the number of pairs read so far


def count_ranks(source: PairSource, seed: int, watch: Watch) -> NDArray[np.int64]:
    """Read a source, and return how many of its pairs fall into each interval of ranks [intervals]."""
    counts = np.zeros(1 << _TEMPERED_SAMPLE_BITS, dtype=np.int64)
    sifting = Sifting(source, _ANYTHING)
    for _, _, english in sifting.batches():
        counts += np.bincount(_intervals(english, seed), minlength=len(counts))
        watch(sifting.account.seen)
    return counts


def sampled(
    source: PairSource, counts: NDArray[np.int64], quota: int, seed: int, watch: Watch
) -> Iterator[tuple[list[str], list[str]]]:
    """Read a source for the second time, and yield the texts and English sides of the sample, in batches."""
    below = np.concatenate(([0], np.cumsum(counts)))
    last = int(np.searchsorted(below, quota, side="right")) - 1  # all intervals before it are taken whole
    left = quota - int(below[last])
    sifting = Sifting(source, _ANYTHING)
    for _, texts, english in sifting.batches():
        intervals = _intervals(english, seed)
        taken = intervals < last
        edge = np.flatnonzero(intervals == last)[:left]
        taken[edge] = True
        left -= len(edge)
        rows = np.flatnonzero(taken).tolist()
        yield [texts[row] for row in rows], [english[row] for row in rows]
        watch(sifting.account.seen)


def _intervals(english: Sequence[str], seed: int) -> NDArray[np.int64]:
    salt = mixed(np.array([seed % (1 << 64)], dtype=np.uint64))
    keys = mixed(sentence_keys([sentence.casefold() for sentence in english]) ^ salt)
    return (keys >> np.uint64(64 - _TEMPERED_SAMPLE_BITS)).astype(np.int64)


def word_table(
    bitext: Bitext, language: str, *, aligner: str = "transport", regularization: float = 0.5, rounds: int = 4
) -> dict[str, str]:
    """Return for each word of a language the English word most associated with it, both case folded.

    ``aligner``: one of ``kivuko.bitext.word_alignment.ALIGNERS``; ``regularization`` and ``rounds`` are those of
    transport.
    """
    from kivuko.bitext.word_alignment import align_units

    pairs = bitext.by_language().get(describe(language).code)
    if not pairs:
        raise DataError(f"the bitext holds no pair in '{language}', so there are no words to go with English ones.")
    sides = [[word_list(text) for text in side] for side in zip(*((p.text, p.english) for p in pairs), strict=True)]
    words = [sorted({word for sentence in side for word in sentence}) for side in sides]
    numbers = [{word: number for number, word in enumerate(side)} for side in words]
    units = [
        [[known[word] for word in sentence] for sentence in side] for side, known in zip(sides, numbers, strict=True)
    ]
    shape = (len(words[0]), len(words[1]))
    best = align_units(
        units[0], units[1], shape, aligner, regularization=regularization, rounds=rounds, groups=[-1] * len(units[0])
    ).best()
    return {words[0][own]: words[1][english] for own, english in best.items()}
