"""The words of a text, and the tokens and token vectors that a model gives them."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import regex
import torch
from torch import Tensor

from kivuko.encoders.modules import backend_tokenizer, features_on, is_static, text_route
from kivuko.encoders.vocabulary import UNKNOWN
from kivuko.errors import ModelError

Span = tuple[int, int]  # where a stretch of text begins and ends, in characters

# Ethiopic texts may separate words by U+1361 instead of a space.
_WORD = regex.compile(r"[^\s\u1361]+")
# Scripts written without spaces between words, with the punctuation that goes with them.
UNSPACED = regex.compile(r"[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Thai}\p{scx=Lao}\p{scx=Khmer}\p{scx=Myanmar}]+")


@dataclass(frozen=True)
class Words:
    """The words of a text as spans in it, and the number of the word that each token belongs to."""

    spans: tuple[Span, ...]
    of_token: tuple[int, ...]


def group_tokens(text: str, tokens: Sequence[Span]) -> Words:
    """Group tokens into the words of the text that they come from.

    A word is what is between spaces, with its punctuation; in a script without spaces, a token that does not cut a
    grapheme cluster. Words that one token spans are one word.
    """
    spans = _join(_spans(text, tokens), tokens)
    ends = [end for _, end in spans]
    last = len(spans) - 1
    of_token = (min(bisect_right(ends, token[0]), last) for token in tokens) if spans else ()
    return Words(tuple(spans), tuple(of_token))


def _spans(text: str, tokens: Sequence[Span]) -> list[Span]:
    edges = sorted({edge for token in tokens for edge in token})
    clusters = {cluster.start() for cluster in regex.finditer(r"\X", text)}
    spans: list[Span] = []
    for word in _WORD.finditer(text):
        cuts = {word.start(), word.end()}
        for run in UNSPACED.finditer(text, word.start(), word.end()):
            cuts |= {run.start(), run.end()} | {
                *edges[bisect_left(edges, run.start()) : bisect_right(edges, run.end())]
            }
        kept = sorted(cut for cut in cuts if cut in clusters or cut in word.span())
        spans += pairwise(kept)
    return spans


def _join(spans: list[Span], tokens: Sequence[Span]) -> list[Span]:
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    glued = set()  # numbers of the spans that belong to the span before them
    for start, end in tokens:
        glued |= set(range(bisect_right(ends, start) + 1, bisect_left(starts, end)))
    joined: list[Span] = []
    for number, span in enumerate(spans):
        if number in glued:
            joined[-1] = (joined[-1][0], span[1])
        else:
            joined.append(span)
    return joined


@dataclass(frozen=True, eq=False)
class TextTokens:
    """The content tokens of one text, special tokens left out, and the words that they belong to."""

    words: tuple[str, ...]  # as written; see ``group_tokens``
    tokens: tuple[str, ...]  # the part of the text that each token comes from
    word_of: tuple[int, ...]  # for each token the number of its word
    vectors: Tensor  # float32 [tokens, dim]
    unknown: tuple[str, ...] = ()  # out-of-vocabulary words; in ``words``, but without a token
    partly_unknown: tuple[str, ...] = ()  # words of which some part is out of vocabulary
    unread: tuple[str, ...] = ()  # words past the length at which the model truncates a text; without a token


@dataclass(frozen=True, eq=False)
class _Tokens:
    """The tokens of a text, special tokens left out; ``offsets`` are in characters of the text."""

    pieces: list[str]
    offsets: list[Span]
    unknown: list[bool]
    vectors: Tensor  # [tokens, dim]
    is_cut: bool


@torch.no_grad()
def text_tokens(model: Any, text: str, name: str, keep_unknown: bool = False) -> TextTokens:
    """Return the tokens of a text with the vectors that a SentenceTransformer gives them."""
    route = text_route(model)
    first = route[0]
    if is_static(first):
        tokens = _encoded(first.tokenizer, text, UNKNOWN, first.embedding.weight.detach())
    else:
        tokens = _contextual_tokens(first, text, name)
    tokens = replace(tokens, vectors=_projected(tokens.vectors, route[1:]).cpu())
    if not tokens.vectors.isfinite().all():
        raise ModelError(f"{name}: gives vectors that are not numbers (NaN). Train the model again.")
    return _grouped(text, tokens, keep_unknown)


def out_of_vocabulary_words(model: Any, text: str) -> tuple[str, ...]:
    """Return the ``unknown`` words of ``text_tokens``, each once, without running the model."""
    tokens = _without_vectors(model, text)
    return tuple(dict.fromkeys(_grouped(text, tokens, keep_unknown=False).unknown)) if tokens else ()


def has_known_token(model: Any, text: str) -> bool:
    """Return True if any part of ``text`` is in the vocabulary, or the tokenizer is not accessible."""
    tokens = _without_vectors(model, text)
    return tokens is None or any(
        piece.strip("▁ ") for piece, unknown in zip(tokens.pieces, tokens.unknown, strict=True) if not unknown
    )


def _without_vectors(model: Any, text: str) -> _Tokens | None:
    """Return the tokens of a text without running the model; None if its tokenizer is not accessible."""
    if (tokenizer := backend_tokenizer(model)) is None:
        return None
    return _encoded(tokenizer, text, getattr(text_route(model)[0].tokenizer, "unk_token", None) or UNKNOWN)


def _encoded(tokenizer: Any, text: str, unknown: str, table: Tensor | None = None) -> _Tokens:
    """Return the tokens of a text with their rows of ``table`` [vocabulary, dim]."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    numbers = {tokenizer.token_to_id(name) for name in (unknown, "<unk>")}
    ids = torch.tensor(encoding.ids, dtype=torch.long)
    return _Tokens(
        pieces=list(encoding.tokens),
        offsets=list(encoding.offsets),
        unknown=[number in numbers for number in encoding.ids],
        vectors=torch.empty(len(ids), 0) if table is None else table[ids].float(),
        is_cut=bool(encoding.overflowing),
    )


def _contextual_tokens(module: Any, text: str, name: str) -> _Tokens:
    tokenizer: Any = getattr(module, "tokenizer", None)
    try:
        features = module.preprocess([text])
        place = next((weight.device for weight in module.parameters()), torch.device("cpu"))
        states = module(features_on(place, features))["token_embeddings"]  # [1, length, dim]
        ids = features["input_ids"][0].tolist()
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise ModelError(f"{name}: gives no token vectors, so there is nothing to align.") from problem
    encoded: Any = {}
    if getattr(tokenizer, "is_fast", False):
        encoded = tokenizer(text, truncation=True, max_length=module.max_seq_length, return_offsets_mapping=True)
    if encoded.get("input_ids") != ids or states.shape[:2] != (1, len(ids)):
        raise ModelError(f"{name}: its tokenizer does not say which part of a text a token comes from.")
    special = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    kept = [place for place, number in enumerate(ids) if number not in special]
    return _Tokens(
        pieces=list(tokenizer.convert_ids_to_tokens([ids[place] for place in kept])),
        offsets=[encoded["offset_mapping"][place] for place in kept],
        unknown=[ids[place] == tokenizer.unk_token_id for place in kept],
        vectors=states[0, kept].float(),
        is_cut=len(ids) >= (module.max_seq_length or float("inf")),
    )


def _projected(vectors: Tensor, modules: list[Any]) -> Tensor:
    """Send token vectors [tokens, dim] through the projections that the sentence vector goes through."""
    for module in modules:
        if isinstance(getattr(module, "linear", None), torch.nn.Linear) and hasattr(module, "module_input_name"):
            out = module({module.module_input_name: vectors})
            vectors = out[module.module_output_name]
    return vectors


def _grouped(text: str, tokens: _Tokens, keep_unknown: bool) -> TextTokens:
    # A mark of a word's beginning claims the space before it, or the word's first letter: it has no letter itself.
    offsets = [
        span if _has_text(piece) else (span[0], span[0])
        for span, piece in zip(tokens.offsets, tokens.pieces, strict=True)
    ]
    words = group_tokens(text, offsets)
    names = tuple(text[start:end] for start, end in words.spans)
    out = [unknown and not keep_unknown for unknown in tokens.unknown]
    # A word of unknown tokens and a lone word-boundary mark is unknown: the mark says nothing.
    known = {
        word
        for word, piece, left in zip(words.of_token, tokens.pieces, out, strict=True)
        if not left and _has_text(piece)
    }
    kept = [place for place, word in enumerate(words.of_token) if not out[place] and word in known]
    end = max((end for _, end in tokens.offsets), default=0)
    lost = [number for number in range(len(names)) if number not in known]
    unread = [number for number in lost if tokens.is_cut and words.spans[number][0] >= end]
    partly = sorted({word for word, left in zip(words.of_token, out, strict=True) if left} & known)
    return TextTokens(
        words=names,
        tokens=tuple(text[slice(*offsets[place])].strip() or tokens.pieces[place] for place in kept),
        word_of=tuple(words.of_token[place] for place in kept),
        vectors=tokens.vectors[kept],
        unknown=tuple(names[number] for number in lost if number not in unread),
        partly_unknown=tuple(names[number] for number in partly),
        unread=tuple(names[number] for number in unread),
    )


def _has_text(piece: str) -> bool:
    return bool(piece.strip("▁ Ġ"))
