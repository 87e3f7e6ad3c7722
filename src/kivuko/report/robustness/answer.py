"""The answer in one sentence: does transport make search more robust? Computed from the tests, whatever they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from kivuko.evaluation import Interval
from kivuko.report.rendering import count, figure, per_cent, probability, signed
from kivuko.report.robustness.comparisons import MATCHED, RATIO, RobustnessTest


class Verdict(Enum):
    """What the tests say of accuracy under attack, and of it at equal clean accuracy; the value begins the sentence."""

    IMPROVES = "Optimal transport improves robustness"
    ONLY_BETTER = (
        "Optimal transport does better under attack, but once clean accuracy is equal no gain in robustness is shown"
    )
    BETTER_BUT_FRAGILE = (
        "Optimal transport does better under attack, yet it is less robust once clean accuracy is equal"
    )
    AT_EQUAL = (
        "Optimal transport is more robust at equal clean accuracy, but it does not measurably better under attack"
    )
    NO_CHANGE = "Optimal transport brings no measurable change in robustness"
    FRAGILE = "Optimal transport is less robust at equal clean accuracy"
    WORSE = "Optimal transport does worse under attack"
    HARMS = "Optimal transport harms robustness"
    UNANSWERED = "These records do not say whether optimal transport improves robustness"


_VERDICTS = {
    (1, 1): Verdict.IMPROVES, (1, 0): Verdict.ONLY_BETTER, (1, -1): Verdict.BETTER_BUT_FRAGILE,
    (0, 1): Verdict.AT_EQUAL, (0, 0): Verdict.NO_CHANGE, (0, -1): Verdict.FRAGILE,
    (-1, 1): Verdict.WORSE, (-1, 0): Verdict.WORSE, (-1, -1): Verdict.HARMS,
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """``sentence``: the answer. ``support``: what a careful reader asks next, a sentence each."""

    verdict: Verdict
    sentence: str
    support: tuple[str, ...] = ()


@dataclass(frozen=True)
class Headline:
    """What the answer rests on: all attacks together, and each family, of the chosen recipe with transport.

    ``raw``: MAP under attack. ``equal``: at equal clean MAP, or the robustness ratio where that could not be made.
    ``families``: each family's raw and equal tests.
    """

    raw: RobustnessTest
    equal: RobustnessTest | None
    ratio: RobustnessTest | None
    families: Sequence[tuple[str, RobustnessTest, RobustnessTest | None]]
    languages: int
    attacks: int


def judge(raw: RobustnessTest, equal: RobustnessTest | None) -> Verdict:
    """Return the verdict on the signs of both tests after Holm; without the second, no more than the first says."""
    return _VERDICTS[raw.sign, equal.sign if equal else 0]


def answer(found: Headline | None, reason: str = "") -> Answer:
    """Say in one sentence what the headline comparisons show; ``reason`` ends the sentence where there is none."""
    if found is None:
        return Answer(Verdict.UNANSWERED, f"{Verdict.UNANSWERED.value}: {reason or 'the comparison is missing'}.")
    verdict = judge(found.raw, found.equal)
    told = found.raw.comparison
    sentence = (
        f"{verdict.value}: with {count(found.raw.size, 'sentence pair')} per language, the best recipe with it, "
        f"“{told.first}”, keeps a mean MAP of {figure(told.means[0])} under attack (mean of "
        f"{count(found.attacks, 'attack')} in {count(found.languages, 'low-resource language')}), "
        f"{_size(told.difference)} the best without it, “{told.second}” ({figure(told.means[1])}; "
        f"{probability(found.raw.adjusted)} after Holm’s correction){_equal(found.equal)}{_where(found)}."
    )
    return Answer(verdict, sentence, tuple(_support(found)))


def _size(difference: Interval) -> str:
    """Write how much more or less; with its sign where the interval holds zero, since neither word would be sure."""
    if difference.mean == 0:
        return "exactly as much as"
    if difference.low <= 0 <= difference.high:
        return f"a difference of {_spread(difference)} to"
    low, high = sorted((abs(difference.low), abs(difference.high)))
    words = "more than" if difference.mean > 0 else "less than"
    return f"{figure(abs(difference.mean))} [{figure(low)}, {figure(high)}] {words}"


def _spread(interval: Interval) -> str:
    """Write a difference with three digits and its sign; what rounds to nothing has none."""
    written = [
        signed(value, 3) if abs(value) >= 5e-4 else "0.000" for value in (interval.mean, interval.low, interval.high)
    ]
    return written[0] if interval.degenerate else f"{written[0]} [{written[1]}, {written[2]}]"


def _equal(tested: RobustnessTest | None) -> str:
    if tested is None:
        return ", with no comparison at equal clean accuracy"
    what = "at equal clean MAP the difference is"
    if tested.kind == RATIO:
        what = "the share of clean MAP that it keeps differs by"
    return f", and {what} {_spread(tested.comparison.difference)} ({probability(tested.adjusted)})"


def _where(found: Headline) -> str:
    """Name the families of attacks where it holds, where nothing is shown, and where the opposite holds."""
    if len(found.families) < 2:
        return ""
    pick = [(name, (equal or raw).sign) for name, raw, equal in found.families]
    words = {1: "it is better against", 0: "no difference is shown against", -1: "it is worse against"}
    parts = [
        f"{words[sign]} {_listed([name for name, its in pick if its == sign])}"
        for sign in words
        if any(its == sign for _, its in pick)
    ]
    basis = "at equal clean MAP" if found.equal and found.equal.kind == MATCHED else "by the share kept"
    if found.equal is None:
        basis = "in MAP under attack"
    return f"; by kind of attack, {basis}, {_joined(parts)}"


def _listed(names: Sequence[str]) -> str:
    named = [name if name.endswith(("noise", "attacks")) else f"{name} attacks" for name in names]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"


def _support(found: Headline) -> Iterator[str]:
    told = found.raw.comparison
    if told.relative is not None:
        spread = f"{per_cent(told.relative.mean)} [{per_cent(told.relative.low)}, {per_cent(told.relative.high)}]"
        over = count(told.difference.n, "concept")
        yield f"Relative difference in MAP under attack: {spread}, 95 % interval over {over}."
    if found.ratio is not None:
        shares = found.ratio.comparison
        yield (
            f"Share of clean MAP kept: {figure(shares.means[0])} against {figure(shares.means[1])}, difference "
            f"{_spread(shares.difference)} ({probability(found.ratio.adjusted)})."
        )
    matching = found.equal.matching if found.equal else None
    if matching is not None and matching.mixed is not None and matching.sizes is not None:
        sizes = " and ".join(f"{size:,}" for size in matching.sizes)
        yield (
            f"Equal clean MAP: both at {figure(matching.target)}, “{matching.mixed}” as a mixture of its models of "
            f"{sizes} pairs."
        )
    seeds = told.over_seeds
    if seeds.degenerate:
        yield "One training seed only: what another training run would give is not known."
    else:
        yield f"95 % interval over {count(seeds.n, 'training seed')}: {_spread(seeds)}."
        if seeds.low <= 0 <= seeds.high and found.raw.sign:
            yield "That interval includes zero: other training runs might not show the difference."
    if not found.raw.sign and not (found.equal and found.equal.sign):
        yield "A difference of this size can be chance; the intervals say how large it could still be."
