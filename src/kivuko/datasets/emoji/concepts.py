"""Which emoji are the same concept: gender, age-and-gender and role variants belong together.

"man shrugging", "woman shrugging" and "person shrugging" are one concept. If one of them were trained on and
another tested, the test would measure memory. Everything here reads the code points, never the names, so it
holds in every language.
"""

from __future__ import annotations

SKIN_TONES = frozenset(map(chr, range(0x1F3FB, 0x1F400)))
_JOINER, _GENDER_SIGNS = "\u200d", frozenset("♀♂")

# One representative for each set of characters that differ in gender alone.
_SAME = {
    "👨👩🧑": "🧑", "👦👧🧒": "🧒", "👴👵🧓": "🧓", "🤴👸🫅": "🫅", "🎅🤶": "🎅", "🕺💃": "💃",
    "🫃🫄🤰": "🫄", "👫👬👭": "👫", "🤵👰": "🤵", "🚹🚺": "🚹",
}  # fmt: skip
_REPRESENTATIVE = {character: kept for group, kept in _SAME.items() for character in group}
# Whole sequences that are another way to write a concept that also has a character of its own.
_ALIASES = {"🧑🎄": "🎅", "🧑🤝🧑": "👫", "": "♀"}  # nothing is left of ♀ and ♂ by themselves
_FAMILY, _COUPLE, _KISS = "👪", "💑", "💏"


def has_skin_tone(sequence: str) -> bool:
    """Tell whether the sequence carries a skin-tone modifier (the modifiers themselves included)."""
    return any(character in SKIN_TONES for character in sequence)


def concept_of(sequence: str) -> str:
    """Return the concept that an emoji sequence belongs to, itself written as an emoji.

    >>> concept_of("🤷‍♀") == concept_of("🤷‍♂") == concept_of("🤷")
    True
    >>> concept_of("👩‍🚒") == concept_of("🧑‍🚒") != concept_of("🚒")
    True
    """
    parts = [
        "".join(_REPRESENTATIVE.get(character, character) for character in part)
        for part in sequence.replace("\ufe0f", "").split(_JOINER)
        if part not in _GENDER_SIGNS
    ]
    people = [part for part in parts if part in ("🧑", "🧒")]
    if len(people) >= 2 and "🤝" not in parts:
        if "💋" in parts:
            return _KISS
        return _COUPLE if "❤" in parts else _FAMILY
    joined = "".join(parts)
    return _ALIASES.get(joined, joined)
