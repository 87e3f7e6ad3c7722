"""The tokens that a loaded model sees in one text: their vectors, where they come from, what was left out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kivuko.encoders.text_route import backend_tokenizer, is_static, text_route
from kivuko.encoders.vocabulary import UNKNOWN
from kivuko.encoders.words import Span, group_tokens
from kivuko.errors import ModelError


@dataclass(frozen=True, eq=False)
class TextTokens:
    """The content tokens of one text, and the words they make up. Special tokens are left out.

    Attributes:
        words: the words of the text, in order, as written; see :func:`kivuko.encoders.words.group_tokens`.
        tokens: the part of the text that each token comes from.
        word_of: for each token the number of its word.
        vectors: float32 [tokens, dim].
        unknown: words of which no part is in the model's vocabulary. They are in ``words``, but have no token.
        partly_unknown: words of which some part is not.
        unread: words past the length at which the model cuts a text. They have no token either.
    """

    words: tuple[str, ...]
    tokens: tuple[str, ...]
    word_of: tuple[int, ...]
    vectors: Tensor
    unknown: tuple[str, ...] = ()
    partly_unknown: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Found:
    """What a model makes of a text, special tokens left out; ``offsets`` are in characters of the text."""

    pieces: list[str]
    offsets: list[Span]
    unknown: list[bool]
    vectors: Tensor  # [tokens, dim]
    is_cut: bool


@torch.no_grad()
def text_tokens(model: Any, text: str, name: str, keep_unknown: bool = False) -> TextTokens:
    """Return the tokens of a text as a loaded model (of sentence-transformers) sees them.

    Args:
        model: what ``load_bundle`` returns, or any SentenceTransformer that encodes text with token vectors: subword
            vectors without a network (StaticEmbedding), or a transformer, whose last hidden states they are. Where the
            model projects its sentence vector, the tokens go through the same projection.
        name: of the model, for messages.
        keep_unknown: whether tokens of words outside the vocabulary count, as a teacher's do.

    Raises:
        ModelError: the model gives no token vectors, does not tell where in the text a token comes from, or gives
            vectors that are no numbers.
    """
    route = text_route(model)
    found = _static_tokens(route[0], text) if is_static(route[0]) else _contextual_tokens(route[0], text, name)
    found = replace(found, vectors=_projected(found.vectors, route[1:]))
    if not found.vectors.isfinite().all():
        raise ModelError(f"{name}: gives vectors that are no numbers (NaN). Make the model again.")
    return _grouped(text, found, keep_unknown)


def unknown_words(model: Any, text: str) -> tuple[str, ...]:
    """Return the words of which no part is in a loaded model's vocabulary, each once, as ``text_tokens`` tells them.

    The model itself is not run. Empty for a model that hides its tokenizer.
    """
    tokenizer = backend_tokenizer(model)
    if tokenizer is None:
        return ()
    marker = getattr(getattr(text_route(model)[0], "tokenizer", None), "unk_token", None)
    numbers = {tokenizer.token_to_id(name) for name in (marker or UNKNOWN, "<unk>")}
    encoding = tokenizer.encode(text, add_special_tokens=False)
    found = _Found(
        pieces=list(encoding.tokens),
        offsets=list(encoding.offsets),
        unknown=[number in numbers for number in encoding.ids],
        vectors=torch.empty(len(encoding.ids), 0),
        is_cut=bool(encoding.overflowing),
    )
    return tuple(dict.fromkeys(_grouped(text, found, keep_unknown=False).unknown))


def _static_tokens(module: Any, text: str) -> _Found:
    encoding = module.tokenizer.encode(text, add_special_tokens=False)
    unknown = {module.tokenizer.token_to_id(name) for name in (UNKNOWN, "<unk>")}
    vectors = module.embedding.weight.detach()[torch.tensor(encoding.ids, dtype=torch.long)]
    return _Found(
        pieces=list(encoding.tokens),
        offsets=list(encoding.offsets),
        unknown=[number in unknown for number in encoding.ids],
        vectors=vectors.float().cpu(),
        is_cut=bool(encoding.overflowing),
    )


def _contextual_tokens(module: Any, text: str, name: str) -> _Found:
    tokenizer: Any = getattr(module, "tokenizer", None)
    try:
        features = module.preprocess([text])
        states = module(dict(features))["token_embeddings"]  # [1, length, dim]
        ids = features["input_ids"][0].tolist()
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise ModelError(f"{name}: gives no token vectors, so there is nothing to align.") from problem
    encoded: Any = {}
    if getattr(tokenizer, "is_fast", False):
        encoded = tokenizer(text, truncation=True, max_length=module.max_seq_length, return_offsets_mapping=True)
    if encoded.get("input_ids") != ids or states.shape[:2] != (1, len(ids)):
        raise ModelError(f"{name}: does not tell which part of a text a token comes from, so its words are not known.")
    special = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    kept = [place for place, number in enumerate(ids) if number not in special]
    return _Found(
        pieces=list(tokenizer.convert_ids_to_tokens([ids[place] for place in kept])),
        offsets=[encoded["offset_mapping"][place] for place in kept],
        unknown=[ids[place] == tokenizer.unk_token_id for place in kept],
        vectors=states[0, kept].float().cpu(),
        is_cut=len(ids) >= (module.max_seq_length or float("inf")),
    )


def _projected(vectors: Tensor, modules: list[Any]) -> Tensor:
    """Send token vectors [tokens, dim] through the projections that the sentence vector goes through."""
    for module in modules:
        if isinstance(getattr(module, "linear", None), torch.nn.Linear) and hasattr(module, "module_input_name"):
            out = module({module.module_input_name: vectors})
            vectors = out[module.module_output_name]
    return vectors


def _grouped(text: str, found: _Found, keep_unknown: bool) -> TextTokens:
    # A mark of a word's beginning claims the space before it, or the word's first letter: it has no letter of its own.
    offsets = [
        span if _says(piece) else (span[0], span[0]) for span, piece in zip(found.offsets, found.pieces, strict=True)
    ]
    words = group_tokens(text, offsets)
    names = tuple(text[start:end] for start, end in words.spans)
    out = [unknown and not keep_unknown for unknown in found.unknown]
    # A word of unknown tokens and a lone word-boundary mark is unknown: the mark says nothing.
    known = {
        word for word, piece, left in zip(words.of_token, found.pieces, out, strict=True) if not left and _says(piece)
    }
    kept = [place for place, word in enumerate(words.of_token) if not out[place] and word in known]
    end = max((end for _, end in found.offsets), default=0)
    lost = [number for number in range(len(names)) if number not in known]
    unread = [number for number in lost if found.is_cut and words.spans[number][0] >= end]
    partly = sorted({word for word, left in zip(words.of_token, out, strict=True) if left} & known)
    return TextTokens(
        words=names,
        tokens=tuple(text[slice(*offsets[place])].strip() or found.pieces[place] for place in kept),
        word_of=tuple(words.of_token[place] for place in kept),
        vectors=found.vectors[kept],
        unknown=tuple(names[number] for number in lost if number not in unread),
        partly_unknown=tuple(names[number] for number in partly),
        unread=tuple(names[number] for number in unread),
    )


def _says(piece: str) -> bool:
    return bool(piece.strip("▁ Ġ"))
