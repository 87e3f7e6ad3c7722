"""The answer of a low-resource study in one sentence, and the bars that were set beforehand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from kivuko.report.comparisons import Contrast, Family, PairedTest, no_choice
from kivuko.report.formatting import after_holm, count, figure, per_cent, per_cent_spread, signed_spread
from kivuko.report.page import Answer
from kivuko.report.results import TRANSLATE_TEST, Setting
from kivuko.report.study_page import Findings

WANTED_GAIN = 0.10  # over the best without transport, relative
WANTED_OVER_TRANSLATION = 0.137  # as the OPTICAL paper reports (Huang, Yu and Allan 2023), relative
MET, MISSED, OPEN = "met", "missed", "not measured"


class Verdict(Enum):
    """The result of the headline test; the value begins the sentence on transport."""

    HELPS = "Optimal transport helps"
    HELPS_LITTLE = "Optimal transport helps, but by less than the required 10 %"
    UNMEASURABLE = "Optimal transport brings no measurable gain"
    NO_HELP = "Optimal transport does not help"
    HARMS = "Optimal transport harms"
    UNANSWERED = "These records do not say whether optimal transport helps"


_OF_RECIPES = {
    Verdict.HELPS: "“{0}” is better than “{1}”",
    Verdict.HELPS_LITTLE: "“{0}” is better than “{1}”",
    Verdict.UNMEASURABLE: "“{0}” is not measurably better than “{1}”",
    Verdict.NO_HELP: "“{0}” is not better than “{1}”",
    Verdict.HARMS: "“{0}”, the best on the validation split, is worse than “{1}” on the test split",
    Verdict.UNANSWERED: "These records do not say which recipe is better",
}


def judge(gain: float, p: float) -> Verdict:
    """Return the verdict on a relative gain and its p value after Holm."""
    if p < 0.05 and gain > 0:
        return Verdict.HELPS if gain >= WANTED_GAIN else Verdict.HELPS_LITTLE
    if p < 0.05 and gain < 0:
        return Verdict.HARMS
    return Verdict.UNMEASURABLE if gain > 0 else Verdict.NO_HELP


def answer(tested: PairedTest | None, contrast: Contrast, reason: str = "", languages: int = 0) -> Answer:
    """Answer in one sentence from the headline test; ``reason`` ends the sentence where there is none."""
    if tested is None:
        begins = _begin(Verdict.UNANSWERED, contrast)
        return Answer("unanswered", f"{begins}: {reason or 'the comparison is missing'}.")
    comparison = tested.comparison
    verdict = judge(tested.gain, tested.adjusted)
    sentence = (
        f"{_begin(verdict, contrast, comparison.first, comparison.second)}: with "
        f"{count(tested.size, 'sentence pair')} per language ({tested.setting.label}), {contrast.best}, "
        f"“{comparison.first}”, reaches a mean MAP of {figure(comparison.means[0])} over "
        f"{count(languages, 'low-resource language')}, {_amount(tested)} {contrast.other}, “{comparison.second}” "
        f"({figure(comparison.means[1])}); {after_holm(tested.adjusted, tested.family_size)}."
    )
    return Answer(verdict.name.lower(), sentence, tuple(_support(tested, verdict)))


def _begin(verdict: Verdict, contrast: Contrast, first: str = "", second: str = "") -> str:
    return verdict.value if contrast.transport else _OF_RECIPES[verdict].replace("{0}", first).replace("{1}", second)


def _amount(tested: PairedTest) -> str:
    difference = tested.comparison.difference.mean
    if tested.gain == 0:
        return "exactly as much as"
    direction = "more than" if difference > 0 else "less than"
    if math.isinf(tested.gain):
        return f"{figure(difference)} {direction}"
    return f"{per_cent(abs(tested.gain)).lstrip('+')} {direction}"


def _support(tested: PairedTest, verdict: Verdict) -> Iterator[str]:
    comparison = tested.comparison
    relative = "Difference in MAP"
    if comparison.relative is not None:
        relative = f"Relative difference {per_cent_spread(comparison.relative)}; in MAP"
    over = count(comparison.difference.n, "concept")
    yield f"{relative} {signed_spread(comparison.difference)}, 95 % intervals over {over}."
    seeds = comparison.over_seeds
    if seeds.degenerate:
        yield "One training seed only: the result of another training run is not known."
    else:
        yield f"95 % interval over {count(seeds.n, 'training seed')}: {signed_spread(seeds)}."
    if not seeds.degenerate and seeds.low <= 0 <= seeds.high and tested.significant:
        yield "That interval includes zero: other training runs might not show the difference."
    if verdict is Verdict.UNMEASURABLE:
        yield "A difference of this size can be chance."


def study_answer(findings: Findings) -> Answer:
    choice = findings.headline
    if choice is None:
        return answer(None, findings.contrast, "no model in them was trained on bitext")
    reason = no_choice(choice, findings.contrast, "could be chosen on the validation split")
    if choice.first and choice.second:
        names = f"{choice.first.objective} and {choice.second.objective}"
        reason = f"at {choice.size:,} pairs {names} could not be compared query by query"
    tested = findings.family.against(choice.setting, choice.size, findings.contrast.role)
    return answer(tested, findings.contrast, reason, len(findings.results.low))


@dataclass(frozen=True)
class Claim:
    """One requirement set beforehand."""

    wanted: str
    figures: tuple[str, ...]
    state: str  # MET, MISSED or OPEN


def gain_claim(family: Family, setting: Setting, size: int) -> Claim:
    """At least 10 % over the best without transport at the headline size, and not by luck."""
    wanted = (
        f"At {count(size, 'pair')} per language: at least {per_cent(WANTED_GAIN)} relative over the best distillation "
        "recipe without transport, p < 0.05 after Holm"
    )
    tested = family.against(setting, size, "best without transport")
    if tested is None:
        return Claim(wanted, ("the comparison could not be made",), OPEN)
    names = f"“{tested.comparison.first}” over “{tested.comparison.second}”"
    state = MET if judge(tested.gain, tested.adjusted) is Verdict.HELPS else MISSED
    return Claim(wanted, (f"{_gain(tested)} ({names})",), state)


def translation_claim(family: Family, setting: Setting, sizes: Sequence[int]) -> Claim:
    """At least 13.7 % over translating the query, at every size; one size below is enough to miss it."""
    wanted = f"At every size: at least {per_cent(WANTED_OVER_TRANSLATION)} relative over {TRANSLATE_TEST}"
    lines, states = [], []
    for size in sizes:
        tested = family.against(setting, size, TRANSLATE_TEST)
        if tested is None:
            words, state = "not measured", OPEN
        else:
            words = _gain(tested)
            state = MET if tested.gain >= WANTED_OVER_TRANSLATION else MISSED
        lines.append(f"{count(size, 'pair')}: {words}")
        states.append(state)
    overall = MISSED if MISSED in states else OPEN if OPEN in states or not states else MET
    return Claim(wanted, tuple(lines) or ("nothing was measured",), overall)


def _gain(tested: PairedTest) -> str:
    p = after_holm(tested.adjusted)
    if tested.comparison.relative is not None:
        return f"{per_cent_spread(tested.comparison.relative)}, {p}"
    gain = "no ratio, the other’s MAP is 0" if math.isinf(tested.gain) else per_cent(tested.gain)
    return f"{gain}, {p}"
