"""A toy language of two word lists, and one small translator trained on it for all tests that need one."""

from __future__ import annotations

import itertools

import pytest

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.translation.marian import TranslationSettings, train_translator

ANIMALS = {"paka": "cat", "mbwa": "dog", "ndege": "bird", "samaki": "fish", "farasi": "horse", "simba": "lion"}
COLORS = {"nyeusi": "black", "nyeupe": "white", "kubwa": "big", "ndogo": "small", "nyekundu": "red", "moto": "hot"}
# A combination is held out of training on every diagonal: each word is trained on, no such pair of words is.
HELD_OUT = (2, 5)

SMALL = TranslationSettings(
    vocabulary_size=200, width=64, encoder_layers=1, decoder_layers=1, heads=2, dropout=0.05, word_dropout=0.0,
    learning_rate=3e-3, batch_tokens=150, least_steps=300, most_steps=300, averaging=0.9, selections=5, beams=2,
)  # fmt: skip


def toy_pairs(language: str) -> tuple[list[Pair], list[Pair]]:
    """Return (training, held-out) pairs: color after animal as in Swahili, in Somali's case all words backwards."""
    seen, unseen = [], []
    for (a, animal), (c, color) in itertools.product(enumerate(ANIMALS), enumerate(COLORS)):
        words = f"{animal} {color}" if language == "sw" else f"{animal[::-1]} {color[::-1]}"
        pair = Pair(language, words, f"{COLORS[color]} {ANIMALS[animal]}", "toy")
        (unseen if (a + c) % 6 in HELD_OUT else seen).append(pair)
    return seen, unseen


@pytest.fixture(scope="session")
def toy() -> tuple[Bitext, Bitext]:
    """Return (training, held-out) pairs of both languages."""
    both = [toy_pairs("sw"), toy_pairs("so")]
    return Bitext(tuple(p for seen, _ in both for p in seen)), Bitext(tuple(p for _, unseen in both for p in unseen))


@pytest.fixture(scope="session")
def small_settings() -> TranslationSettings:
    """Settings for a model that learns the toy languages in seconds."""
    return SMALL


@pytest.fixture(scope="session")
def trained(toy):
    """Return (translator, result, what was reported)."""
    reports = []
    translator, result = train_translator(*toy, SMALL, report=lambda *at: reports.append(at))
    return translator, result, reports
