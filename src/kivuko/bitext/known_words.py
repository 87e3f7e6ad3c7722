"""Words that tell a language, learnt from sentences whose language is known, in bounded memory."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

_MAX_WORDS = 100_000  # that are counted; later ones are not learnt
_SEEN = 3  # times before a word tells
_ELSEWHERE = 4  # times rarer it must be in sentences of other languages
_SHARE = 0.5  # of a sentence's words that must be known
_LEAST = 4  # words that must be


class KnownWords:
    """Counts words by language, and tells sentences that are made up of a language's words.

    Args:
        languages: those that are to be told; any hashable values.
    """

    def __init__(self, languages: Sequence[Hashable]) -> None:
        self._column = {language: column for column, language in enumerate(dict.fromkeys(languages))}
        self._counts: dict[str, list[int]] = {}  # word -> sentences of each language, and of any other in the end
        self._telling: list[set[str]] = [set() for _ in self._column]

    def tell(self, sentence: str, language: Hashable) -> bool:
        """Tell whether a sentence is, by its words, sure to be in ``language``; False where they do not say."""
        words = sentence.split()
        known = sum(map(self._telling[self._column[language]].__contains__, words))
        return known >= _LEAST and known >= _SHARE * len(words)

    def learn(self, sentences: Sequence[str], languages: Sequence[Hashable | None]) -> None:
        """Count the words of sentences in these languages; a sentence of None, which nobody knows, teaches nothing."""
        other = len(self._column)
        touched: set[str] = set()
        for sentence, language in zip(sentences, languages, strict=True):
            if language is None:
                continue
            column = self._column.get(language, other)
            for word in set(sentence.split()):
                counts = self._counts.get(word)
                if counts is None:
                    if len(self._counts) >= _MAX_WORDS:
                        continue
                    counts = self._counts[word] = [0] * (other + 1)
                counts[column] += 1
                touched.add(word)
        for word in touched:
            self._judge(word)

    def _judge(self, word: str) -> None:
        counts = self._counts[word]
        total = sum(counts)
        for telling, count in zip(self._telling, counts, strict=False):
            if count >= _SEEN and count >= _ELSEWHERE * (total - count):
                telling.add(word)
            else:
                telling.discard(word)
