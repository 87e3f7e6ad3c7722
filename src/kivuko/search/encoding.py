"""Encoding for search: a model's image side, as indexing needs it, and queries."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import regex
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from kivuko.encoders.image_tower import Vectors, encode_images
from kivuko.encoders.loading import image_fingerprint
from kivuko.encoders.model import encode_texts, has_images
from kivuko.encoders.reading import words_read
from kivuko.encoders.word_tokens import has_known_token, out_of_vocabulary_words
from kivuko.errors import ModelError, UsageError
from kivuko.search.decoding import Prepare, ProcessorPreparation, Tensors, raw_pixels
from kivuko.text import word_list
from kivuko.vectors import rescaled

_FEW = 64  # texts of one batch
_EDGES = regex.compile(r"(?<!\S)\p{P}+|\p{P}+(?!\S)")  # punctuation where a word begins or ends


class TowerEncoder:
    """The image side of a loaded model or image tower; ModelError if it encodes no images."""

    def __init__(self, model: Any) -> None:
        if not has_images(model):
            raise ModelError("this model encodes text only, so it cannot index images. Distill it with an image tower.")
        self._model = model
        self.fingerprint = image_fingerprint(model)
        self.dim = int(model.get_embedding_dimension())
        self._constant: dict[str, Any] = {}  # what the tower's preparation adds for any image
        self.prepare: Prepare = self._preparation()

    def encode(self, prepared: Sequence[Tensors]) -> Vectors:
        if isinstance(self.prepare, ProcessorPreparation):
            vectors = self._forward(prepared)
        else:
            images = [Image.fromarray(one["pixels"][0]) for one in prepared]
            vectors = encode_images(self._model, images, batch_size=len(images))
        if not np.isfinite(vectors).all() or not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3):
            raise ModelError("the model gives vectors that are not numbers (NaN) or zero. Distill the model again.")
        return vectors

    def _forward(self, prepared: Sequence[Tensors]) -> Vectors:
        vectors = np.empty((len(prepared), self.dim), dtype=np.float32)
        by_shape: dict[tuple[Any, ...], list[int]] = {}
        for place, one in enumerate(prepared):  # some towers keep the proportions: then shapes differ
            by_shape.setdefault(tuple((name, value.shape) for name, value in one.items()), []).append(place)
        self._model.eval()
        with torch.inference_mode():
            for places in by_shape.values():
                features = {
                    name: value.to(self._model.device) if isinstance(value, Tensor) else value
                    for name, value in self._constant.items()
                }
                for name in prepared[places[0]]:
                    stacked = np.concatenate([prepared[place][name] for place in places])
                    features[name] = torch.from_numpy(stacked).to(self._model.device)
                encoded = self._model(features)["sentence_embedding"]
                vectors[places] = F.normalize(rescaled(encoded), dim=1).float().cpu().numpy()
        return vectors

    def _preparation(self) -> Prepare:
        """Return the tower's image processor if it alone prepares images, as tested on two unlike ones; else pixels."""
        side = self._model[0].sub_modules["image"] if hasattr(self._model[0], "sub_modules") else self._model
        processor = getattr(side[0], "processor", None)
        processor = getattr(processor, "image_processor", processor)  # of a CLIP, the part that is for images
        if processor is None:
            return raw_pixels
        candidate = ProcessorPreparation(processor)
        random = np.random.default_rng(0)
        for size in ((40, 60, 3), (90, 50, 3)):
            image = Image.fromarray(random.integers(0, 256, size, dtype=np.uint8))
            try:
                own, expected = candidate(image), dict(self._model.preprocess([image]))
            except Exception:  # it takes more than images; the model itself knows what
                return raw_pixels
            tensors = {name: value.numpy() for name, value in expected.items() if isinstance(value, Tensor)}
            if own.keys() != tensors.keys() or not all(np.array_equal(own[name], tensors[name]) for name in own):
                return raw_pixels
            self._constant = {name: value for name, value in expected.items() if name not in tensors}
        return cast(Prepare, candidate)


def encode_queries(model: Any, texts: Sequence[str], name: str = "the model") -> Vectors:
    """Return unit vectors of cleaned queries, float32 [queries, dim]; ``name``: of the model, for messages."""
    for text in texts:
        if not has_known_token(model, text) and not words_read(model, text):
            raise _unknown(text)
    vectors = _encoded(model, texts) if texts else np.empty((0, 0), dtype=np.float32)
    if not np.isfinite(vectors).all():
        raise ModelError(f"{name}: gives vectors that are not numbers (NaN). Delete the folder and make it again.")
    for text, vector in zip(texts, vectors, strict=True):
        if not vector.any():
            raise _unknown(text)
    return vectors


def unread_words(model: Any, text: str) -> tuple[str, ...]:
    """Return the out-of-vocabulary words of a cleaned query, without those that ``words_read`` reads."""
    unknown = out_of_vocabulary_words(model, _EDGES.sub(" ", text))
    if not unknown:
        return ()
    read = words_read(model, text)
    return tuple(word for word in unknown if not read.keys() & set(word_list(word)))


def _encoded(model: Any, texts: Sequence[str]) -> Vectors:
    """Encode as ``encode_texts`` does, but few texts without its preparations, which take longer than encoding."""
    plain = getattr(model, "default_prompt_name", None) is None and getattr(model, "truncate_dim", None) is None
    if not plain or len(texts) > _FEW:
        return encode_texts(model, texts)
    with torch.inference_mode():
        features = model.preprocess(list(texts))
        features = {name: one.to(model.device) if isinstance(one, Tensor) else one for name, one in features.items()}
        vectors: Vectors = F.normalize(model(features)["sentence_embedding"].float(), dim=-1).cpu().numpy()
    return vectors


def _unknown(text: str) -> UsageError:
    return UsageError(f"'{text[:80]}': no part of it is in the model's vocabulary. Try other words.")
