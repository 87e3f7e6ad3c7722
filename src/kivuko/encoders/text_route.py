"""The modules that a loaded model sends text through, and its tokenizer."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer


def text_route(model: Any) -> list[Any]:
    """Return the modules of a model's text side, in order.

    Args:
        model: a ``SentenceTransformer``; of one with a router, the route that text takes.
    """
    router = model[0]
    if not hasattr(router, "sub_modules"):
        return list(model)
    routes = router.sub_modules
    name = next((name for name in ("text", router.default_route) if name in routes), next(iter(routes)))
    return [*routes[name], *list(model)[1:]]


def is_static(module: Any) -> bool:
    """Tell whether a text side begins with a table of subword vectors and has no network."""
    import torch

    embedding = getattr(module, "embedding", None)
    return isinstance(getattr(module, "tokenizer", None), Tokenizer) and isinstance(embedding, torch.nn.EmbeddingBag)


def backend_tokenizer(model: Any) -> Tokenizer | None:
    """Return the tokenizer of the library ``tokenizers`` that a model's text goes through; None if it has none."""
    tokenizer = getattr(text_route(model)[0], "tokenizer", None)
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    return backend if isinstance(backend, Tokenizer) else None


def input_table(model: Any) -> Any | None:
    """Return the table of subword vectors that a model's text side begins with, [vocabulary, width]; None if hidden.

    It is the parameter itself, not a copy.
    """
    first = text_route(model)[0]
    if is_static(first):
        return first.embedding.weight
    try:
        return first.model.get_input_embeddings().weight
    except (AttributeError, NotImplementedError):
        return None
