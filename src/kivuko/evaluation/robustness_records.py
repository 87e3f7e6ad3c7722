"""Robustness as records: what an attack left of each language and group, beside the plain measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from kivuko.errors import DataError
from kivuko.evaluation.concept_samples import BOOTSTRAP, Bootstrap
from kivuko.evaluation.intervals import Interval
from kivuko.evaluation.query_scores import PerQueryScores
from kivuko.evaluation.records import Record
from kivuko.evaluation.robustness import Robustness, robustness

RATIO, ACCURACY_DROP, SUCCESS_OF_CORRECT = "robustness ratio", "accuracy_drop", "success_of_correct"


def robustness_records(
    clean: Sequence[PerQueryScores],
    attacked: Sequence[PerQueryScores],
    groups: Mapping[str, Sequence[str]],
    *,
    bootstrap: Bootstrap = BOOTSTRAP,
) -> list[Record]:
    """Return one record per group and measure of robustness, under the attacked blocks' condition.

    Args:
        clean, attacked: per-query MAP of one objective and seed, one block per language.
        groups: name to languages; a language by itself is a group of one, ``{"sw": ["sw"]}``.

    Returns:
        Records of "robustness ratio" (of MAP), "accuracy_drop" and "success_of_correct" (of R@1), see
        :class:`~kivuko.evaluation.robustness.Robustness`; those without a value are left out.

    Raises:
        DataError: blocks of several conditions, or as :func:`~kivuko.evaluation.robustness.robustness`.
    """
    conditions = {block.condition for block in attacked}
    if len(conditions) != 1:
        raise DataError(f"{len(conditions)} conditions were given; make records of one at a time")
    first = attacked[0]
    found = []
    for group, languages in groups.items():
        outcome = robustness(clean, attacked, languages, bootstrap=bootstrap)
        queries = sum(len(block.values) for block in attacked if block.language in languages)
        for measure, interval in _values(outcome).items():
            found.append(
                Record(
                    **asdict(first.condition), subset=first.subset, language=group, measure=measure,
                    value=interval.mean, low=interval.low, high=interval.high, queries=queries,
                )
            )  # fmt: skip
    return found


def _values(outcome: Robustness) -> dict[str, Interval]:
    found = {
        RATIO: outcome.ratio,
        ACCURACY_DROP: outcome.accuracy_drop,
        SUCCESS_OF_CORRECT: outcome.success_of_correct,
    }
    return {measure: interval for measure, interval in found.items() if interval is not None}
