"""Measures per query, intervals, significance tests, and the records that they end in."""

from kivuko.evaluation.comparison import Comparison, PairedComparison, compare, compare_scores, seed_means
from kivuko.evaluation.group_means import PARITY, LanguageScores, Summary, per_query_scores, summarize
from kivuko.evaluation.measures import MEASURES, PROTOCOL, Qrels, measure_run, parse_measures, per_query
from kivuko.evaluation.records import (
    Condition,
    Header,
    PerQueryScores,
    Record,
    per_query_path,
    read_per_query,
    read_records,
    write_records,
)
from kivuko.evaluation.statistics import (
    Interval,
    RandomizationTest,
    bootstrap_interval,
    holm,
    paired_difference,
    randomization_test,
    seed_interval,
)
from kivuko.evaluation.trec_runs import Run

__all__ = [
    "MEASURES",
    "PARITY",
    "PROTOCOL",
    "Comparison",
    "Condition",
    "Header",
    "Interval",
    "LanguageScores",
    "PairedComparison",
    "PerQueryScores",
    "Qrels",
    "RandomizationTest",
    "Record",
    "Run",
    "Summary",
    "bootstrap_interval",
    "compare",
    "compare_scores",
    "holm",
    "measure_run",
    "paired_difference",
    "parse_measures",
    "per_query",
    "per_query_path",
    "per_query_scores",
    "randomization_test",
    "read_per_query",
    "read_records",
    "seed_interval",
    "seed_means",
    "summarize",
    "write_records",
]
