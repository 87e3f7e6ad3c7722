"""Reading of words other than as they are written: sentences of a static model become weighted means of subwords."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import torch
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from kivuko.encoders.modules import text_modules
from kivuko.text import words_normalized
from kivuko.vectors import rescaled

Subwords = tuple[list[int], list[float] | None]  # numbers, and their weights where they are not all 1


class Reader(Protocol):
    """A way to read misspelled or unknown words; it is kept in a file beside the model's modules."""

    file: ClassVar[str]
    in_english: ClassVar[bool]  # words are read as English ones, else as others of their language

    def fits(self, vocabulary: int, dim: int) -> bool:
        """Return True if it may belong to a model with so many tokens and so wide vectors."""
        ...

    def weighted(self, tokenizer: Tokenizer, texts: Sequence[str]) -> dict[int, Subwords]:
        """Return the subwords and weights of the texts that are read otherwise, by the row of the text."""
        ...

    def other_readings(self, tokenizer: Tokenizer, text: str) -> Mapping[str, Mapping[str, float]]:
        """Return the words that are read as others: word -> {reading: share}, likeliest first."""
        ...

    def sentences(self, texts: Sequence[str]) -> Tensor | None:
        """Return vectors that are added to the unit vectors of texts, float32 [texts, dim]; None: nothing is added."""
        ...

    def save(self, file: Path) -> None: ...

    @classmethod
    def load(cls, file: Path) -> Self | None: ...


def read_subwords(reader: Reader, tokenizer: Tokenizer, texts: Sequence[str]) -> list[Subwords]:
    """Return the subwords, and weights where a word is read as others, whose mean is the vector of each text."""
    result = reader.weighted(tokenizer, texts)
    plain = [words_normalized(text) for row, text in enumerate(texts) if row not in result]
    encoded = iter(tokenizer.encode_batch_fast(plain, add_special_tokens=False))
    return [result[row] if row in result else (list(next(encoded).ids), None) for row in range(len(texts))]


def with_sentences(pooled: Tensor, sentences: Tensor | None) -> Tensor:
    """Add ``Reader.sentences`` to the texts' vectors [texts, dim]; those without a token stay zero."""
    if sentences is None:
        return pooled
    return F.normalize(rescaled(pooled), dim=-1) + sentences.to(pooled) * (pooled != 0).any(-1, keepdim=True)


class ReadingStaticEmbedding(StaticEmbedding):
    """A StaticEmbedding whose sentences are weighted means, see ``read_subwords``; it is never saved."""

    reader: Reader

    def preprocess(self, inputs: list[str], prompt: str | None = None, **_: Any) -> dict[str, Tensor]:
        """Return numbers, offsets and weights of the subwords of all texts, one after the other."""
        texts = self._prepend_prompt(inputs, prompt) if prompt else inputs
        result = read_subwords(self.reader, self.tokenizer, texts)
        shares = [weights if weights is not None else [1.0] * len(ids) for ids, weights in result]
        lengths = torch.tensor([0, *(len(ids) for ids, _ in result)], dtype=torch.long)
        features = {
            "input_ids": torch.tensor([number for ids, _ in result for number in ids], dtype=torch.long),
            "offsets": lengths.cumsum(0)[:-1],
            "weights": torch.tensor([share for own in shares for share in own], dtype=torch.float32),
        }
        if (sentences := self.reader.sentences(texts)) is not None:
            features["sentences"] = sentences
        return features

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        ids, offsets, vectors = features["input_ids"], features["offsets"], self.embedding.weight
        weights = features["weights"].to(vectors.dtype)
        sums = F.embedding_bag(ids, vectors, offsets, mode="sum", per_sample_weights=weights)
        ends = torch.cat([offsets[1:], offsets.new_tensor([len(ids)])])
        running = torch.cat([weights.new_zeros(1), weights.cumsum(0)])
        means = sums / (running[ends] - running[offsets]).clamp(min=1e-6)[:, None]
        features["sentence_embedding"] = with_sentences(means, features.get("sentences"))
        return features


def read_words(model: Any, reader: Reader) -> None:
    """Let a loaded model read words by ``reader``; a model whose text encoder is not static is left unchanged."""
    route = text_modules(model)
    if type(route[0]) is StaticEmbedding:
        reading = ReadingStaticEmbedding(route[0].tokenizer, embedding_weights=route[0].embedding.weight.detach())
        reading.reader = reader
        route[0] = reading.eval()


def reader_of(model: Any) -> Reader | None:
    """Return what a loaded model reads words by; None if it reads them as they are written."""
    reader: Reader | None = getattr(text_modules(model)[0], "reader", None)
    return reader


def words_read(model: Any, text: str) -> Mapping[str, Mapping[str, float]]:
    """Return the words that a model reads differently than written: word -> {reading: share}, likeliest first."""
    first = text_modules(model)[0]
    return first.reader.other_readings(first.tokenizer, text) if isinstance(first, ReadingStaticEmbedding) else {}


def without_reading(model: Any) -> Any:
    """Undo ``read_words``, before a model is saved; returns the model."""
    route = text_modules(model)
    if isinstance(route[0], ReadingStaticEmbedding):
        route[0] = StaticEmbedding(route[0].tokenizer, embedding_weights=route[0].embedding.weight.detach())
    return model
