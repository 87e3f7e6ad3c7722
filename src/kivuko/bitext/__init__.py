"""Parallel text: reading it, cleaning it, taking samples of it."""

from kivuko.bitext.account import report_copied, report_dropped
from kivuko.bitext.bitext import Bitext, concatenate
from kivuko.bitext.cleaning import clean_text
from kivuko.bitext.lines import Line, read_lines
from kivuko.bitext.pair import Pair
from kivuko.bitext.raw_pair import RawPair
from kivuko.bitext.reading import open_source, read_bitext, read_tsv
from kivuko.bitext.sampling import hold_out, take_fraction, take_pairs
from kivuko.bitext.sieve import Sieve
from kivuko.bitext.source import PairSource
from kivuko.bitext.word_table import word_table
from kivuko.bitext.words import spelling_likeness, trigrams, word_list, word_spans

__all__ = [
    "Bitext",
    "Line",
    "Pair",
    "PairSource",
    "RawPair",
    "Sieve",
    "clean_text",
    "concatenate",
    "hold_out",
    "open_source",
    "read_bitext",
    "read_lines",
    "read_tsv",
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
