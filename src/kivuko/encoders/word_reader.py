"""A multilingual encoder beside a static student: it reads words that the vocabulary lacks, and the text as a whole.

A static student's vocabulary holds English words, with the teacher's vectors. A word that is not in it becomes the mean
of those whose vectors are nearest to its own in the encoder's space. The encoder's vector of the text, by a linear map
to the teacher's space, is added; docs/experiments.md, 46.
"""

from __future__ import annotations

import copy
import functools
import threading
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

from kivuko.encoders.modules import quiet
from kivuko.encoders.reading import Subwords
from kivuko.encoders.teacher import TextTeacher, load_teacher
from kivuko.encoders.vocabulary import WORD_START, word_cutter
from kivuko.encoders.word_tokens import UNSPACED
from kivuko.errors import KivukoError, unreadable
from kivuko.progress import note
from kivuko.text import words_normalized
from kivuko.vectors import rescaled

WORD_READER_FILE = "word_reader.safetensors"
_NEAREST = 30  # English words that a word is read as
_TEMPERATURE = 0.05  # of the cosines with them
_WEIGHT = 2.0  # of such a reading beside the word's own subwords
_SHOWN = 0.05  # share of an English word from which it is named
_MOST_REMEMBERED = 20_000  # words and texts whose readings are kept in memory: some 10 and 30 MB
_ENCODED_AT_ONCE = 128
_TENSORS = ("rows", "vectors", "mean", "weight", "bias")

_encoders: dict[str, TextTeacher | None] = {}  # by what loads them; None: not on this machine
_loading = threading.Lock()


@dataclass(eq=False)
class WordReader:
    """English words of a vocabulary with their vectors in a multilingual encoder's space, and a map out of it.

    Attributes:
        encoder: hub id or folder of the encoder.
        rows: the English words' numbers in the vocabulary, int64 [words].
        vectors: the encoder's vectors of them, less their own mean: unit vectors, float16 [words, width].
        mean: the encoder's mean vector of words of other languages, float32 [width].
        weight, bias: of the map from the encoder's vectors of texts to the teacher's, float32 [dim, width] and [dim].
        text_weight: length of a mapped vector of a text, beside 1 for that of its words.
    """

    encoder: str
    rows: Tensor
    vectors: Tensor
    mean: Tensor
    weight: Tensor
    bias: Tensor
    text_weight: float = 0.5
    file: ClassVar[str] = WORD_READER_FILE
    in_english: ClassVar[bool] = True
    _known: dict[str, tuple[list[int], list[float]]] = field(init=False, repr=False, default_factory=dict)
    _mapped: dict[str, Tensor] = field(init=False, repr=False, default_factory=dict)

    def fits(self, vocabulary: int, dim: int) -> bool:
        """Return True if all rows are below ``vocabulary`` and the map leads to vectors of ``dim`` numbers."""
        return int(self.rows.max()) < vocabulary and len(self.bias) == dim

    def with_text_weight(self, weight: float) -> WordReader:
        """Return a reader with another ``text_weight``; both remember what either read."""
        other = copy.copy(self)
        other.text_weight = weight
        return other

    def load_encoder(self) -> TextTeacher | None:
        """Load the encoder if it is on this machine; None, and a note that says why, if it is not or is another."""
        encoder = load_word_encoder(self.encoder)
        return encoder if encoder is not None and encoder.dim == len(self.mean) else None

    def weighted(self, tokenizer: Tokenizer, texts: Sequence[str]) -> dict[int, Subwords]:
        """Return the subwords and weights of the texts with unknown words, by the row of the text."""
        texts = [words_normalized(text) for text in texts]
        unknown = _unknown_words(tokenizer, texts)
        readings = self._readings([word for words in unknown.values() for word in words])
        encoded = tokenizer.encode_batch_fast([texts[row] for row in unknown], add_special_tokens=False)
        result: dict[int, Subwords] = {}
        for (row, words), one in zip(unknown.items(), encoded, strict=True):
            ids, weights = list(one.ids), [1.0] * len(one.ids)
            for near, shares in (readings[word] for word in words if word in readings):
                ids += near
                weights += [_WEIGHT * share for share in shares]
            if len(ids) > len(one.ids):
                result[row] = ids, weights
        return result

    def sentences(self, texts: Sequence[str]) -> Tensor | None:
        """Return the encoder's vectors of texts, mapped, float32 [texts, dim]; None without the encoder."""
        if not texts or (encoder := self.load_encoder()) is None:
            return None
        known = {text: own for text in texts if (own := self._mapped.get(text)) is not None}
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            mapped = F.linear(unit_vectors_of(encoder, new), self.weight, self.bias)
            known |= zip(new, F.normalize(rescaled(mapped), dim=-1).unbind(), strict=True)
            if len(self._mapped) + len(new) > _MOST_REMEMBERED:
                self._mapped.clear()
            if len(new) <= _MOST_REMEMBERED:
                self._mapped.update((text, known[text].clone()) for text in new)
        return self.text_weight * torch.stack([known[text] for text in texts])

    def other_readings(self, tokenizer: Tokenizer, text: str) -> Mapping[str, Mapping[str, float]]:
        """Return the unknown words of a text: word -> {English word: share}, likeliest first."""
        words = _unknown_words(tokenizer, [words_normalized(text)]).get(0, [])
        return {
            word: {
                (tokenizer.id_to_token(number) or "").removeprefix(WORD_START): share
                for place, (number, share) in enumerate(zip(*own, strict=True))
                if not place or share >= _SHOWN
            }
            for word, own in self._readings(words).items()
        }

    def save(self, file: Path) -> None:
        """Write everything but what was read so far, as safetensors."""
        tensors = {name: getattr(self, name).contiguous() for name in _TENSORS}
        save_file(tensors, file, metadata={"encoder": self.encoder, "text_weight": str(self.text_weight)})

    @classmethod
    def load(cls, file: Path) -> Self | None:
        """Read what ``save`` wrote; None where there is no such file. CorruptFileError if it is damaged."""
        if not file.is_file():
            return None
        try:
            with safe_open(file, framework="pt") as stored:
                rows, vectors, mean, weight, bias = (stored.get_tensor(name) for name in _TENSORS)
                metadata = stored.metadata() or {}
                encoder, text_weight = metadata["encoder"], float(metadata["text_weight"])
            if rows.ndim != 1 or not len(rows) or rows.dtype != torch.int64 or int(rows.min()) < 0:
                raise ValueError("not numbers of words")
            if vectors.shape != (len(rows), len(mean)) or weight.shape != (len(bias), len(mean)):
                raise ValueError("tensors of other shapes")
            if not all(one.isfinite().all() for one in (vectors, mean, weight, bias)) or not 0 <= text_weight < 1e6:
                raise ValueError("not finite numbers")
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as problem:
            raise unreadable(file, problem, f"{file}: corrupted or unreadable. Make the model again.") from problem
        return cls(encoder, rows, vectors, mean.float(), weight.float(), bias.float(), text_weight)

    @functools.cached_property
    def _english(self) -> Tensor:
        return self.vectors.float()

    def _readings(self, words: Sequence[str]) -> dict[str, tuple[list[int], list[float]]]:
        """Return the English words near each word, numbers and shares; nothing without the encoder."""
        result = {word: own for word in words if (own := self._known.get(word)) is not None}
        new = sorted(set(words) - result.keys())
        if not new or (encoder := self.load_encoder()) is None:
            return result
        if len(self._known) + len(new) > _MOST_REMEMBERED:
            self._known.clear()
        for start in range(0, len(new), _ENCODED_AT_ONCE):
            part = new[start : start + _ENCODED_AT_ONCE]
            vectors = F.normalize(unit_vectors_of(encoder, part) - self.mean, dim=-1)
            cosines, places = (vectors @ self._english.T).topk(min(_NEAREST, len(self.rows)), dim=1)
            shares = torch.softmax(cosines / _TEMPERATURE, dim=1)
            for word, ids, own in zip(part, self.rows[places].tolist(), shares.tolist(), strict=True):
                result[word] = self._known[word] = ids, own
        return result


def _unknown_words(tokenizer: Tokenizer, texts: Sequence[str]) -> dict[int, list[str]]:
    """Return the words of each text that are cut into subwords or out of vocabulary, by the row of the text.

    In scripts without spaces what stands between them is no word.
    """
    cut = word_cutter(tokenizer)
    result: dict[int, list[str]] = {}
    for row, text in enumerate(texts):
        words = [
            word
            for word in cut(text)
            if any(letter.isalpha() for letter in word)
            and not UNSPACED.search(word)
            and tokenizer.token_to_id(WORD_START + word) is None
        ]
        if words:
            result[row] = words
    return result


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
    """Return the encoder's vectors of words or texts, of length 1, without a cache: float32 [texts, width]."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # those of like length together
    parts = [order[start : start + _ENCODED_AT_ONCE] for start in range(0, len(order), _ENCODED_AT_ONCE)]
    vectors = torch.cat([encoder.encode_tokens([texts[place] for place in part]).pooled.cpu() for part in parts])
    return F.normalize(rescaled(vectors), dim=-1)[torch.tensor(order).argsort()]


def word_encoder(source: str) -> TextTeacher:
    """Load an encoder, from the hub if necessary, once; KivukoError if there is none. It stays on the CPU."""
    with _loading:
        encoder = _encoders.get(source)
        if encoder is None:
            with quiet():
                encoder = load_teacher(source)
            _encoders.clear()  # one at a time: they are large
            _encoders[source] = _encoders[encoder.source] = encoder
        return encoder


def load_word_encoder(source: str) -> TextTeacher | None:
    """Load an encoder that is on this machine, once; None, and a note that says why, if it is not."""
    with _loading:
        if source not in _encoders:
            try:
                with quiet():
                    _encoders[source] = load_teacher(source, fetch=False)
            except KivukoError as problem:
                _encoders[source] = None
                note(f"warning: words that the model does not know are read by their subwords only: {problem}")
        return _encoders[source]
