"""What a static student knows before its first step: its vocabulary and the first vectors of its subwords.

Vocabulary transplant: a new language's subword starts at the mean of the English words that it goes with, weighted by
transport plans over the bitext (``kivuko.transport.associate``; no vector of the new language is needed), and words of
the teacher's own vocabulary keep the teacher's vectors. Relatives: WECHSEL (Minixhofer et al. 2022) and FOCUS (Dobler &
de Melo 2023) start new subwords at mixtures of old ones, found by static embeddings trained on monolingual text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from kivuko.bitext import Bitext, trigrams, word_list
from kivuko.distill.recipe import Recipe, Start
from kivuko.distill.teacher_vectors import Progress
from kivuko.distill.teacher_words import TeacherWords, teacher_words, unit_vectors
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.teacher import TextTeacher
from kivuko.encoders.vocabulary import WORD_START, add_words
from kivuko.transport import Association, associate
from kivuko.transport.association import Affinity

ROUNDS = 4  # of plans and counts; more changed nothing measurable
_SHORTEST = 3  # letters of a subword whose spelling says something


@dataclass(frozen=True, eq=False)
class AlignedVocabulary:
    """Which subwords go with which English words over a bitext, and those words' vectors, float32 [words, dim]."""

    words: list[str]
    vectors: Tensor
    association: Association

    def starting_vectors(self, count: int) -> Tensor:
        """Return the first vectors of the first ``count`` subwords, float32 [count, dim]; zero for the never seen."""
        return self.association.mean_of(self.vectors)[:count]


def started_student(
    tokenizer: Tokenizer, bitext: Bitext, teacher: TextTeacher, recipe: Recipe, progress: Progress | None = None
) -> StaticStudent:
    """Build a static student over a fresh vocabulary as the recipe's ``[student]`` table says.

    Random first vectors are drawn by torch's generator as it stands.

    Raises:
        ModelError: see ``teacher_words``.
    """
    start, dim, pieces = recipe.start, teacher.dim, tokenizer.get_vocab_size()
    own = torch.empty(pieces, dim).normal_(std=start.scale * dim**-0.5)
    learned = fixed = torch.zeros(0, dim)
    if start.teacher_words or start.vectors != "random":
        known = teacher_words(teacher, progress)
        if start.teacher_words:
            tokenizer, learned, fixed = _joined(tokenizer, [pair.text for pair in bitext.pairs], known)
        if start.vectors != "random":
            own = aligned_vocabulary(tokenizer, bitext, teacher, start, known.mean).starting_vectors(pieces)
    student = StaticStudent(tokenizer, dim, recipe.schedule.token_dropout, fixed)
    with torch.no_grad():
        student.embedding.weight.copy_(torch.cat([own, learned]))
    return student


def aligned_vocabulary(
    tokenizer: Tokenizer, bitext: Bitext, teacher: TextTeacher, start: Start, mean: Tensor
) -> AlignedVocabulary:
    """Associate the subwords of a bitext's texts with the words of its English side.

    Args:
        start: its plans; ``vectors = "mean"`` counts co-occurrence instead, without a plan.
        mean: float [dim], taken from the English words' unit vectors.
    """
    english = [word_list(pair.english) for pair in bitext.pairs]
    words = sorted({word for sentence in english for word in sentence})
    number = {word: place for place, word in enumerate(words)}
    encoded = tokenizer.encode_batch([pair.text for pair in bitext.pairs], add_special_tokens=False)
    association = associate(
        [one.ids for one in encoded], [[number[word] for word in sentence] for sentence in english],
        (tokenizer.get_vocab_size(), len(words)),
        regularization=start.regularization, marginal_penalty=start.marginal_penalty,
        rounds=ROUNDS if start.vectors == "transplant" else 0,
        affinity=alike(_pieces(tokenizer), words, start.spelling),
    )  # fmt: skip
    return AlignedVocabulary(words, unit_vectors(teacher, words) - mean, association)


def alike(pieces: Sequence[str], words: Sequence[str], weight: float) -> Affinity | None:
    """Return a bonus in nats for pieces and words that are spelt alike, ``weight`` for the same; None for weight 0.

    See ``kivuko.bitext.spelling_likeness``; pieces of fewer than three letters get none.
    """
    if not weight:
        return None
    ours = [trigrams(piece) if len(piece) >= _SHORTEST else frozenset[str]() for piece in _bare(pieces)]
    theirs = [trigrams(word) for word in words]

    def bonus(rows: Tensor, cols: Tensor) -> Tensor:
        pairs = ((ours[row], theirs[col]) for row, col in zip(rows.tolist(), cols.tolist(), strict=True))
        return torch.tensor([2.0 * weight * len(a & b) / (len(a) + len(b)) for a, b in pairs])

    return bonus


def _bare(pieces: Iterable[str]) -> list[str]:
    return [piece.removeprefix(WORD_START) for piece in pieces]


def _pieces(tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.id_to_token(number) or "" for number in range(tokenizer.get_vocab_size())]


def _joined(tokenizer: Tokenizer, texts: Sequence[str], known: TeacherWords) -> tuple[Tokenizer, Tensor, Tensor]:
    """Add the teacher's words to a vocabulary: (vocabulary, vectors of those in the texts, vectors of the others).

    Words that the texts use learn further, so they stand first; the others stay as they are.
    """
    pieces = tokenizer.get_vocab_size()
    encoded = add_words(tokenizer, known.words).encode_batch(list(texts), add_special_tokens=False)
    used = {token[len(WORD_START) :] for one in encoded for n, token in zip(one.ids, one.tokens, strict=True)
            if n >= pieces}  # fmt: skip
    joined = add_words(tokenizer, sorted(known.words, key=lambda word: (word not in used, word)))
    added = _bare(_pieces(joined)[pieces:])
    row = {word: place for place, word in enumerate(known.words)}
    vectors = known.vectors[[row[word] for word in added]]
    return joined, vectors[: len(used)], vectors[len(used) :]
