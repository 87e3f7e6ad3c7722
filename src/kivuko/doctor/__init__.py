"""What is wrong with a model, its tokenizer or its gallery, and what to do about it. One check per file."""

from kivuko.doctor.examination import Request, examine
from kivuko.doctor.finding import LEVELS, Finding, Sentences, bitext_sentences, emoji_sentences, worst_level

__all__ = [
    "LEVELS",
    "Finding",
    "Request",
    "Sentences",
    "bitext_sentences",
    "emoji_sentences",
    "examine",
    "worst_level",
]
