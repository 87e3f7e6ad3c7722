"""Everything the page says, worked out before a word of it is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kivuko.evaluation import Header, PerQueryScores, Record
from kivuko.report.low_resource.answer import Answer, answer
from kivuko.report.low_resource.claims import Claim, gain_claim, translation_claim
from kivuko.report.low_resource.family import WITHOUT, Family, compare_all
from kivuko.report.low_resource.selection import Choice, choose
from kivuko.report.low_resource.study import LOW, Setting, Spot, Study

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
