"""The static text module of a bundle, reading misspelt words by their neighbours."""

from __future__ import annotations

import unicodedata
from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from torch import Tensor
from torch.nn import functional as F

from kivuko.bitext import word_list
from kivuko.encoders.spelling import SpellingNeighbours


class ReadingStaticEmbedding(StaticEmbedding):
    """A StaticEmbedding whose sentences are weighted means, see ``SpellingNeighbours.subwords``.

    It is never saved: a bundle holds the plain module, and the words beside it.
    """

    spelling: SpellingNeighbours

    def preprocess(self, inputs: list[str], prompt: str | None = None, **_: Any) -> dict[str, Tensor]:
        """Return numbers, offsets and weights of the subwords of all texts, one after the other."""
        texts = self._prepend_prompt(inputs, prompt) if prompt else inputs
        found = self.spelling.subwords(self.tokenizer, texts)
        shares = [weights if weights is not None else [1.0] * len(ids) for ids, weights in found]
        lengths = torch.tensor([0, *(len(ids) for ids, _ in found)], dtype=torch.long)
        return {
            "input_ids": torch.tensor([number for ids, _ in found for number in ids], dtype=torch.long),
            "offsets": lengths.cumsum(0)[:-1],
            "weights": torch.tensor([share for own in shares for share in own], dtype=torch.float32),
        }

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        """Add ``sentence_embedding`` [texts, dim]."""
        ids, offsets, vectors = features["input_ids"], features["offsets"], self.embedding.weight
        weights = features["weights"].to(vectors.dtype)
        sums = F.embedding_bag(ids, vectors, offsets, mode="sum", per_sample_weights=weights)
        ends = torch.cat([offsets[1:], offsets.new_tensor([len(ids)])])
        running = torch.cat([weights.new_zeros(1), weights.cumsum(0)])
        features["sentence_embedding"] = sums / (running[ends] - running[offsets]).clamp(min=1e-6)[:, None]
        return features


def read_misspelt(model: Any, spelling: SpellingNeighbours) -> None:
    """Let a loaded model read misspelt words; a model whose text side is not static stays as it is."""
    route = model[0].sub_modules["text"] if hasattr(model[0], "sub_modules") else model
    if type(route[0]) is StaticEmbedding:
        reading = ReadingStaticEmbedding(route[0].tokenizer, embedding_weights=route[0].embedding.weight.detach())
        reading.spelling = spelling
        route[0] = reading.eval()


def misspelt_words(model: Any, text: str) -> dict[str, dict[str, float]]:
    """Return the words of a text that a loaded model reads otherwise than written: word -> {reading: share}, likeliest
    first; empty for a model that reads what is written."""
    route = model[0].sub_modules["text"] if hasattr(model[0], "sub_modules") else model
    if not isinstance(route[0], ReadingStaticEmbedding):
        return {}
    words = word_list(unicodedata.normalize("NFKC", text))
    found = zip(words, route[0].spelling.readings(words), strict=True)
    ranked = {word: dict(sorted(own.items(), key=lambda entry: -entry[1])) for word, own in found}
    return {word: own for word, own in ranked.items() if next(iter(own)) != word}


def without_reading(model: Any) -> Any:
    """Undo ``read_misspelt``, before a model is saved; returns the model."""
    route = model[0].sub_modules["text"] if hasattr(model[0], "sub_modules") else model
    if isinstance(route[0], ReadingStaticEmbedding):
        route[0] = StaticEmbedding(route[0].tokenizer, embedding_weights=route[0].embedding.weight.detach())
    return model
