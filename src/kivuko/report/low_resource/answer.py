"""The answer in one sentence: does transport help with little bitext? Computed from the test, whatever it says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from kivuko.report.low_resource.comparisons import LEVEL, WITHOUT, Family, PairedTest
from kivuko.report.low_resource.study import TRANSLATE_TEST, Setting
from kivuko.report.rendering import count, figure, per_cent, per_cent_spread, probability, setting_label, signed_spread

ASKED_GAIN = 0.10
"""How much better than the best without transport the study asks it to be, relative."""


class Verdict(Enum):
    """What the test says; the value is how the sentence begins."""

    HELPS = "Optimal transport helps"
    HELPS_LITTLE = "Optimal transport helps, but by less than the 10 % asked for"
    UNMEASURABLE = "Optimal transport brings no measurable gain"
    NO_HELP = "Optimal transport does not help"
    HARMS = "Optimal transport harms"
    UNANSWERED = "These records do not say whether optimal transport helps"


@dataclass(frozen=True)
class Answer:
    """``sentence``: the answer. ``support``: what a careful reader asks next, a sentence each."""

    verdict: Verdict
    sentence: str
    support: tuple[str, ...] = ()


def judge(gain: float, p: float) -> Verdict:
    """Return the verdict on transport's relative gain over the best without it, and the p value after Holm."""
    if p < LEVEL and gain > 0:
        return Verdict.HELPS if gain >= ASKED_GAIN else Verdict.HELPS_LITTLE
    if p < LEVEL and gain < 0:
        return Verdict.HARMS
    return Verdict.UNMEASURABLE if gain > 0 else Verdict.NO_HELP


def answer(tested: PairedTest | None, reason: str = "", languages: int = 0) -> Answer:
    """Say in one sentence what the headline comparison shows.

    Args:
        tested: the best with transport against the best without; None where it could not be made.
        reason: why there is none, as the end of a sentence.
        languages: how many low-resource languages the mean is over.
    """
    if tested is None:
        return Answer(Verdict.UNANSWERED, f"{Verdict.UNANSWERED.value}: {reason or 'the comparison is missing'}.")
    found = tested.comparison
    verdict = judge(tested.gain, tested.adjusted)
    sentence = (
        f"{verdict.value}: with {count(tested.size, 'sentence pair')} per language ({setting_label(tested.setting)}), "
        f"the best recipe with it, “{found.first}”, reaches a mean MAP of {figure(found.means[0])} over "
        f"{count(languages, 'low-resource language')}, {_size(tested)} the best distillation "
        f"recipe without it, “{found.second}” ({figure(found.means[1])}); {probability(tested.adjusted)} after "
        "Holm’s correction."
    )
    return Answer(verdict, sentence, tuple(_support(tested, verdict)))


def _size(tested: PairedTest) -> str:
    difference = tested.comparison.difference.mean
    if tested.gain == 0:
        return "exactly as much as"
    direction = "more than" if difference > 0 else "less than"
    if math.isinf(tested.gain):
        return f"{figure(difference)} {direction}"
    return f"{per_cent(abs(tested.gain)).lstrip('+')} {direction}"


def _support(tested: PairedTest, verdict: Verdict) -> Iterator[str]:
    found = tested.comparison
    relative = "Difference in MAP"
    if found.relative is not None:
        relative = f"Relative difference {per_cent_spread(found.relative)}; in MAP"
    yield f"{relative} {signed_spread(found.difference)}, 95 % intervals over {count(found.difference.n, 'concept')}."
    seeds = found.over_seeds
    if seeds.degenerate:
        yield "One training seed only: what another training run would give is not known."
    else:
        yield f"95 % interval over {count(seeds.n, 'training seed')}: {signed_spread(seeds)}."
    if not seeds.degenerate and seeds.low <= 0 <= seeds.high and tested.significant:
        yield "That interval includes zero: other training runs might not show the difference."
    if verdict is Verdict.UNMEASURABLE:
        yield "A difference of this size can be chance."


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
