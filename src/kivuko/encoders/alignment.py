"""A model together with its own English teacher: what alignments are made with."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import regex
import torch
from numpy.typing import NDArray
from torch import Tensor

from kivuko.encoders.model import centers_student, load_encoder, quiet, read_about, read_token_mean
from kivuko.encoders.modules import backend_tokenizer, is_static, text_route
from kivuko.encoders.teacher import TextTeacher, load_teacher
from kivuko.encoders.vocabulary import UNKNOWN
from kivuko.errors import ModelError, UsageError
from kivuko.transport import centered_cosine_cost, cosine_cost, solve

Span = tuple[int, int]  # where a stretch of text begins and ends, in characters

# Ethiopic texts may separate words by U+1361 instead of a space.
_WORD = regex.compile(r"[^\s\u1361]+")
# Scripts written without spaces between words, with the punctuation that goes with them.
_UNSPACED = regex.compile(r"[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Thai}\p{scx=Lao}\p{scx=Khmer}\p{scx=Myanmar}]+")


@dataclass(frozen=True)
class Words:
    """The words of a text as spans in it, and for each token the number of its word."""

    spans: tuple[Span, ...]
    of_token: tuple[int, ...]


def group_tokens(text: str, tokens: Sequence[Span]) -> Words:
    """Group tokens into the words of the text that they come from.

    Words are what stands between spaces, punctuation included as it is written. A stretch in a script without spaces
    (Thai, Chinese, Japanese and the like) has no such words: there each token is one, unless it begins or ends within
    a grapheme cluster. Words that one token spans count as one word.

    Args:
        tokens: where in ``text`` each token comes from, in order. A token of spaces alone, or of nothing, belongs to
            the word that follows it, or to the last word.

    >>> group_tokens("paka mweusi", [(0, 4), (4, 7), (7, 11)])
    Words(spans=((0, 4), (5, 11)), of_token=(0, 1, 1))
    """
    spans = _join(_spans(text, tokens), tokens)
    ends = [end for _, end in spans]
    last = len(spans) - 1
    of_token = (min(bisect_right(ends, token[0]), last) for token in tokens) if spans else ()
    return Words(tuple(spans), tuple(of_token))


def _spans(text: str, tokens: Sequence[Span]) -> list[Span]:
    edges = sorted({edge for token in tokens for edge in token})
    clusters = {found.start() for found in regex.finditer(r"\X", text)}
    spans: list[Span] = []
    for word in _WORD.finditer(text):
        cuts = {word.start(), word.end()}
        for run in _UNSPACED.finditer(text, word.start(), word.end()):
            cuts |= {run.start(), run.end()} | {
                *edges[bisect_left(edges, run.start()) : bisect_right(edges, run.end())]
            }
        kept = sorted(cut for cut in cuts if cut in clusters or cut in word.span())
        spans += pairwise(kept)
    return spans


def _join(spans: list[Span], tokens: Sequence[Span]) -> list[Span]:
    """Make one span of those that some token spans together."""
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
    """The content tokens of one text, and the words they make up. Special tokens are left out.

    Attributes:
        words: the words of the text, in order, as written; see :func:`kivuko.encoders.alignment.group_tokens`.
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
        model: what ``load_encoder`` returns, or any SentenceTransformer that encodes text with token vectors: subword
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


# How a sentence's words are carried to the words of its English translation: the transport plan between their tokens.
#
# It is the plan that training with the transport objective sees (OPTICAL: Huang, Yu, Allan 2023, arXiv 2301.12566):
# uniform marginals over content tokens, cosine cost. For people to look at, the mass of subwords is added up to words.

Matrix = NDArray[np.float64]

# A plan to look at is small and solved once, so it is solved much closer than training needs.
_TOLERANCE, _MOST_ITERATIONS = 1e-6, 10_000


@dataclass(frozen=True, eq=False)
class Alignment:
    """The plan between the tokens of a text and those of its English translation, and how well it was solved.

    Attributes:
        source, target: the tokens and words of the text, and of the English.
        token_coupling: float64 [tokens, English tokens], mass moved; sums to 1 unless marginals are relaxed.
        regularization: as asked for, in units of the cost (0-2).
        transport_cost, marginal_error, iterations, converged: see :class:`kivuko.transport.Plan`.
        centered: whether the cost is of vectors relative to the teacher's mean token, as in training.
    """

    source: TextTokens
    target: TextTokens
    token_coupling: Matrix
    regularization: float
    transport_cost: float
    marginal_error: float
    iterations: int
    converged: bool
    centered: bool

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the text, those without a token included."""
        return self.source.words

    @property
    def english_words(self) -> tuple[str, ...]:
        """The words of the English."""
        return self.target.words

    @property
    def coupling(self) -> Matrix:
        """Mass moved from word to word, summed over the tokens of each: [words, English words]."""
        coupling: Matrix = _members(self.source).T @ self.token_coupling @ _members(self.target)
        return coupling


def align(
    model: Any,
    teacher: TextTeacher,
    text: str,
    english: str,
    *,
    regularization: float = 0.02,
    method: str = "sinkhorn",
    marginal_penalty: float | None = None,
    center: Tensor | None = None,
    student_centered: bool = True,
    name: str = "the model",
) -> Alignment:
    """Align the words of a text with those of its English translation by optimal transport.

    Args:
        model: what :func:`kivuko.encoders.model.load_encoder` returns, or any SentenceTransformer with token vectors.
        teacher: the English encoder in whose space the model's vectors lie.
        regularization, method, marginal_penalty: of the plan, see :func:`kivuko.transport.solve`.
        center: float [dim], the teacher's mean token, taken from the tokens before the cosine, see
            :func:`kivuko.encoders.model.read_token_mean`; None for the plain cosine.
        student_centered: whether it is taken from the model's tokens too, see
            :func:`kivuko.encoders.model.centers_student`.
        name: of the model, for messages.

    Raises:
        ModelError: the model gives no token vectors, or they are not of the teacher's width.
        UsageError: a text is empty, or no part of it is in the vocabulary; an option does not fit, see ``solve``.
    """
    source = text_tokens(model, text, name)
    target = text_tokens(teacher.model, english, teacher.name, keep_unknown=True)
    for side, what, whose in ((source, text, "model"), (target, english, "teacher")):
        if not side.words:
            raise UsageError(f"the text for the {whose} is empty: write at least one word.")
        if not side.tokens:
            raise UsageError(f"'{what[:80]}': no part of it is in the {whose}'s vocabulary. Try other words.")
    widths = {"its tokens": source.vectors.shape[1], f"those of {teacher.name}": target.vectors.shape[1]}
    if center is not None:
        widths["the mean token"] = len(center)
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{what} {width}" for what, width in widths.items())
        raise ModelError(f"{name}: vectors are not of one width ({told}). Name the teacher that taught it.")
    x, y = source.vectors.double()[None], target.vectors.double()[None]
    if center is None:
        cost = cosine_cost(x, y)  # [1, n, m]
    else:
        cost = centered_cosine_cost(x, y, center if student_centered else torch.zeros_like(center), center)
    plan = solve(
        cost, regularization=regularization, method=method, marginal_penalty=marginal_penalty,
        tolerance=_TOLERANCE, max_iterations=_MOST_ITERATIONS,
    )  # fmt: skip
    return Alignment(
        source, target, plan.coupling[0].double().cpu().numpy(), regularization,
        transport_cost=float(plan.transport_cost[0]), marginal_error=float(plan.marginal_error[0]),
        iterations=int(plan.iterations[0]), converged=bool(plan.converged[0]), centered=center is not None,
    )  # fmt: skip


def row_shares(coupling: Matrix) -> Matrix:
    """Return the share of each row's mass that goes to each column; NaN in a row without mass.

    >>> row_shares(np.array([[0.375, 0.125], [0.0, 0.0]])).tolist()
    [[0.75, 0.25], [nan, nan]]
    """
    mass = coupling.sum(1, keepdims=True)
    shares: Matrix = np.divide(coupling, mass, out=np.full_like(coupling, np.nan), where=mass > 0)
    return shares


def _members(side: TextTokens) -> Matrix:
    """Return which token belongs to which word: [tokens, words], one 1 in each row."""
    members = np.zeros((len(side.tokens), len(side.words)))
    members[np.arange(len(side.tokens)), side.word_of] = 1.0
    return members


@dataclass(frozen=True, eq=False)
class Aligner:
    """Solves the transport problem that training solved: the same teacher, mean token and centering.

    Attributes:
        center: float [dim], the mean token; None where the model does not hold this teacher's.
        student_centered: whether it is taken from the model's tokens too.
        name: of the model, for messages.
    """

    model: Any
    teacher: TextTeacher
    center: Tensor | None
    student_centered: bool
    name: str

    def align(self, text: str, english: str, **options: Any) -> Alignment:
        """Align a text with its English translation; options and errors as of ``kivuko.encoders.alignment.align``."""
        return align(
            self.model, self.teacher, text, english, center=self.center, student_centered=self.student_centered,
            name=self.name, **options,
        )  # fmt: skip


def teacher_named_by(path: Path | str) -> str:
    """Return which English teacher a model folder says it belongs to, in a form that ``load_teacher`` takes.

    Raises:
        UsageError: it does not say.
        CorruptFileError: what it says of itself is damaged.
    """
    about = read_about(path)
    if about is None or not about.teacher_source:
        raise UsageError(f"{path}: does not say which English teacher it belongs to.")
    return about.teacher_source


def load_aligner(path: Path | str, model: Any | None = None, teacher: str | None = None) -> Aligner:
    """Load what aligning with a model folder takes.

    Args:
        model: the loaded model, if it is at hand.
        teacher: another teacher than the one that the folder names.

    Raises:
        UsageError: the folder names no teacher.
        ModelError, MissingDependencyError, CorruptFileError: the model or its teacher does not load.
    """
    source = teacher or teacher_named_by(path)
    encoder = load_encoder(path) if model is None else model
    about = read_about(path)
    with quiet():
        loaded = load_teacher(source, about.teacher_prompt or None if about and teacher is None else None)
    center = read_token_mean(path, loaded.fingerprint)
    return Aligner(encoder, loaded, center, centers_student(path), str(path))
