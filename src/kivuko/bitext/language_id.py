"""Language identification: of the sides of pairs with lingua, and of queries by the words of a model's languages.

lingua takes 0.1 to 0.3 ms a sentence, many times as long as all other rules, so by default it identifies only sentences
whose words do not decide; the words are learned from the bitext as it is read.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import MissingDependencyError
from kivuko.languages import language as describe
from kivuko.text import script_of, word_list, words_normalized

_MAX_WORDS = 100_000  # that are counted; later ones are not learned
_SEEN = 3  # times before a word counts as evidence
_ELSEWHERE = 4  # times rarer it must be in sentences of other languages
_SHARE = 0.5  # of a sentence's words that must be known
_LEAST = 4  # words that must be


class KnownWords:
    """Counts words by language, and recognizes sentences that consist of a language's words."""

    def __init__(self, languages: Sequence[Hashable]) -> None:
        self._column = {language: column for column, language in enumerate(dict.fromkeys(languages))}
        self._counts: dict[str, list[int]] = {}  # word -> sentences of each language, and of any other in the end
        self._telling: list[set[str]] = [set() for _ in self._column]

    def recognizes(self, sentence: str, language: Hashable) -> bool:
        """Return True if the words of a sentence show that it is in ``language``; False where they do not decide."""
        words = sentence.split()
        known = sum(map(self._telling[self._column[language]].__contains__, words))
        return known >= _LEAST and known >= _SHARE * len(words)

    def learn(self, sentences: Sequence[str], languages: Sequence[Hashable | None]) -> None:
        """Count the words of sentences in these languages; a sentence of None is skipped."""
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


MIN_LETTERS = 20  # shorter sentences are not judged: names and exclamations belong to no one language

# Languages that turn up uninvited in web bitext, by script; only these and the pair's own are loaded.
_NEIGHBORS = {
    "Latn": ("fr", "de", "es", "pt", "id"), "Cyrl": ("ru", "uk", "bg"), "Arab": ("ar", "fa", "ur"),
    "Deva": ("hi", "mr"), "Hani": ("ja",), "Hans": ("ja",), "Hant": ("ja",), "Jpan": ("zh",),
}  # fmt: skip

_AT_ONCE = 256  # sentences; words learned from them may decide the next

_CERTAINTY = 0.25  # by how much the likeliest language must be ahead of the next for the library to name it

# lingua names Norwegian's two written forms, and Tagalog where CLDR says Filipino.
_NAMED_BY_LINGUA = {"no": "nb", "fil": "tl"}


def missing_library() -> str | None:
    """Return a message if lingua is not installed, with the command that installs it; else None."""
    try:
        import lingua  # noqa: F401
    except ImportError:
        return "lingua, which identifies languages, is not installed: pip install 'kivuko[data]'"
    return None


class LanguageJudge:
    """Judges the languages of pairs, and learns words while it does."""

    def __init__(self, language: str, *, full: bool = False) -> None:
        if problem := missing_library():
            raise MissingDependencyError(f"{problem}, or leave it out with --no-language-id")
        from lingua import LanguageDetectorBuilder

        described = describe(language)
        own, self._english = _in_lingua(described.code), _in_lingua("en")
        neighbors = _NEIGHBORS.get(described.script, ())
        codes = dict.fromkeys(([described.code] if own else []) + ["en", *neighbors, *_NEIGHBORS["Latn"]])
        self.candidates = tuple(codes)
        # Where no other candidate is written in the language's script, the script decides alone.
        alone = described.script != "Latn" and set(neighbors) <= {described.code.split("-")[0]}
        self._own = None if alone else own
        self.note = None
        if own is None and not alone:
            self.note = f"lingua does not know {described.name}: the language of the English side alone was judged"
        # Of 1,500 lists of emoji keywords in English (hard: no sentence, no function words), letter trigrams alone
        # (lingua's low accuracy) name another language for 4 %, its n-grams of one to five letters for 0.1 %.
        builder = LanguageDetectorBuilder.from_languages(*{_in_lingua(code) for code in codes})
        self._detector = builder.with_minimum_relative_distance(_CERTAINTY).build()
        self._words = None if full else KnownWords((self._own, self._english))
        self.identified = self.swapped = 0

    def judge(self, texts: Sequence[str], english: Sequence[str], letters: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which pairs have a side that is sure to be in another language than it should [pairs].

        Both sides are cleaned and in lower case; one with fewer than ``MIN_LETTERS`` of ``letters`` [pairs, 2] is not
        judged.
        """
        strangers = self._strangers(english, self._english, letters[:, 1])
        if self._own is None:
            return _flags(strangers, len(texts))
        own = self._strangers(texts, self._own, letters[:, 0])
        self.swapped += sum(one == self._english and strangers.get(row) == self._own for row, one in own.items())
        return _flags(strangers | own, len(texts))

    def _strangers(self, texts: Sequence[str], expected: Any, letters: NDArray[np.int64]) -> dict[int, Any]:
        rows = np.flatnonzero(letters >= MIN_LETTERS).tolist()
        words = self._words
        strangers: dict[int, Any] = {}
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            if words is not None:
                some = [row for row in some if not words.recognizes(texts[row], expected)]
            if not some:
                continue
            unknown = [texts[row] for row in some]
            self.identified += len(unknown)
            languages = self._detector.detect_languages_in_parallel_of(unknown)
            if words is not None:
                words.learn(unknown, languages)
            for row, language in zip(some, languages, strict=True):
                if language is not None and language != expected:
                    strangers[row] = language
        return strangers


def _flags(rows: dict[int, Any], length: int) -> NDArray[np.bool_]:
    flags = np.zeros(length, dtype=np.bool_)
    flags[list(rows)] = True
    return flags


def _in_lingua(code: str) -> Any:
    """Return lingua's language for a BCP 47 code, or None where it knows none, or not in that script."""
    from lingua import IsoCode639_1, IsoCode639_3, Language

    primary = code.split("-")[0]
    if describe(code).script != describe(primary).script and primary != "zh":
        return None
    named = _NAMED_BY_LINGUA.get(primary, primary)
    try:
        if len(named) == 2:
            return Language.from_iso_code_639_1(IsoCode639_1.from_str(named))
        return Language.from_iso_code_639_3(IsoCode639_3.from_str(named))
    except ValueError:
        return None


_SMOOTHING = 0.1  # added to the counts of words
_SURE = 0.6  # share of the likeliest language below which none is named
_SCRIPTS_OF_MANY = ("Latn", "Zzzz")  # which identify no language


def log_probabilities(counts: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the logarithm of each word's probability in each language [languages, words], from its counts there."""
    smooth = counts.astype(np.float64) + _SMOOTHING
    logarithms: NDArray[np.float64] = np.log(smooth / smooth.sum(1, keepdims=True))
    return logarithms


def language_shares(log_likelihoods: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of each language [languages], all equally likely before a word is seen."""
    likely = np.exp(log_likelihoods - log_likelihoods.max())
    shares: NDArray[np.float64] = likely / likely.sum()
    return shares


@dataclass(frozen=True)
class LanguageGuess:
    """A language, and how sure it is."""

    code: str = "und"  # BCP 47; ``und`` where it is not known
    name: str = "unknown"
    share: float = 0.0  # probability among the model's languages, 0 to 1; 0 where not known
    basis: str = "none"  # ``words``, ``script`` or ``none``


UNKNOWN = LanguageGuess()


class LanguageGuesser:
    """Guesses the language of queries among those of a model: by their words (naive Bayes), else by script.

    ``counts`` [languages, words] are how often each word occurs in each language's training sentences.

    >>> guesser = LanguageGuesser(["sw", "de"], ["paka", "der"], np.array([[5, 0], [0, 9]], dtype=np.float32))
    >>> guesser.guess("Paka mweusi").name, guesser.guess("cat").name
    ('Swahili', 'unknown')
    """

    def __init__(
        self, languages: Sequence[str], words: Sequence[str] = (), counts: NDArray[np.float32] | None = None
    ) -> None:
        self._languages = [describe(code) for code in languages]
        self._row = {word: row for row, word in enumerate(words)}
        if counts is not None and len(words):
            self._log_probabilities = log_probabilities(counts)

    @property
    def codes(self) -> tuple[str, ...]:
        """Return the codes of the model's own languages; English it has from its teacher."""
        return tuple(one.code for one in self._languages if one.code != "en")

    def guess(self, text: str, readings: Mapping[str, Mapping[str, float]] | None = None) -> LanguageGuess:
        """Guess the language of a text; ``readings`` are the likely words, with shares, of misspelled ones."""
        words = word_list(words_normalized(text))
        evidence = [(near, share) for word in words for near, share in (readings or {}).get(word, {word: 1.0}).items()]
        known = [(self._row[word], share) for word, share in evidence if word in self._row]
        return self._by_words(known) if known else self._by_script(text)

    def _by_words(self, known: Sequence[tuple[int, float]]) -> LanguageGuess:
        shares = language_shares(np.sum([self._log_probabilities[:, row] * share for row, share in known], axis=0))
        best = int(shares.argmax())
        if shares[best] < _SURE:
            return UNKNOWN
        language = self._languages[best]
        return LanguageGuess(language.code, language.name, float(shares[best]), "words")

    def _by_script(self, text: str) -> LanguageGuess:
        script = script_of(text)
        fitting = [one for one in self._languages if one.script == script and script not in _SCRIPTS_OF_MANY]
        return LanguageGuess(fitting[0].code, fitting[0].name, 1.0, "script") if len(fitting) == 1 else UNKNOWN
