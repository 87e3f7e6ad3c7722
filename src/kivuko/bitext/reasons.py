"""The reasons for which cleaning leaves a pair out, in the order in which they are looked for."""

from __future__ import annotations

from kivuko.bitext.sieve import DUPLICATE as DUPLICATE
from kivuko.bitext.sieve import EMPTY_SIDE as EMPTY_SIDE
from kivuko.bitext.sieve import TOO_LONG as TOO_LONG

BROKEN_CHARACTERS = "broken characters"
UNTRANSLATED_COPY = "untranslated copy"
WEB_ADDRESS = "boilerplate: web address"
MARKUP = "boilerplate: markup"
NO_WORDS = "boilerplate: no words"
REPETITION = "boilerplate: repetition"
WEB_FURNITURE = "boilerplate: web furniture"
WRONG_SCRIPT = "wrong script"
LENGTH_RATIO = "length ratio"
ONE_SIDE_TOO_OFTEN = "one side too often"
WRONG_LANGUAGE = "wrong language"
IN_CAPTIONS = "in evaluation captions"

# A pair counts under the first reason that applies.
ORDER = (
    EMPTY_SIDE, TOO_LONG, BROKEN_CHARACTERS, UNTRANSLATED_COPY, WEB_ADDRESS, MARKUP, NO_WORDS, REPETITION,
    WEB_FURNITURE, WRONG_SCRIPT, LENGTH_RATIO, DUPLICATE, ONE_SIDE_TOO_OFTEN, WRONG_LANGUAGE, IN_CAPTIONS,
)  # fmt: skip
CODES = {reason: code for code, reason in enumerate(ORDER, start=1)}  # 0 is no reason: keep
KEPT = 0
