"""How many pairs of each language to take when some languages have far more than others.

Source: sampling with temperature, as in Arivazhagan et al., "Massively Multilingual Neural Machine Translation in the
Wild" (arXiv 1907.05019): a language with n pairs gets a share in proportion to n to the power of 1/T. T = 1 keeps the
proportions, T = 5 is usual, a very high T takes as many of each. XLM-R's exponent (alpha 0.3) is 1/T.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from kivuko.errors import UsageError

DEFAULT_TEMPERATURE = 5.0


def tempered_shares(counts: Mapping[str, int], temperature: float) -> dict[str, float]:
    """Return each language's share of the sample; they add up to 1.

    Args:
        counts: pairs per language; languages without any get 0.
        temperature: at least 1.

    Raises:
        UsageError: ``temperature`` is below 1, or no language has a pair.
    """
    if not temperature >= 1:
        raise UsageError(f"temperature {temperature}: give at least 1 (1 keeps the proportions, 5 is usual)")
    most = max(counts.values(), default=0)
    if most < 1:
        raise UsageError("there is no pair to take a sample of")
    powers = {code: (count / most) ** (1 / temperature) if count else 0.0 for code, count in counts.items()}
    total = math.fsum(powers.values())
    return {code: power / total for code, power in powers.items()}


def quotas(counts: Mapping[str, int], total: int, temperature: float) -> dict[str, int]:
    """Return how many pairs of each language to take, without taking any twice.

    What a language cannot fill goes to the others, in proportion to their shares. The numbers add up to ``total``, or
    to all there are if they are fewer.

    Raises:
        UsageError: as ``tempered_shares``, or ``total`` is below 1.
    """
    if total < 1:
        raise UsageError(f"{total} pairs: give at least 1")
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
