"""Measures per query, intervals, significance tests, and the records they end in.

Knows arrays and ids, not models: a score matrix comes in, records go out.
"""

from kivuko.evaluation.comparison import Comparison, compare, seed_means
from kivuko.evaluation.intervals import Interval, bootstrap_interval, paired_difference, seed_interval
from kivuko.evaluation.measures import MEASURES, parse_measures
from kivuko.evaluation.qrels import Qrels
from kivuko.evaluation.query_scores import PerQueryScores, per_query_path, read_per_query
from kivuko.evaluation.records import Condition, Header, Record
from kivuko.evaluation.records_file import read_records, write_records
from kivuko.evaluation.run import PROTOCOL, Run, evaluate_run, per_query, rank
from kivuko.evaluation.significance import RandomisationTest, holm, randomisation_test
from kivuko.evaluation.summary import PARITY, LanguageScores, Summary, per_query_scores, summarise

__all__ = [
    "MEASURES",
    "PARITY",
    "PROTOCOL",
    "Comparison",
    "Condition",
    "Header",
    "Interval",
    "LanguageScores",
    "PerQueryScores",
    "Qrels",
    "RandomisationTest",
    "Record",
    "Run",
    "Summary",
    "bootstrap_interval",
    "compare",
    "evaluate_run",
    "holm",
    "paired_difference",
    "parse_measures",
    "per_query",
    "per_query_path",
    "per_query_scores",
    "randomisation_test",
    "rank",
    "read_per_query",
    "read_records",
    "seed_interval",
    "seed_means",
    "summarise",
    "write_records",
]
