"""Examination of a model: faults of the model, its tokenizer and its index, each with a remedy."""

from kivuko.doctor.examination import examine
from kivuko.doctor.finding import LEVELS, Finding, worst_level

__all__ = ["LEVELS", "Finding", "examine", "worst_level"]
