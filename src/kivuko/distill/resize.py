"""Vocabulary transplant for transformers: words of the bitext join the vocabulary and start among the English ones.

The plans are those of ``distill.start``; what is mixed differs. A pretrained encoder's new words start at mixtures of
its own input vectors of English subwords. A small transformer with random weights starts at the teacher's words,
brought to its width by principal components and to the size of its own random vectors.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer
from torch import Tensor

from kivuko.bitext import Bitext, word_list
from kivuko.distill.recipe import Start
from kivuko.distill.start import ROUNDS, aligned_vocabulary, alike
from kivuko.distill.teacher_words import teacher_words
from kivuko.encoders.student import TransformerStudent
from kivuko.encoders.teacher import TextTeacher
from kivuko.encoders.vocabulary import PAD, UNKNOWN, WORD_START, train_vocabulary
from kivuko.errors import ModelError
from kivuko.transport import associate
from kivuko.transport.association import Affinity

_MOST_WORDS = 20_000
_MOST_SUBWORDS = 8_000  # of an unseen script
_MOST_COUNTED = 50  # occurrences of a word that its subwords are learned from


def with_new_words(student: TransformerStudent, bitext: Bitext, start: Start) -> TransformerStudent:
    """Add the bitext's words that a pretrained student cuts to pieces to its vocabulary, and start their vectors.

    A new word's input vector is the mean of the student's own input vectors of the English subwords that it goes with,
    weighted by transport plans (``vectors = "mean"``: by co-occurrence). Words that occur most come first, 20,000 at
    most; words that the vocabulary holds whole stay as they are. Words in letters that the vocabulary lacks, as of a
    script that it never saw, are cut into subwords learned from the bitext, which serve unseen words of it too.

    Raises:
        ModelError: the student's tokenizer is not a fast one.
    """
    tokenizer = student.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"{student.name}: its tokenizer takes no new words (it is not a fast one).")
    before = len(tokenizer)
    counts = Counter(word for pair in bitext.pairs for word in word_list(pair.text))
    cut = [word for word, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]
    pieces = tokenizer(cut, add_special_tokens=False)["input_ids"] if cut else []
    unread = {word for word, ids in zip(cut, pieces, strict=True) if tokenizer.unk_token_id in ids}
    new = [word for word, ids in zip(cut, pieces, strict=True) if len(ids) > 1 and word not in unread][:_MOST_WORDS]
    subwords = _unseen_script(tokenizer, {word: counts[word] for word in cut if word in unread})
    if not new and not subwords:
        return student
    tokenizer.add_tokens([AddedToken(word, single_word=True, normalized=True) for word in new])
    tokenizer.add_tokens([AddedToken(piece, normalized=True) for piece in subwords])
    student.model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    table = student.model.get_input_embeddings().weight
    texts, english = (
        tokenizer(side, add_special_tokens=False)["input_ids"]
        for side in ([pair.text for pair in bitext.pairs], [pair.english for pair in bitext.pairs])
    )
    found = associate(
        texts, english, (len(tokenizer), len(tokenizer)),
        regularization=start.regularization, marginal_penalty=start.marginal_penalty,
        rounds=ROUNDS if start.vectors == "transplant" else 0, affinity=_spelling(tokenizer, start.spelling),
    )  # fmt: skip
    with torch.no_grad():
        seen = found.row_mass()[before:] > 0
        known = table[:before].detach().float()
        # New words are mixtures of what the student knew: English sides may hold new words too, of no use to them.
        vectors = found.mean_of(torch.cat([known, known.mean(0).expand(len(tokenizer) - before, -1)]))[before:]
        table[before:] = torch.where(seen[:, None], vectors, known.mean(0)).to(table.dtype)
    return student


def _unseen_script(tokenizer: Any, counts: dict[str, int]) -> list[str]:
    """Return subwords, learned from words and their counts, all of whose letters a tokenizer does not know."""
    if not counts:
        return []
    learned = train_vocabulary([word for word, count in counts.items() for _ in range(min(count, _MOST_COUNTED))],
                               _MOST_SUBWORDS)  # fmt: skip
    pieces = {piece.removeprefix(WORD_START) for piece in learned.get_vocab()} - {PAD, UNKNOWN, ""}
    letters = sorted({letter for piece in pieces for letter in piece})
    ids = tokenizer(letters, add_special_tokens=False)["input_ids"] if letters else []
    unknown = {letter for letter, own in zip(letters, ids, strict=True) if tokenizer.unk_token_id in own}
    return sorted(piece for piece in pieces if unknown.issuperset(piece))


def start_transformer(
    student: TransformerStudent, tokenizer: Tokenizer, bitext: Bitext, teacher: TextTeacher, start: Start
) -> None:
    """Start the input vectors of a small transformer over a fresh vocabulary at the teacher's words, in place.

    Args:
        tokenizer: the fresh vocabulary; its numbers are the student's first ones.

    Raises:
        ModelError: see ``teacher_words``.
    """
    pieces = tokenizer.get_vocab_size()
    mean = teacher_words(teacher).mean
    vectors = aligned_vocabulary(tokenizer, bitext, teacher, start, mean).starting_vectors(pieces)
    table = student.model.get_input_embeddings().weight
    with torch.no_grad():
        seen = vectors.norm(dim=1) > 0
        narrowed = _principal(vectors[seen], table.shape[1])
        size = table[:pieces].norm(dim=1).mean() / narrowed.norm(dim=1).mean().clamp_min(1e-12)
        table[: len(seen)][seen] = (narrowed * size).to(table.dtype)


def _principal(vectors: Tensor, width: int) -> Tensor:
    """Return vectors [n, dim] along their ``width`` first principal directions, zeros where there are fewer."""
    rank = min(width, *vectors.shape)
    _, _, directions = torch.linalg.svd(vectors, full_matrices=False)
    kept = vectors @ directions[:rank].T
    return torch.nn.functional.pad(kept, (0, width - rank))


def _spelling(tokenizer: Any, weight: float) -> Affinity | None:
    if not weight:
        return None
    spelled = [text.strip("▁Ġ# ") for text in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
    return alike(spelled, spelled, weight)
