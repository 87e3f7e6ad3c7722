"""Encoding of queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import regex
import torch
from torch import Tensor
from torch.nn import functional as F

from kivuko.encoders.image_tower import Vectors
from kivuko.encoders.model import encode_texts
from kivuko.encoders.modules import has_known_token
from kivuko.encoders.spelling import misspelled_words
from kivuko.encoders.word_tokens import out_of_vocabulary_words
from kivuko.errors import ModelError, UsageError
from kivuko.text import word_list

_FEW = 64  # texts of one batch
_EDGES = regex.compile(r"(?<!\S)\p{P}+|\p{P}+(?!\S)")  # punctuation where a word begins or ends


def encode_queries(model: Any, texts: Sequence[str], name: str = "the model") -> Vectors:
    """Return unit vectors of cleaned queries, float32 [queries, dim]; ``name``: of the model, for messages."""
    for text in texts:
        if not has_known_token(model, text):
            raise _unknown(text)
    vectors = _encoded(model, texts) if texts else np.empty((0, 0), dtype=np.float32)
    if not np.isfinite(vectors).all():
        raise ModelError(f"{name}: gives vectors that are not numbers (NaN). Delete the folder and make it again.")
    for text, vector in zip(texts, vectors, strict=True):
        if not vector.any():
            raise _unknown(text)
    return vectors


def unread_words(model: Any, text: str) -> tuple[str, ...]:
    """Return the out-of-vocabulary words of a cleaned query, without those that ``misspelled_words`` reads."""
    unknown = out_of_vocabulary_words(model, _EDGES.sub(" ", text))
    if not unknown:
        return ()
    read = misspelled_words(model, text)
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
