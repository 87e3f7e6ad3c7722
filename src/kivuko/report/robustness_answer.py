"""The answer of a robustness study in one sentence: under attack, and at equal clean accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from kivuko.evaluation.statistics import Interval
from kivuko.report.comparisons import EVERYTHING, MATCHED, RATIO, UNDER_ATTACK, Contrast, PairedTest, no_choice
from kivuko.report.formatting import after_holm, count, figure, per_cent, signed
from kivuko.report.page import Answer
from kivuko.report.study_page import Findings


class Verdict(Enum):
    """The result under attack, and at equal clean accuracy; the value begins the sentence."""

    IMPROVES = "{0} improves robustness"
    ONLY_BETTER = "{0} does better under attack, but once clean accuracy is equal no gain in robustness is shown"
    BETTER_BUT_FRAGILE = "{0} does better under attack, yet it is less robust once clean accuracy is equal"
    AT_EQUAL = "{0} is more robust at equal clean accuracy, but it does not measurably better under attack"
    NO_CHANGE = "{0} brings no measurable change in robustness"
    FRAGILE = "{0} is less robust at equal clean accuracy"
    WORSE = "{0} does worse under attack"
    HARMS = "{0} harms robustness"
    UNANSWERED = "These records do not say whether {0} improves robustness"


_VERDICTS = {
    (1, 1): Verdict.IMPROVES, (1, 0): Verdict.ONLY_BETTER, (1, -1): Verdict.BETTER_BUT_FRAGILE,
    (0, 1): Verdict.AT_EQUAL, (0, 0): Verdict.NO_CHANGE, (0, -1): Verdict.FRAGILE,
    (-1, 1): Verdict.WORSE, (-1, 0): Verdict.WORSE, (-1, -1): Verdict.HARMS,
}  # fmt: skip


@dataclass(frozen=True)
class Headline:
    """The tests behind the answer, of the chosen recipe of the first side."""

    raw: PairedTest  # MAP under all attacks
    equal: PairedTest | None  # at equal clean MAP, or the robustness ratio where that could not be computed
    ratio: PairedTest | None
    families: Sequence[tuple[str, PairedTest, PairedTest | None]]  # each with its raw and equal test
    languages: int
    attacks: int


def judge(raw: PairedTest, equal: PairedTest | None) -> Verdict:
    """Return the verdict on the signs of both tests after Holm."""
    return _VERDICTS[raw.sign, equal.sign if equal else 0]


def answer(headline: Headline | None, contrast: Contrast, reason: str = "") -> Answer:
    """Answer in one sentence from the headline tests; ``reason`` ends the sentence where there are none."""
    if headline is None:
        subject = "optimal transport" if contrast.transport else "one recipe"
        begins = Verdict.UNANSWERED.value.replace("{0}", subject)
        return Answer("unanswered", f"{begins}: {reason or 'the comparison is missing'}.")
    verdict = judge(headline.raw, headline.equal)
    raw = headline.raw.comparison
    best, other = contrast.best, contrast.other.replace("best distillation recipe without", "best without")
    subject = "Optimal transport" if contrast.transport else f"“{raw.first}”"
    sentence = (
        f"{verdict.value.replace('{0}', subject)}: with {count(headline.raw.size, 'sentence pair')} per language, "
        f"{best}, “{raw.first}”, keeps a mean MAP of {figure(raw.means[0])} under attack (mean of "
        f"{count(headline.attacks, 'attack')} in {count(headline.languages, 'low-resource language')}), "
        f"{_amount(raw.difference)} {other}, “{raw.second}” ({figure(raw.means[1])}; "
        f"{after_holm(headline.raw.adjusted, headline.raw.family_size)}){_equal(headline.equal)}{_where(headline)}."
    )
    return Answer(verdict.name.lower(), sentence, tuple(_support(headline)))


def _amount(difference: Interval) -> str:
    """Write how much more or less; with its sign where the interval holds zero, since neither word would be sure."""
    if difference.mean == 0:
        return "exactly as much as"
    if difference.low <= 0 <= difference.high:
        return f"a difference of {_signed(difference)} to"
    low, high = sorted((abs(difference.low), abs(difference.high)))
    words = "more than" if difference.mean > 0 else "less than"
    return f"{figure(abs(difference.mean))} [{figure(low)}, {figure(high)}] {words}"


def _signed(interval: Interval) -> str:
    """Write a difference with three digits and its sign; what rounds to nothing has none."""
    written = [
        signed(value, 3) if abs(value) >= 5e-4 else "0.000" for value in (interval.mean, interval.low, interval.high)
    ]
    return written[0] if interval.degenerate else f"{written[0]} [{written[1]}, {written[2]}]"


def _equal(tested: PairedTest | None) -> str:
    if tested is None:
        return ", with no comparison at equal clean accuracy"
    what = "at equal clean MAP the difference is"
    if tested.kind == RATIO:
        what = "the share of clean MAP that it keeps differs by"
    return f", and {what} {_signed(tested.comparison.difference)} ({after_holm(tested.adjusted)})"


def _where(headline: Headline) -> str:
    """Name the families of attacks with an advantage, without a visible difference, and with a disadvantage."""
    if len(headline.families) < 2:
        return ""
    signs = [(name, (equal or raw).sign) for name, raw, equal in headline.families]
    words = {1: "it is better against", 0: "no difference is shown against", -1: "it is worse against"}
    parts = [
        f"{words[sign]} {_listed([name for name, its in signs if its == sign])}"
        for sign in words
        if any(its == sign for _, its in signs)
    ]
    basis = "at equal clean MAP" if headline.equal and headline.equal.kind == MATCHED else "by the share kept"
    if headline.equal is None:
        basis = "in MAP under attack"
    joined = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"
    return f"; by kind of attack, {basis}, {joined}"


def _listed(names: Sequence[str]) -> str:
    named = [name if name.endswith(("noise", "attacks")) else f"{name} attacks" for name in names]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def _support(headline: Headline) -> Iterator[str]:
    raw = headline.raw.comparison
    if raw.relative is not None:
        interval = f"{per_cent(raw.relative.mean)} [{per_cent(raw.relative.low)}, {per_cent(raw.relative.high)}]"
        over = count(raw.difference.n, "concept")
        yield f"Relative difference in MAP under attack: {interval}, 95 % interval over {over}."
    if headline.ratio is not None:
        shares = headline.ratio.comparison
        yield (
            f"Share of clean MAP kept: {figure(shares.means[0])} against {figure(shares.means[1])}, difference "
            f"{_signed(shares.difference)} ({after_holm(headline.ratio.adjusted)})."
        )
    matching = headline.equal.matching if headline.equal else None
    if matching is not None and matching.mixed is not None and matching.sizes is not None:
        sizes = " and ".join(f"{size:,}" for size in matching.sizes)
        yield (
            f"Equal clean MAP: both at {figure(matching.target)}, “{matching.mixed}” as a mixture of its models of "
            f"{sizes} pairs."
        )
    seeds = raw.over_seeds
    if seeds.degenerate:
        yield "One training seed only: the result of another training run is not known."
    else:
        yield f"95 % interval over {count(seeds.n, 'training seed')}: {_signed(seeds)}."
        if seeds.low <= 0 <= seeds.high and headline.raw.sign:
            yield "That interval includes zero: other training runs might not show the difference."
    if not headline.raw.sign and not (headline.equal and headline.equal.sign):
        yield "A difference of this size can be chance; the intervals say how large it could still be."


def study_answer(findings: Findings) -> Answer:
    return answer(headline_of(findings), findings.contrast, _why_not(findings))


def headline_of(findings: Findings) -> Headline | None:
    """Return the tests behind the answer, or None where the main one could not be made."""
    choice, family = findings.headline, findings.family
    if choice is None or choice.first is None or not choice.scopes:
        return None
    at = (choice.size, choice.first.objective)
    raw = family.attacked(at[0], EVERYTHING, UNDER_ATTACK, at[1])
    if raw is None:
        return None
    kind = MATCHED if family.attacked(at[0], EVERYTHING, MATCHED, at[1]) else RATIO
    families = [
        (scope.name, of_scope, family.attacked(at[0], scope.name, kind, at[1]))
        for scope in choice.scopes[1:]
        if (of_scope := family.attacked(at[0], scope.name, UNDER_ATTACK, at[1])) is not None
    ]
    equal = family.attacked(at[0], EVERYTHING, kind, at[1])
    ratio = family.attacked(at[0], EVERYTHING, RATIO, at[1])
    return Headline(raw, equal, ratio, families, len(findings.results.low), len(choice.scopes[0].attacks))


def _why_not(findings: Findings) -> str:
    choice = findings.headline
    if choice is None:
        return "no model in them was trained on bitext"
    if choice.first is None or choice.second is None:
        return no_choice(choice, findings.contrast, "was measured under attack")
    if not choice.scopes:
        return f"at {choice.size:,} pairs the recipes were not measured under the same attacks"
    names = f"{choice.first.objective} and {choice.second.objective}"
    return f"at {choice.size:,} pairs {names} could not be compared query by query"
