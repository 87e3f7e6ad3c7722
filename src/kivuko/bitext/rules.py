"""What a pair of sentences must be like to be kept when a bitext is cleaned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from kivuko.bitext.characters import is_script
from kivuko.bitext.sieve import MAX_CHARACTERS
from kivuko.errors import UsageError
from kivuko.languages import UNKNOWN_SCRIPT
from kivuko.languages import language as describe

LanguageId = Literal["fast", "full", "off"]

MAX_COUNTED = 250  # translations of one sentence: more is not counted, a counter is one byte

# Languages that are written in more than one script every day; the others are held to the one CLDR names.
_ALSO_WRITTEN_IN = {
    "sr": ("Latn",), "bs": ("Cyrl",), "uz": ("Cyrl",), "az": ("Cyrl",), "kk": ("Latn", "Arab"), "ku": ("Arab",),
    "pa": ("Arab",), "ha": ("Arab",), "mn": ("Mong",), "sd": ("Deva",), "ks": ("Deva",), "ms": ("Arab",),
    "tk": ("Cyrl",), "tg": ("Latn",), "tt": ("Latn",), "ug": ("Cyrl", "Latn"), "ky": ("Arab",), "sat": ("Beng",),
    "mni": ("Mtei", "Beng"), "kok": ("Latn",), "ro": ("Cyrl",), "zgh": ("Latn",), "ff": ("Adlm",),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Thresholds of the rules; each can be turned off.

    Attributes:
        max_characters: of one side, at least 1.
        max_length_ratio: of the longer side to the shorter, at least 1, both lengths with ``length_allowance`` added;
            None: any. An ideograph counts as three characters, a syllable sign as two (``kivuko.bitext.length``).
        length_allowance: characters added to both, so that short sentences may differ more.
        keep_copied: whether to keep pairs whose sides say the same in the same words.
        min_script_share: of the letters of each side, those that must be of its script, 0 to 1; 0: any.
        scripts: ISO 15924 codes for the language's side; empty: what the language is written in.
        boilerplate: whether to drop web addresses, markup, numbers, repetitions and web furniture.
        duplicates: whether to drop a pair that was there before, upper and lower case alike.
        max_translations: how many pairs may share one side, 1 to ``MAX_COUNTED``; None: any number.
        expected_pairs: sizes the memory for duplicates (``kivuko.bitext.duplicates``), at least 1,000.
        language_id: ``full``: ask the library about every sentence that is long enough; ``fast``: not about those made
            up of words that it has found to be the language's before; ``off``: not at all.
    """

    max_characters: int = MAX_CHARACTERS
    max_length_ratio: float | None = 3.0
    length_allowance: int = 15
    keep_copied: bool = False
    min_script_share: float = 0.4  # names and loans in Latin letters may well be half of a sentence
    scripts: tuple[str, ...] = ()
    boilerplate: bool = True
    duplicates: bool = True
    max_translations: int | None = 20
    expected_pairs: int = 10_000_000
    language_id: LanguageId = "fast"

    def __post_init__(self) -> None:
        """Raise UsageError for what is out of range."""
        ratio = self.max_length_ratio
        faults = (
            (self.max_characters < 1, f"max_characters {self.max_characters}: give at least 1"),
            (ratio is not None and not ratio >= 1, f"max_length_ratio {ratio}: give at least 1"),
            (self.length_allowance < 0, f"length_allowance {self.length_allowance}: give at least 0"),
            (not 0 <= self.min_script_share <= 1, f"min_script_share {self.min_script_share}: give 0 to 1"),
            (
                self.max_translations is not None and not 1 <= self.max_translations <= MAX_COUNTED,
                f"max_translations {self.max_translations}: give 1 to {MAX_COUNTED}",
            ),
            (self.expected_pairs < 1000, f"expected_pairs {self.expected_pairs}: give at least 1000"),
            (
                self.language_id not in get_args(LanguageId),
                f"language_id {self.language_id!r}: give {', '.join(get_args(LanguageId))}",
            ),
        )
        for wrong, message in faults:
            if wrong:
                raise UsageError(message)
        for script in self.scripts:
            if not is_script(script):
                raise UsageError(f"unknown script {script!r}: give an ISO 15924 code such as Latn, Deva or Arab")


def scripts_of(language: str, chosen: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the scripts a language's side may be in, as ISO 15924 codes; empty where nobody recorded one.

    Args:
        language: BCP 47 code. One with a script of its own (``sr-Latn``) is held to that.
        chosen: what the user asks for instead.
    """
    if chosen:
        return tuple(chosen)
    described = describe(language)
    if described.script == UNKNOWN_SCRIPT or not is_script(described.script):
        return ()
    parts = described.code.split("-")
    if any(len(part) == 4 and part.isalpha() for part in parts[1:]):
        return (described.script,)
    return (described.script, *_ALSO_WRITTEN_IN.get(parts[0], ()))
