"""The names that multilingual translation models give to languages, found by BCP 47 code.

NLLB writes ``swh_Latn``, M2M100 ``__sw__`` (and calls it ``sw``), mBART-50 ``sw_KE``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kivuko.errors import UsageError
from kivuko.languages import language as describe

_NLLB, _MBART = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}"), re.compile(r"[a-z]{2}_[A-Z]{2}")
_M2M = re.compile(r"__([a-z]{2,3})__")


@dataclass(frozen=True)
class ModelLanguage:
    """A language as one model has it: its ``token``, and the ``code`` that its tokenizer calls it by."""

    token: str
    code: str


class ModelLanguages:
    """The languages among a tokenizer's special tokens; false where there are none.

    >>> known = ModelLanguages(["swh_Latn", "tgl_Latn", "eng_Latn", "</s>"])
    >>> known.find("sw").code, known.find("fil").code, known.find("mr")
    ('swh_Latn', 'tgl_Latn', None)
    """

    def __init__(self, special_tokens: Iterable[str]) -> None:
        self._by_key: dict[tuple[str, str], ModelLanguage] = {}
        for token in special_tokens:
            if code := _code(token):
                try:
                    key = _key(code)
                except UsageError:  # a code of the model's own that no registry has: nobody can ask for it
                    continue
                self._by_key.setdefault(key, ModelLanguage(token, code))

    def __len__(self) -> int:
        return len(self._by_key)

    def find(self, code: str) -> ModelLanguage | None:
        """Return the language of a BCP 47 code: in its usual script, or in the only one that the model has.

        Raises:
            UsageError: there is no such language at all.
        """
        key = _key(code)
        if key in self._by_key:
            return self._by_key[key]
        same = [found for (primary, _), found in self._by_key.items() if primary == key[0]]
        return same[0] if len(same) == 1 and "-" not in code else None


def _code(token: str) -> str | None:
    if inner := _M2M.fullmatch(token):
        return inner[1]
    return token if _NLLB.fullmatch(token) or _MBART.fullmatch(token) else None


def _key(code: str) -> tuple[str, str]:
    """Language and script: ("sw", "Latn") for sw, swh_Latn and sw_KE."""
    described = describe(code.replace("_", "-"))
    return described.code.split("-")[0], described.script
