"""Everything the page says, worked out before a word of it is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kivuko.evaluation import Header, PerQueryScores, Record
from kivuko.report.low_resource.answer import Answer, Claim, answer, gain_claim, translation_claim
from kivuko.report.low_resource.comparisons import RULE, WITHOUT, Choice, Family, choose, compare_all
from kivuko.report.low_resource.study import LOW, Setting, Spot, Study
from kivuko.report.rendering import Fact, Table, count, header_facts, own_limits, told_table

HEADLINE_SIZE = 300  # sentence pairs per language: the size that the study's claim is about


@dataclass(frozen=True)
class Findings:
    """The study, what was chosen, every test, the bars and the answer.

    ``headline_size`` is the measured size nearest to 300 pairs, None where no bitext was used at all.
    """

    study: Study
    choices: tuple[Choice, ...]
    family: Family
    headline: Setting
    headline_size: int | None
    answer: Answer
    claims: tuple[Claim, ...]
    missing: tuple[str, ...]

    def choice(self, setting: Setting, size: int) -> Choice | None:
        """Return what was chosen there."""
        return next((c for c in self.choices if (c.setting, c.size) == (setting, size)), None)


def examine(header: Header, records: Sequence[Record], per_query: Sequence[PerQueryScores]) -> Findings:
    """Choose, compare, correct and answer.

    Raises:
        DataError: there is nothing to report, or two records contradict each other.
    """
    study = Study(header, records, per_query)
    choices = tuple(choose(study, setting, size) for setting in study.settings for size in study.sizes(setting))
    family = compare_all(study, choices)
    headline = study.settings[0]
    sizes = study.sizes(headline)
    size = nearest(sizes, HEADLINE_SIZE)
    told = answer(None, "no model in them was trained on bitext")
    claims: tuple[Claim, ...] = ()
    if size is not None:
        told = answer(family.find(headline, size, WITHOUT), _why_not(family, choices, headline, size), len(study.low))
        claims = (gain_claim(family, headline, size), translation_claim(family, headline, sizes))
    missing = (*family.missing, *_uneven_seeds(study))
    return Findings(study, choices, family, headline, size, told, claims, missing)


def nearest(sizes: Sequence[int], wanted: int) -> int | None:
    """Return the size nearest in ratio, the smaller of two equally near; None of none."""
    return min(sizes, key=lambda size: (abs(math.log(max(size, 1) / wanted)), size), default=None)


def _why_not(family: Family, choices: Sequence[Choice], setting: Setting, size: int) -> str:
    choice = next(c for c in choices if (c.setting, c.size) == (setting, size))
    if choice.transport is None or choice.plain is None:
        lacking = "with" if choice.transport is None else "without"
        return f"at {size:,} pairs no distillation recipe {lacking} transport could be chosen on the validation split"
    return f"at {size:,} pairs {choice.transport} and {choice.plain} could not be compared query by query"


def _uneven_seeds(study: Study) -> list[str]:
    """Say which recipes have fewer training seeds than the header names."""
    most = len(set(study.header.seeds))
    lines = []
    for setting, size in [(one, size) for one in study.settings for size in study.sizes(one)]:
        for name in study.objectives(setting, size):
            seeds = study.seed_values(Spot(setting, size, name, LOW, subset=study.subset))
            trained = [seed for seed in seeds if seed is not None]
            if trained and len(trained) < most:
                where = f"{setting.dataset}/{setting.scoring}, {size:,} pairs"
                lines.append(f"{where}: {name} has {len(trained)} of {most} seeds")
    return lines


DEFINITIONS = (
    ("MAP", "Mean average precision. For one query: at each right answer in the ranking, the share of right answers so "
     "far, averaged over all right answers; then the mean over queries. With one right answer per query it is the "
     "mean of one over its rank. 1 is perfect."),
    ("R@k", "The share of right answers among the first k results, averaged over queries."),
    ("Parity", "MAP in a language divided by the MAP of the English teacher on English queries. 1 is equal footing."),
    ("Low- and high-resource mean", "The mean over the languages of a group, each counting the same, however many "
     "queries it has."),
    ("Gap", "High-resource mean MAP minus low-resource mean MAP."),
    ("Sentence pairs per language", "Size of the bitext: sentences with their English translation that a student "
     "learned from, for each language."),
    ("Transport", "Optimal transport between the words of a sentence and its translation’s: a soft alignment, along "
     "which the teacher’s knowledge of words is passed on."),
    ("Interval over seeds", "A training run depends on luck: the sample of bitext, the first weights, the order of "
     "pairs. A seed fixes it. The 95 % t interval says where the mean over many seeds would lie; a single seed has "
     "none."),
    ("Interval over concepts", "Would other queries change the figure? Concepts (what a query asks for, in all "
     "languages together) are drawn anew 2,000 times with replacement; 95 % of the results lie in the interval."),
    ("p", "Paired randomization test: if two recipes were the same, either figure of a concept could have come from "
     "either. The share of 10,000 random exchanges that give a difference at least as large."),
    ("p after Holm", "Who asks many questions finds something by luck. Holm’s correction raises each p value so that "
     "the chance of even one false finding in the whole family, all tests on this page, stays below 5 %."),
)  # fmt: skip


def protocol_facts(findings: Findings) -> list[Fact]:
    """Return every key of the header: command, date, seeds, versions, then the protocol's own."""
    return header_facts(findings.study.header, RULE)


def recipes_told(findings: Findings) -> Table | Fact | None:
    """Return what the header tells of the recipes, as a table; as it stands where it has another form."""
    told = findings.study.header.protocol.get("recipes")
    return told_table(told, "recipes", ("kind", "transport", "description"))


def limits(findings: Findings) -> list[str]:
    """Say what the page does not show, from what the header and the records hold."""
    study = findings.study
    told = study.header.protocol
    lines = []
    if told.get("standard") is not True:
        lines.append("Not the standard study, or its header does not say so: a shorter run, or other settings.")
    seeds = len(set(study.header.seeds))
    if seeds < 5:
        lines.append(f"{count(seeds, 'training seed')}: too few to say much about other training runs.")
    lines += [
        f"One collection and {count(len(study.languages), 'language')}. It lets recipes be compared; it does not say "
        "how well a search over photographs or long documents would do, nor how another language would fare.",
        "Transport is compared as recipes use it. Two chosen recipes may differ in more than transport; the table of "
        "recipes says in what.",
        "The choice is among the recipes in the table. A recipe that nobody tried might do better, with transport or "
        "without.",
        "A difference that is not shown may still be there: the intervals say how large it could still be.",
    ]
    if study.high:
        lines.append(
            "Low- and high-resource languages saw about equally much bitext here; that isolates the language, and is "
            "not how data is spread in the world."
        )
    return [*own_limits(study.header), *lines]
