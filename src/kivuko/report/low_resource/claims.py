"""The bars set before the study: what was asked, what was found, met or missed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kivuko.report.low_resource.answer import ASKED_GAIN, Verdict, judge
from kivuko.report.low_resource.family import WITHOUT, Family, PairedTest
from kivuko.report.low_resource.recipes import TRANSLATE_TEST
from kivuko.report.low_resource.study import Setting
from kivuko.report.low_resource.wording import count, per_cent, per_cent_spread, probability

ASKED_OVER_TRANSLATION = 0.137
"""The relative gain over translating the query that the OPTICAL paper reports (Huang, Yu and Allan 2023)."""
MET, MISSED, OPEN = "met", "missed", "not measured"


@dataclass(frozen=True)
class Claim:
    """One bar: ``asked`` in words, ``found`` in lines, and "met", "missed" or "not measured"."""

    asked: str
    found: tuple[str, ...]
    state: str


def gain_claim(family: Family, setting: Setting, size: int) -> Claim:
    """At least 10 % over the best without transport at the headline size, and not by luck."""
    asked = (
        f"At {count(size, 'pair')} per language: at least {per_cent(ASKED_GAIN)} relative over the best distillation "
        "recipe without transport, p < 0.05 after Holm"
    )
    tested = family.find(setting, size, WITHOUT)
    if tested is None:
        return Claim(asked, ("the comparison could not be made",), OPEN)
    comparison = tested.comparison
    found = f"{_gain(tested)} (“{comparison.first}” over “{comparison.second}”)"
    return Claim(asked, (found,), MET if judge(tested.gain, tested.adjusted) is Verdict.HELPS else MISSED)


def translation_claim(family: Family, setting: Setting, sizes: Sequence[int]) -> Claim:
    """At least 13.7 % over translating the query, at every size; one size below is enough to miss it."""
    asked = f"At every size: at least {per_cent(ASKED_OVER_TRANSLATION)} relative over {TRANSLATE_TEST}"
    parts, states = [], []
    for size in sizes:
        tested = family.find(setting, size, TRANSLATE_TEST)
        if tested is None:
            words, state = "not measured", OPEN
        else:
            words = _gain(tested)
            state = MET if tested.gain >= ASKED_OVER_TRANSLATION else MISSED
        parts.append(f"{count(size, 'pair')}: {words}")
        states.append(state)
    overall = MISSED if MISSED in states else OPEN if OPEN in states or not states else MET
    return Claim(asked, tuple(parts) or ("nothing was measured",), overall)


def _gain(tested: PairedTest) -> str:
    relative = tested.comparison.relative
    if relative is not None:
        return f"{per_cent_spread(relative)}, {probability(tested.adjusted)}"
    gain = "no ratio, the other finds nothing" if math.isinf(tested.gain) else per_cent(tested.gain)
    return f"{gain}, {probability(tested.adjusted)}"
