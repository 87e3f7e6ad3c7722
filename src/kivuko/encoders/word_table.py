"""The word table of a model: the English words that each word of its languages goes with (``word_table.json``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kivuko.errors import ModelError, UsageError, unreadable
from kivuko.languages import language as describe
from kivuko.text import one_apostrophe, words_normalized

WORD_TABLE_FILE = "word_table.json"


@dataclass(frozen=True, eq=False)
class WordTable:
    """Words and the English that they go with: language code -> word -> English -> share, 0 to 1, highest first.

    The shares of a word add up to 1 at most: rare English words are left out. A translation of a dictionary has the
    share 1 divided by their number; words that the bitext aligns and a dictionary lists have the mean of both.

    >>> table = WordTable({"sw": {"paka": {"cat": 0.75, "kitten": 0.25}}})
    >>> table.english("sw", "paka"), table.english("sw", "mbwa")
    ({'cat': 0.75, 'kitten': 0.25}, {})
    """

    entries: Mapping[str, Mapping[str, Mapping[str, float]]]

    def english(self, language: str, word: str) -> Mapping[str, float]:
        """Return the English of a word in small letters, and its shares; empty for a word that the table lacks."""
        return self.entries.get(language, {}).get(one_apostrophe(word), {})

    def look_up(self, language: str, words: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
        """Return the entries of a language, or of some words in any case; UsageError for an unknown language."""
        own = self.entries.get(describe(language).code)
        if own is None:
            there = ", ".join(self.entries) or "none"
            raise UsageError(f"the word table has no language {language!r}; it has {there}.")
        wanted = own if words is None else [words_normalized(word).strip().lower() for word in words]
        return {word: dict(self.english(describe(language).code, word)) for word in wanted}

    def with_dictionary(self, listed: Mapping[str, Mapping[str, Sequence[str]]]) -> WordTable:
        """Return the table with the translations of dictionaries: language code -> word -> English."""
        entries = {code: dict(own) for code, own in self.entries.items()}
        for code, own in listed.items():
            words = entries.setdefault(code, {})
            for word, translations in own.items():
                theirs = dict.fromkeys(translations, 1 / len(translations))
                ours = words.get(word, {})
                mean = {text: (ours.get(text, 0) + theirs.get(text, 0)) / 2 for text in {**ours, **theirs}}
                words[word] = _highest_first(mean if ours else theirs)
        return WordTable(entries)

    def save(self, file: Path) -> None:
        rounded = {
            code: {word: {text: round(share, 3) for text, share in own.items()} for word, own in words.items()}
            for code, words in self.entries.items()
        }
        file.write_text(json.dumps(rounded, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> Self | None:
        """Read a table; None where there is no such file. CorruptFileError if it is none."""
        if not file.is_file():
            return None
        try:
            entries: Any = json.loads(file.read_text(encoding="utf-8"))
            shares = [share for words in entries.values() for own in words.values() for share in own.values()]
            if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares):
                raise ValueError("not shares")
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as problem:
            what = f"{file}: corrupted or of another version. Make the model again."
            raise unreadable(file, problem, what) from problem
        return cls(entries)


def _highest_first(shares: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(shares.items(), key=lambda entry: (-entry[1], entry[0])))


def read_word_table(folder: Path) -> WordTable:
    """Read the word table of a model's folder; ModelError where it has none."""
    table = WordTable.load(folder / WORD_TABLE_FILE)
    if table is None:
        raise ModelError(f"{folder}: has no word table. Distill it with --recipe optical-words, which makes one.")
    return table
