"""Parallel text: reading it, cleaning it, taking samples of it."""

from kivuko.bitext.pairs import Bitext, Pair, PairSource, RawPair, concatenate, report_copied, report_dropped
from kivuko.bitext.reading import open_source, read_bitext
from kivuko.bitext.sampling import hold_out, take_fraction, take_pairs, word_table
from kivuko.text import clean_text, spelling_likeness, trigrams, word_list, word_spans

__all__ = [
    "Bitext",
    "Pair",
    "PairSource",
    "RawPair",
    "clean_text",
    "concatenate",
    "hold_out",
    "open_source",
    "read_bitext",
    "report_copied",
    "report_dropped",
    "spelling_likeness",
    "take_fraction",
    "take_pairs",
    "trigrams",
    "word_list",
    "word_spans",
    "word_table",
]
