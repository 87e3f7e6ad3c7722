"""What every reader of a bitext format puts its sentences through: cleaning, dropping, counting."""

from __future__ import annotations

from collections import Counter

from kivuko.bitext.bitext import Bitext
from kivuko.bitext.cleaning import clean_text
from kivuko.bitext.pair import Pair

MAX_CHARACTERS = 4_000  # of one side, after cleaning; longer "sentences" are documents or broken lines

EMPTY_SIDE = "empty side"
TOO_LONG = "too long"
DUPLICATE = "duplicate"
COPIED = "copied"


class Sieve:
    """Collects the pairs of one source in one language and keeps account of what it leaves out.

    Args:
        language: normalised BCP 47 code of the sentences.
        keep_copied: whether to keep pairs with the same text on both sides.
    """

    def __init__(self, language: str, *, keep_copied: bool = True) -> None:
        self._language = language
        self._keep_copied = keep_copied
        self._pairs: dict[tuple[str, str], Pair] = {}
        self._dropped: Counter[str] = Counter()
        self._first_dropped: dict[str, str] = {}

    def add(self, text: str, english: str, origin: str) -> None:
        """Clean both sides and keep the pair, or count why not."""
        text, english = clean_text(text), clean_text(english)
        reason = self._reason_against(text, english)
        if reason is not None:
            self.drop(reason, origin)
        else:
            self._pairs[text, english] = Pair(self._language, text, english, origin)

    def drop(self, reason: str, origin: str) -> None:
        """Count a line that gives no pair."""
        self._dropped[reason] += 1
        self._first_dropped.setdefault(reason, origin)

    def bitext(self) -> Bitext:
        """What was kept so far, and the account of the rest."""
        return Bitext(tuple(self._pairs.values()), self._dropped.copy(), self._first_dropped.copy())

    def _reason_against(self, text: str, english: str) -> str | None:
        if not text or not english:
            return EMPTY_SIDE
        if max(len(text), len(english)) > MAX_CHARACTERS:
            return TOO_LONG
        if (text, english) in self._pairs:
            return DUPLICATE
        if text == english and not self._keep_copied:
            return COPIED
        return None
