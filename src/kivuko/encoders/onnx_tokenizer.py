"""The tokenizer of an exported model: one ``tokenizer.json`` that does all that the model's own preparation does."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer, normalizers

from kivuko.encoders.text_route import backend_tokenizer, is_static, text_route
from kivuko.encoders.vocabulary import PAD
from kivuko.errors import ModelError


def exported_tokenizer(model: Any, name: str, prompt: str | None = None) -> Tokenizer:
    """Return a copy of a model's tokenizer that also cuts, pads, adds special tokens and the prompt by itself.

    ``encode_batch(texts)`` then gives ``ids`` and ``attention_mask`` of one length for all texts. An empty text gets
    no prompt.

    Args:
        model: a ``SentenceTransformer``.
        name: of the model, for messages.
        prompt: put before every text, such as E5's "query: ".

    Raises:
        ModelError: the model has no tokenizer of the library ``tokenizers``.
    """
    backend = backend_tokenizer(model)
    if backend is None:
        raise ModelError(f"{name}: its tokenizer is not one of the library 'tokenizers', so it cannot be exported.")
    first = text_route(model)[0]
    state = json.loads(backend.to_str())
    if is_static(first):
        state["post_processor"] = None  # sentence-transformers asks for no special tokens there
    own = Tokenizer.from_str(json.dumps(state))
    if prompt:
        before = normalizers.Prepend(prompt)
        own.normalizer = normalizers.Sequence([before, own.normalizer] if own.normalizer is not None else [before])
    if is_static(first):
        _pad(own, own.token_to_id(PAD) or 0, PAD, "right", None)
        return own
    wrapped = first.tokenizer
    if wrapped.pad_token_id is None:
        raise ModelError(f"{name}: its tokenizer has no padding token, so texts of two lengths make no batch.")
    if longest := _asked(first).get("max_length") or first.max_seq_length:
        own.enable_truncation(int(longest), direction=wrapped.truncation_side)
    _pad(own, wrapped.pad_token_id, wrapped.pad_token, wrapped.padding_side, fixed_length(model))
    return own


def fixed_length(model: Any) -> int | None:
    """Return the length to which a model pads every text, as SigLIP does; None if it pads to the longest."""
    first = text_route(model)[0]
    asked = _asked(first)
    return int(asked.get("max_length") or first.max_seq_length) if asked.get("padding") == "max_length" else None


def _asked(first: Any) -> dict[str, Any]:
    """Return what a model's first module asks of its tokenizer beyond the usual."""
    found: dict[str, Any] = getattr(first, "processing_kwargs", {}).get("text", {})
    return found


def _pad(tokenizer: Tokenizer, number: int, token: str, side: str, length: int | None) -> None:
    tokenizer.enable_padding(direction=side, pad_id=number, pad_token=token, length=length)
