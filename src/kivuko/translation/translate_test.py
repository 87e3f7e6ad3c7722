"""Translate-test, the baseline that searches in English with a translated query; translators, one of them lexical."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext.pairs import Bitext
from kivuko.bitext.sampling import word_table
from kivuko.errors import DataError, ModelError
from kivuko.languages import language as describe
from kivuko.text import APOSTROPHES, one_apostrophe, table_lookup, word_list


class Translator(Protocol):
    """Any translator into English."""

    @property
    def name(self) -> str:
        """A short name for tables and records."""
        ...

    def translate(self, texts: list[str], language: str) -> list[str]:
        """Translate texts, all in one language (BCP 47), into English, in order; an empty text stays empty."""
        ...


EncodeTexts = Callable[[Sequence[str]], NDArray[np.float32]]


def translate_test(translator: Translator, encode_english: EncodeTexts, language: str) -> EncodeTexts:
    """Return a function from texts in ``language`` to the English encoder's vectors of their translations.

    The baseline that OPTICAL (Huang, Yu and Allan 2023, arXiv 2301.12566) calls the translation method. Each distinct
    text is translated once; English is not translated.
    """
    english: dict[str, str] = {}

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        new = [] if language == "en" else [text for text in dict.fromkeys(texts) if text not in english]
        if new:  # all at once: the translator batches texts of like length
            english.update(zip(new, translator.translate(new, language), strict=True))
        return encode_english([english.get(text, text) for text in texts])

    return encode


@dataclass(frozen=True)
class LexicalTranslator:
    """A word-by-word translator with tables from an aligner of the bitext; words that they lack are copied.

    ``tables``: language code -> word -> English word, all case folded.
    """

    tables: Mapping[str, Mapping[str, str]]
    name: str = "lexical"

    def translate(self, texts: list[str], language: str) -> list[str]:
        """Translate word by word; the order of words is kept."""
        table = self.tables.get(describe(language).code)
        if table is None:
            raise ModelError(
                f"the word table has no language {language!r} (it has {', '.join(self.tables)}): give bitext for it."
            )
        english = table_lookup(table)
        # An apostrophe that is no letter would part the word.
        spelled = (one_apostrophe(text) if set(APOSTROPHES) & set(text) else text for text in texts)
        return [" ".join(english(word, word) for word in word_list(text)) for text in spelled]


def train_lexical(bitext: Bitext, aligner: str = "transport") -> LexicalTranslator:
    """Build a word table per language from a bitext: for each word its most associated English word.

    ``aligner``: see ``kivuko.bitext.word_alignment``.
    """
    if not len(bitext):
        raise DataError("no pairs to build a word table from: the bitext is empty.")
    return LexicalTranslator(
        {code: word_table(bitext, code, aligner=aligner) for code in bitext.by_language()},
        "lexical" if aligner == "transport" else f"lexical-{aligner}",
    )
