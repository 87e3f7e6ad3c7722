"""The modules inside a loaded ``SentenceTransformer``: its text route, its tokenizer, its table of subword vectors."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer
from torch import nn

from kivuko.encoders.vocabulary import UNKNOWN


def text_route(model: Any) -> list[Any]:
    """Return the modules that text goes through, in order; of a model with a router, those of its text route."""
    router = model[0]
    if not hasattr(router, "sub_modules"):
        return list(model)
    routes = router.sub_modules
    name = next((name for name in ("text", router.default_route) if name in routes), next(iter(routes)))
    return [*routes[name], *list(model)[1:]]


def is_static(module: Any) -> bool:
    """Return True for a table of subword vectors without a network."""
    embedding = getattr(module, "embedding", None)
    return isinstance(getattr(module, "tokenizer", None), Tokenizer) and isinstance(embedding, nn.EmbeddingBag)


def backend_tokenizer(model: Any) -> Tokenizer | None:
    """Return the tokenizer of the library ``tokenizers`` that a model's text goes through; None if it has none."""
    tokenizer = getattr(text_route(model)[0], "tokenizer", None)
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    return backend if isinstance(backend, Tokenizer) else None


def input_table(model: Any) -> Any | None:
    """Return the table of subword vectors itself (no copy), [vocabulary, width]; None if it is not accessible."""
    first = text_route(model)[0]
    if is_static(first):
        return first.embedding.weight
    try:
        return first.model.get_input_embeddings().weight
    except (AttributeError, NotImplementedError):
        return None


def has_known_token(model: Any, text: str) -> bool:
    """Return True if any part of ``text`` is in the vocabulary, or the tokenizer is not accessible."""
    tokenizer = backend_tokenizer(model)
    if tokenizer is None:
        return True
    unknown = tokenizer.token_to_id(getattr(text_route(model)[0].tokenizer, "unk_token", None) or UNKNOWN)
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return any(
        number != unknown and piece.strip("▁ ") for piece, number in zip(encoding.tokens, encoding.ids, strict=True)
    )
