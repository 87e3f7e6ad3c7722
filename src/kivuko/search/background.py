"""Calibrated scores: the best cosine of a query against those of random texts over the same index.

A cosine means something else with each model and each index: the more images there are, the nearer the nearest is to
any text. The share of random texts whose best cosine is lower means the same everywhere.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kivuko.encoders.model import encode_texts
from kivuko.encoders.modules import backend_tokenizer
from kivuko.encoders.word_tokens import has_known_token
from kivuko.errors import KivukoError
from kivuko.files import write_text
from kivuko.search.image_index import ImageIndex, built_from
from kivuko.search.index import Vectors
from kivuko.search.store import IndexStore

# With it, at most 5 % of the validation queries of the emoji world whose image is among the first ten are not close.
CLOSE = 0.6

FILE = "background.json"  # in the folder of an index
_FORMAT = 1
_TEXTS, _FEWEST = 256, 32
_MOST_TOKENS = 3  # of a random text, as short as queries are
_DRAWN = 20 * _TEXTS  # tokens, of which some are no text of their own
_PROBE = 4  # texts whose vectors tell whether a saved background is that of this model


@dataclass(frozen=True)
class Closeness:
    """The calibrated score of a query: the ``share`` of random texts that it beats, 0 to 1, and whether it is close.

    >>> Background(np.array([0.1, 0.2, 0.3, 0.4])).closeness(0.35)
    Closeness(share=0.75, close=True)
    """

    share: float
    close: bool


@dataclass(frozen=True, eq=False)
class Background:
    """The best cosines of random texts over an index, ascending, [texts]."""

    best: NDArray[Any]

    def closeness(self, score: float) -> Closeness:
        """Compare the best cosine of a query with those of the random texts."""
        share = float(np.searchsorted(self.best, score, side="left")) / len(self.best)
        return Closeness(share, share >= CLOSE)


def open_background(index: ImageIndex, model: Any) -> Background | None:
    """Return the background of an index and a ``SentenceTransformer``: the saved one if it fits, else measure and save.

    None if there are no random texts to measure with: the model's tokenizer is not accessible, or has few words.
    """
    texts = random_texts(model)
    if len(texts) < _FEWEST or not len(index):
        return None
    store, probe = index.store, encode_texts(model, texts[:_PROBE])
    if (saved := _saved(store, probe)) is not None:
        return saved
    vectors = encode_texts(model, texts)
    vectors = vectors[np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)]
    if len(vectors) < _FEWEST:
        return None
    background = Background(np.sort([hits[0].score for hits in index.search(vectors, 1)]))
    if index.store is store:  # no later state was opened meanwhile
        with contextlib.suppress(KivukoError, OSError):  # a read-only folder or a full disk is no obstacle
            _save(background, store, probe)
    return background


def random_texts(model: Any, seed: int = 0) -> list[str]:
    """Return texts that have nothing to do with any image: one to three random entries of the model's vocabulary each.

    Every model with a tokenizer has a vocabulary, in its own languages and scripts; none of it is a query by itself.
    """
    tokenizer = backend_tokenizer(model)
    if tokenizer is None or not (size := tokenizer.get_vocab_size()):
        return []
    rng = np.random.default_rng(seed)
    drawn = (_as_text(tokenizer, int(number)) for number in rng.integers(size, size=_DRAWN))
    words = iter([word for word in drawn if word])
    texts: list[str] = []
    while len(texts) < _TEXTS:
        parts = [word for _, word in zip(range(rng.integers(1, _MOST_TOKENS + 1)), words, strict=False)]
        if not parts:
            break
        if has_known_token(model, text := " ".join(parts)):
            texts.append(text)
    return texts


def _as_text(tokenizer: Any, number: int) -> str:
    """Return an entry of a vocabulary as a word; empty for special tokens, punctuation and parts of characters."""
    token = tokenizer.id_to_token(number)
    if not token or token[0] in "[<":
        return ""
    text: str = tokenizer.decode([number]).replace("</w>", "").strip("#▁Ġ ")
    return text if any(letter.isalpha() for letter in text) and "\ufffd" not in text else ""


def _save(background: Background, store: IndexStore, probe: Vectors) -> None:
    content = {
        "format": _FORMAT, **built_from(store, store.generation), "probe": probe.tolist(),
        "best": background.best.tolist(),
    }  # fmt: skip
    write_text(store.path / FILE, json.dumps(content) + "\n")


def _saved(store: IndexStore, probe: Vectors) -> Background | None:
    """Return the saved background if it is of this state of the index and of this model."""
    try:
        content = json.loads((store.path / FILE).read_text(encoding="utf-8"))
        expected = {"format": _FORMAT, **built_from(store, store.generation)}
        if any(content[name] != value for name, value in expected.items()):
            return None
        before, best = np.array(content["probe"], dtype=np.float64), np.array(content["best"], dtype=np.float64)
        is_same = before.shape == probe.shape and np.allclose(before, probe, atol=1e-3)
        is_whole = best.ndim == 1 and len(best) >= _FEWEST and np.isfinite(best).all() and (np.diff(best) >= 0).all()
        return Background(best) if is_same and is_whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
