"""A multilingual encoder beside a static student: it reads words that the vocabulary lacks, and the text as a whole.

A static student's vocabulary holds English words, with the teacher's vectors. A word that is not in it becomes the mean
of those whose vectors are nearest to its own in the encoder's space. The encoder's vector of the text, by a linear map
to the teacher's space, is added; docs/experiments.md, 46.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from kivuko.encoders.reading import Subwords
from kivuko.encoders.teacher import TextTeacher, load_teacher
from kivuko.encoders.vocabulary import WORD_START, word_cutter
from kivuko.errors import KivukoError, unreadable
from kivuko.progress import note
from kivuko.text import words_normalized
from kivuko.vectors import rescaled

WORD_READER_FILE = "word_reader.safetensors"
_NEAREST = 30  # English words that a word is read as
_TEMPERATURE = 0.05  # of the cosines with them
_WEIGHT = 2.0  # of such a reading beside the word's own subwords
_SENTENCE = 0.5  # length of the mapped vector of a text, beside 1 for that of its words
_SHOWN = 0.05  # share of an English word from which it is named
_MOST_REMEMBERED = 20_000  # words whose readings are kept in memory: some 10 MB
_ENCODED_AT_ONCE = 128
_TENSORS = ("rows", "vectors", "mean", "weight", "bias")


@dataclass(frozen=True, eq=False)
class WordReader:
    """English words of a vocabulary with their vectors in a multilingual encoder's space, and a map out of it.

    Attributes:
        encoder: hub id or folder of the encoder.
        rows: the English words' numbers in the vocabulary, int64 [words].
        vectors: the encoder's vectors of them, less their mean, of length 1: float16 [words, width].
        mean: the encoder's mean vector of words of other languages, float32 [width].
        weight, bias: of the map from the encoder's vectors of texts to the teacher's, float32 [dim, width] and [dim].
    """

    encoder: str
    rows: Tensor
    vectors: Tensor
    mean: Tensor
    weight: Tensor
    bias: Tensor
    file: ClassVar[str] = WORD_READER_FILE
    _known: dict[str, tuple[list[int], list[float]]] = field(init=False, repr=False, default_factory=dict)

    def weighted(self, tokenizer: Tokenizer, texts: Sequence[str]) -> dict[int, Subwords]:
        """Return the subwords and weights of the texts with unknown words, by the row of the text."""
        texts = [words_normalized(text) for text in texts]
        unknown = self._unknown(tokenizer, texts)
        self._read([word for words in unknown.values() for word in words])
        if not self._known:  # the encoder is not on this machine
            return {}
        encoded = tokenizer.encode_batch_fast([texts[row] for row in unknown], add_special_tokens=False)
        result: dict[int, Subwords] = {}
        for (row, words), one in zip(unknown.items(), encoded, strict=True):
            ids, weights = list(one.ids), [1.0] * len(one.ids)
            for word in words:
                near, shares = self._known[word]
                ids += near
                weights += [_WEIGHT * share for share in shares]
            result[row] = ids, weights
        return result

    def sentences(self, texts: Sequence[str]) -> Tensor | None:
        """Return the encoder's vectors of texts, mapped, float32 [texts, dim]; None without the encoder."""
        if not texts or (encoder := load_word_encoder(self.encoder)) is None:
            return None
        mapped = F.linear(unit_vectors_of(encoder, texts), self.weight, self.bias)
        return _SENTENCE * F.normalize(rescaled(mapped), dim=-1)

    def other_readings(self, tokenizer: Tokenizer, text: str) -> Mapping[str, Mapping[str, float]]:
        """Return the unknown words of a text: word -> {English word: share}, likeliest first."""
        words = self._unknown(tokenizer, [words_normalized(text)]).get(0, [])
        self._read(words)
        result: dict[str, dict[str, float]] = {}
        for word in words if self._known else ():
            spelled = {
                (tokenizer.id_to_token(number) or "").removeprefix(WORD_START): share
                for number, share in zip(*self._known[word], strict=True)
                if share >= _SHOWN
            }
            if spelled:
                result[word] = spelled
        return result

    def save(self, file: Path) -> None:
        tensors = {name: getattr(self, name) for name in _TENSORS}
        save_file({name: one.contiguous() for name, one in tensors.items()}, file, metadata={"encoder": self.encoder})

    @classmethod
    def load(cls, file: Path) -> Self | None:
        """Read what ``save`` wrote; None where there is no such file. CorruptFileError if it is damaged."""
        if not file.is_file():
            return None
        try:
            with safe_open(file, framework="pt") as stored:
                rows, vectors, mean, weight, bias = (stored.get_tensor(name) for name in _TENSORS)
                encoder = (stored.metadata() or {})["encoder"]
            if vectors.shape != (len(rows), len(mean)) or not len(rows) or rows.dtype != torch.int64:
                raise ValueError("tensors of other shapes")
            if weight.shape != (len(bias), len(mean)):
                raise ValueError("a map of another shape")
            if not all(one.isfinite().all() for one in (vectors, mean, weight, bias)):
                raise ValueError("not finite numbers")
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as problem:
            raise unreadable(file, problem, f"{file}: corrupted or unreadable. Make the model again.") from problem
        return cls(encoder, rows, vectors, mean.float(), weight.float(), bias.float())

    @functools.cached_property
    def _english(self) -> Tensor:
        return self.vectors.float()

    def _unknown(self, tokenizer: Tokenizer, texts: Sequence[str]) -> dict[int, list[str]]:
        """Return the words of each text that are cut into subwords or out of vocabulary, by the row of the text."""
        cut = word_cutter(tokenizer)
        result: dict[int, list[str]] = {}
        for row, text in enumerate(texts):
            words = [
                word
                for word in cut(text)
                if any(letter.isalpha() for letter in word) and tokenizer.token_to_id(WORD_START + word) is None
            ]
            if words:
                result[row] = words
        return result

    def _read(self, words: Sequence[str]) -> None:
        """Find the English words near each word, unless they are known already."""
        new = sorted({word for word in words if word not in self._known}, key=lambda word: (len(word), word))
        if not new or (encoder := load_word_encoder(self.encoder)) is None:
            return
        if len(self._known) + len(new) > _MOST_REMEMBERED:
            self._known.clear()
            new = sorted(set(words), key=lambda word: (len(word), word))
        english = self._english
        for start in range(0, len(new), _ENCODED_AT_ONCE):
            part = new[start : start + _ENCODED_AT_ONCE]
            vectors = F.normalize(unit_vectors_of(encoder, part) - self.mean, dim=-1)
            cosines, places = (vectors @ english.T).topk(min(_NEAREST, len(english)), dim=1)
            shares = torch.softmax(cosines / _TEMPERATURE, dim=1)
            for word, ids, own in zip(part, self.rows[places].tolist(), shares.tolist(), strict=True):
                self._known[word] = ids, own


def build_word_reader(
    encoder: TextTeacher, rows: Tensor, english: Tensor, foreign: Sequence[Tensor], sentence_map: nn.Linear
) -> WordReader:
    """Return a reader from an encoder's vectors of English words, and of words of each other language.

    ``rows``: numbers of the English words in the vocabulary, int64 [words]; ``english``: their vectors, float32 [words,
    width]; ``foreign``: vectors float32 [words of a language, width], one tensor for each language; ``sentence_map``:
    from vectors of texts to the teacher's space.
    """
    vectors = F.normalize(english - english.mean(0), dim=-1).half()
    mean = torch.stack([own.mean(0) for own in foreign]).mean(0)
    weight, bias = sentence_map.weight.detach(), sentence_map.bias.detach()
    return WordReader(encoder.source, rows, vectors, mean, weight, bias)


def unit_vectors_of(encoder: TextTeacher, texts: Sequence[str]) -> Tensor:
    """Return the encoder's vectors of words or texts, of length 1: float32 [texts, width]."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # those of like length together
    parts = [order[start : start + _ENCODED_AT_ONCE] for start in range(0, len(order), _ENCODED_AT_ONCE)]
    vectors = torch.cat([encoder.encode_tokens([texts[place] for place in part]).pooled.cpu() for part in parts])
    return F.normalize(rescaled(vectors), dim=-1)[torch.tensor(order).argsort()]


@functools.lru_cache(maxsize=2)
def load_word_encoder(source: str) -> TextTeacher | None:
    """Load an encoder that is on this machine; None, and a note that says why, if it is not."""
    try:
        return load_teacher(source, fetch=False)
    except KivukoError as problem:
        note(f"warning: words that the model does not know are read by their subwords only: {problem}")
        return None
