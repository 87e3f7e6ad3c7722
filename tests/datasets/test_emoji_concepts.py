"""Variants of one concept fall together, different concepts stay apart."""

from __future__ import annotations

import doctest
import re
from collections import defaultdict

import pytest

from kivuko.datasets.emoji import world as concepts
from kivuko.datasets.emoji.sources import find_cldr, read_annotations
from kivuko.datasets.emoji.world import concept_of, has_skin_tone

GENDERED = re.compile(r"\b(wo)?(man|men|person|people)\b")


@pytest.fixture(scope="module")
def real_names():
    """{sequence: English name} for all of CLDR."""
    return {sequence: one.name for sequence, one in read_annotations(find_cldr(), "en").items()}


def test_the_examples_in_the_documentation():
    assert doctest.testmod(concepts).failed == 0


@pytest.mark.parametrize(
    "variants",
    [
        "🤷 🤷‍♂ 🤷‍♀ 🤷‍♂️",
        "🧑 👨 👩",
        "🧒 👦 👧",
        "🧑‍🚒 👨‍🚒 👩‍🚒",
        "👪 👨‍👩‍👦 👩‍👩‍👧‍👧 👨‍👦 👩‍👧‍👦",
        "💑 👩‍❤‍👨 👨‍❤‍👨 👩‍❤️‍👩",
        "💏 👩‍❤‍💋‍👨 👨‍❤️‍💋‍👨",
        "👫 👬 👭 🧑‍🤝‍🧑",
        "🎅 🤶 🧑‍🎄",
        "🤴 👸 🫅",
        "🕺 💃",
        "🧑‍🦰 👨‍🦰 👩‍🦰",
    ],
)
def test_variants_are_one_concept(variants):
    assert len({concept_of(sequence) for sequence in variants.split()}) == 1


@pytest.mark.parametrize(
    "different",
    [
        "🧑‍🚒 🚒 🧑 🔥",
        "👪 💑 💏 👫",
        "🏃 🚶",
        "🧑 🧒 🧓",
        "🧑‍🦰 🧑‍🦱 🧑",
        "🇳🇴 🇰🇪",
        "🐈 🐈‍⬛ 🐕",
        "❤ ❤‍🔥",
        "1⃣ 2⃣",
        "🎅 🎄",
    ],
)
def test_different_things_are_different_concepts(different):
    sequences = different.split()
    assert len({concept_of(sequence) for sequence in sequences}) == len(sequences)


def test_every_gender_variant_in_the_real_data_falls_together(real_names):
    by_name = defaultdict(set)
    for sequence, name in real_names.items():
        # "man shrugging", "men wrestling", "woman: beard" and "person ..." say the same with another gender; a
        # sequence with a hand-holding or heart joiner is a couple and is tested above.
        if GENDERED.search(name) and not has_skin_tone(sequence) and "," not in name:
            by_name[GENDERED.sub("*", name)].add(concept_of(sequence))
    # "woman and man holding hands" has two; "man's shoe" and the like are things of one sort only.
    assert len(by_name) > 50
    assert {pattern: found for pattern, found in by_name.items() if len(found) > 1} == {}


def test_variants_with_a_sign_share_the_concept_of_the_plain_emoji(real_names):
    signed = [sequence for sequence in real_names if len(sequence) > 1 and sequence[-1] in "♀♂"]
    assert len(signed) > 80
    assert all(concept_of(sequence) == concept_of(sequence.split("\u200d")[0]) for sequence in signed)


def test_every_real_emoji_has_a_concept_which_is_its_own_concept(real_names):
    found = {concept_of(sequence) for sequence in real_names}
    assert "" not in found
    assert {concept for concept in found if concept_of(concept) != concept} == set()


def test_skin_tones_are_told():
    assert has_skin_tone("🤷🏻‍♀")
    assert has_skin_tone("🏿")
    assert not has_skin_tone("🤷‍♀")
