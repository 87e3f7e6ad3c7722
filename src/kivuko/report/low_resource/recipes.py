"""What the header of a study tells of its recipes: whether transport is in one, and what kind of system it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TEACHER, UNTRAINED = "teacher", "untrained"
TRANSLATE_TEST, LEXICAL, MSE = "translate-test", "lexical", "mse"
DISTILLATION, TRANSLATION, REFERENCE = "distillation", "translation", "reference"

_KINDS = {TEACHER: REFERENCE, UNTRAINED: REFERENCE, TRANSLATE_TEST: TRANSLATION, LEXICAL: TRANSLATION}


@dataclass(frozen=True)
class RecipeFacts:
    """``kind``: "distillation", "translation" (queries go to the English teacher), or "reference" (untrained)."""

    name: str
    transport: bool
    kind: str
    description: str

    @property
    def role(self) -> str:
        """In words, for a table."""
        if self.kind == DISTILLATION:
            return "with transport" if self.transport else "without transport"
        return self.kind


def recipe_facts(protocol: Mapping[str, Any], name: str) -> RecipeFacts:
    """Read the facts of one recipe; what is not told counts as distillation without transport."""
    told = protocol.get("recipes")
    entry = told.get(name) if isinstance(told, Mapping) else None
    entry = entry if isinstance(entry, Mapping) else {}
    kind = _KINDS.get(name) or (TRANSLATION if entry.get("kind") == TRANSLATION else DISTILLATION)
    return RecipeFacts(name, entry.get("transport") is True, kind, str(entry.get("description") or ""))
