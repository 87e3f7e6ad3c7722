"""Word vectors: whole words of the bitext and of dictionaries join the vocabulary of a trained static student.

In a mean over subwords a word counts as often as it is cut, and words that training never saw are hardly known by
their parts. Here each word becomes one token. Its vector is a mean of what the student has learned, of the English
words that an aligner matches it with, and of its translations in dictionaries; its length is the weight of the word.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from kivuko.bitext.pairs import Bitext
from kivuko.bitext.word_alignment import align_units
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.teacher import TextTeacher
from kivuko.encoders.vocabulary import WORD_START, add_words, scored_pieces, word_cutter
from kivuko.encoders.word_reader import WordReader, build_word_reader, unit_vectors_of
from kivuko.encoders.word_table import WordTable
from kivuko.progress import progress_bar
from kivuko.text import word_list
from kivuko.training.initialization import alike, map_sentences, sentence_groups, teacher_words, unit_vectors
from kivuko.training.recipe import Start
from kivuko.training.teacher_vectors import TeacherVectors

_MOST_LISTED = 50_000  # words of a dictionary that are looked at
_MOST_TRANSLATIONS = 8  # of a word of a dictionary
_ENCODED_AT_ONCE = 1024
_SMALLEST_SHOWN = 0.005
_SHOWN = 4  # English words of an entry of the word table
_LIKELY_PARTS = 0.2  # weight of the log probability of a word's parts beside the log rank of its English
_RARITY = 0.5  # exponent of a word's rarity in its weight
_PIECES = 0.7  # weight of a word that is cut into subwords
_SAME_MEANING = 0.5  # cosine of an English word's vector in a vocabulary with the teacher's, from which it is English
_MOST_SAMPLED = 300  # words of a language from which an encoder's mean vector is known
_LIKELIER = 0.01  # nats by which a word is likelier than its parts
# Shares of what the student learned and of dictionaries in a word's vector, beside that of the aligned words, 1.
_SHARES = ((0.5, 1.0), (1.0, 1.0), (0.5, 2.0), (1.0, 2.0))

_CLEARLY = 0.005  # by which a larger weight of the text must score better
_TEXT_WEIGHTS = (0.5, 1.0, 2.0)  # of the encoder's vector of a text, beside 1 for that of its words

Listed = Mapping[str, Mapping[str, Sequence[str]]]  # language code -> word -> translations


def add_word_vectors(
    student: StaticStudent,
    bitext: Bitext,
    dictionary: Bitext,
    teacher: TextTeacher,
    start: Start,
    score: Callable[[StaticStudent], float],
    encoder: TextTeacher | None = None,
    vectors: TeacherVectors | None = None,
) -> tuple[StaticStudent, WordTable, float]:
    """Return a student whose vocabulary holds whole words too, the word table, and the student's score.

    ``dictionary``: pairs of a word and its translations, separated by commas. Of some shares of the sources of a word's
    vector those with the best ``score`` are taken; the student stays as it is where none is better. A multilingual
    ``encoder`` then reads the words that the vocabulary still lacks, and each text with the weight that scores best, if
    any does better than without it. ``vectors``: the teacher's of the bitext's English, if they are known.
    """
    cut = word_cutter(student.tokenizer)
    texts = {code: [cut(pair.text) for pair in pairs] for code, pairs in bitext.by_language().items()}
    counts = {code: Counter(word for text in own for word in text) for code, own in texts.items()}
    shares = _SHARES if dictionary else _SHARES[:2]
    with progress_bar("word vectors") as report:
        total = len(texts) + len(shares) + 2 + (encoder is not None)
        listed = _listed(student.tokenizer, dictionary, cut, teacher)
        words = _chosen(student.tokenizer, counts, listed)
        if not words:
            return student, WordTable({}), score(student)
        report(1, total)
        aligned, table = _aligned(bitext, texts, words, teacher, start, lambda done: report(1 + done, total))
        chosen = set(words)
        kept = {code: {word: own[word] for word in own if word in chosen} for code, own in listed.items()}
        sources = _Sources(
            aligned, _learned(student, words), _translated(kept, words, teacher), _weights(words, counts)
        )
        report(2 + len(texts), total)
        tokenizer, rows, pieces = _joined(student, words)
        best, reached = student, score(student)
        for number, (learned, translated) in enumerate(shares, start=1):
            candidate = StaticStudent(tokenizer, student.dim, student.token_dropout).eval()
            candidate.reader = student.reader
            with torch.no_grad():
                candidate.embedding.weight.copy_(pieces.index_copy(0, rows, sources.mixed(learned, translated)))
            candidate.to(student.device)
            if (now := score(candidate)) > reached:
                best, reached = candidate, now
            report(2 + len(texts) + number, total)
        if encoder is not None and student.reader is None:
            best_reader = None
            for reader in _readers(best, bitext, vectors, teacher, encoder, counts):
                best.reader = reader
                # A text weighs no more than it must: its words are what dictionaries and the table can correct.
                if (now := score(best)) > reached + (_CLEARLY if best_reader is not None else 0):
                    reached, best_reader = now, reader
            best.reader = best_reader
        report(total, total)
    return best, table.with_dictionary(kept), reached


def _readers(
    student: StaticStudent, bitext: Bitext, vectors: TeacherVectors | None, teacher: TextTeacher, encoder: TextTeacher,
    counts: Mapping[str, Counter[str]],
) -> list[WordReader]:  # fmt: skip
    """Return readers by the teacher's words that stand in a vocabulary for themselves, one for each weight of the text.

    None where no word does.
    """
    known = teacher_words(teacher)
    numbers = [student.tokenizer.token_to_id(WORD_START + word) for word in known.words]
    there = [place for place, number in enumerate(numbers) if number is not None]
    rows = torch.tensor([numbers[place] for place in there], dtype=torch.long)
    own = torch.cat([student.embedding.weight.detach(), student.fixed]).cpu()[rows]
    # A word of another language may be spelled as an English one, and have the vector of its own meaning.
    same = F.cosine_similarity(own, known.vectors[there], dim=-1) > _SAME_MEANING
    if not same.any():
        return []
    english = unit_vectors(encoder, known.words)[there]  # all of them, which the cache then holds for every model
    common = [[word for word, _ in words.most_common(_MOST_SAMPLED)] for words in counts.values() if words]
    foreign = [unit_vectors_of(encoder, words) for words in common]
    sentence_map = map_sentences(encoder, bitext, teacher, vectors)
    reader = build_word_reader(encoder, rows[same], english[same], foreign, sentence_map)
    return [reader.with_text_weight(weight) for weight in _TEXT_WEIGHTS]


@dataclass(frozen=True, eq=False)
class _Sources:
    """Sources of word vectors, each float32 [words, dim] with rows of length 1, or 0 where it does not know a word."""

    aligned: Tensor
    learned: Tensor
    translated: Tensor
    weights: Tensor  # float32 [words]

    def mixed(self, learned: float, translated: float) -> Tensor:
        total = self.aligned + learned * self.learned + translated * self.translated
        return self.weights[:, None] * F.normalize(total, dim=-1)


def _listed(tokenizer: Tokenizer, dictionary: Bitext, cut: Callable[[str], list[str]], teacher: TextTeacher) -> Listed:
    """Return the single words of dictionaries, the likeliest in a query first, and their translations.

    Dictionaries do not say which words are common. Those are whose English is, and that are cut into likely parts.
    """
    commonness = _Commonness(teacher)
    result: dict[str, dict[str, list[str]]] = {}
    for code, pairs in dictionary.by_language().items():
        entries: dict[str, list[str]] = {}
        for pair in pairs:
            if " " not in pair.text:
                english = [text.strip().casefold() for text in pair.english.split(",") if text.strip()]
                entries.setdefault(pair.text, []).extend(english)
        entries = {text: english for text, english in entries.items() if english}
        ranks = {text: min(map(commonness.rank, english)) for text, english in entries.items()}
        common = sorted(entries, key=lambda text: (ranks[text], len(text), text))[:_MOST_LISTED]
        scores = dict(zip(common, _scores(tokenizer, common), strict=True))
        common.sort(key=lambda text: (math.log(1 + ranks[text]) - _LIKELY_PARTS * scores[text], text))
        own = result.setdefault(code, {})
        for text in common:
            words = cut(text)
            if len(words) == 1:
                own.setdefault(words[0], []).extend(entries[text])
    return {
        code: {word: list(dict.fromkeys(texts))[:_MOST_TRANSLATIONS] for word, texts in own.items()}
        for code, own in result.items()
    }


class _Commonness:
    """How common English is: a vocabulary lists frequent words first."""

    def __init__(self, teacher: TextTeacher) -> None:
        tokenizer = teacher.model.tokenizer
        words = teacher_words(teacher).words
        self._number = {
            word: ids[0]
            for word, ids in zip(words, tokenizer(words, add_special_tokens=False)["input_ids"], strict=True)
        }
        self._rarest = len(tokenizer)

    def rank(self, text: str) -> int:
        """Return the number of the rarest word of a text; words that are no token of the teacher's are rarer still."""
        return max((self._number.get(word, self._rarest) for word in text.split()), default=self._rarest)


def _chosen(tokenizer: Tokenizer, counts: Mapping[str, Counter[str]], listed: Listed) -> list[str]:
    """Return the words that join a vocabulary: of the bitext, the most frequent first, then of dictionaries in turn.

    They add as many rows at most as the vocabulary has, so that a model is no more than twice as large.
    """
    total = sum(counts.values(), Counter[str]())
    words = [word for word, _ in sorted(total.items(), key=lambda entry: (-entry[1], entry[0]))]
    most = tokenizer.get_vocab_size()
    most += sum(tokenizer.token_to_id(WORD_START + word) is not None for word in words)
    new = ([word for word in own if word not in total] for own in listed.values())
    in_turn = [word for several in itertools.zip_longest(*new) for word in several if word is not None]
    return list(dict.fromkeys([*words, *in_turn]))[:most]


def _scores(tokenizer: Tokenizer, words: Sequence[str]) -> list[float]:
    """Return the log probability of each word by its likeliest parts."""
    scores = [score for _, score in scored_pieces(tokenizer)]
    encoded = tokenizer.encode_batch_fast(list(words), add_special_tokens=False) if words else []
    return [sum(scores[number] for number in one.ids) for one in encoded]


def _aligned(
    bitext: Bitext, texts: Mapping[str, list[list[str]]], words: Sequence[str], teacher: TextTeacher, start: Start,
    report: Callable[[int], None],
) -> tuple[Tensor, WordTable]:  # fmt: skip
    """Align the words of each language with English ones: (vectors [words, dim], word table)."""
    row = {word: place for place, word in enumerate(words)}
    mean = teacher_words(teacher).mean
    sums = torch.zeros(len(words), len(mean))
    entries: dict[str, dict[str, dict[str, float]]] = {}
    for done, (code, pairs) in enumerate(bitext.by_language().items(), start=1):
        report(done)
        english = [word_list(pair.english) for pair in pairs]
        ours, theirs = (sorted({word for text in side for word in text}) for side in (texts[code], english))
        if not ours or not theirs:
            continue
        ours_at, theirs_at = ({word: place for place, word in enumerate(side)} for side in (ours, theirs))
        association = align_units(
            [[ours_at[word] for word in text] for text in texts[code]],
            [[theirs_at[word] for word in text] for text in english],
            (len(ours), len(theirs)),
            start.aligner,
            regularization=start.regularization,
            marginal_penalty=start.marginal_penalty,
            affinity=alike(ours, theirs, start.spelling),
            groups=sentence_groups(Bitext(tuple(pairs))),
        )
        mass = association.row_mass()
        vectors = association.mean_of(unit_vectors(teacher, theirs) - mean)
        kept = [place for place, word in enumerate(ours) if word in row]
        places = torch.tensor([row[ours[place]] for place in kept], dtype=torch.long)
        sums.index_add_(0, places, mass[kept, None] * vectors[kept])
        shares = (association.mass / mass.clamp_min(1e-12)[association.rows]).tolist()
        own: dict[str, dict[str, float]] = {}
        for at, english_at, share in sorted(
            zip(association.rows.tolist(), association.cols.tolist(), shares, strict=True),
            key=lambda entry: (entry[0], -entry[2], entry[1]),
        ):
            entry = own.setdefault(ours[at], {})
            if len(entry) < _SHOWN and share >= _SMALLEST_SHOWN:
                entry[theirs[english_at]] = share
        entries[code] = own
    return F.normalize(sums, dim=-1), WordTable(entries)


@torch.no_grad()
def _learned(student: StaticStudent, words: Sequence[str]) -> Tensor:
    """Return a student's vectors of words, less their mean, of length 1: float32 [words, dim]."""
    vectors = F.normalize(_pooled(student, words), dim=-1)
    return F.normalize(vectors - vectors.mean(0), dim=-1)


def _pooled(student: StaticStudent, words: Sequence[str]) -> Tensor:
    parts = [
        student.encode_tokens(list(words[at : at + 1024])).pooled.float().cpu() for at in range(0, len(words), 1024)
    ]
    return torch.cat(parts)


def _translated(listed: Listed, words: Sequence[str], teacher: TextTeacher) -> Tensor:
    """Return the means of the teacher's vectors of each word's translations, of length 1 or 0: float32 [words, dim]."""
    known = teacher_words(teacher)
    translations: dict[str, list[str]] = {}
    for own in listed.values():
        for word, texts in own.items():
            translations.setdefault(word, []).extend(texts)
    cut = {text: word_list(text) for texts in translations.values() for text in texts}
    number = {word: place for place, word in enumerate(known.words)}
    unknown = sorted({word for parts in cut.values() for word in parts} - number.keys())
    number |= {word: len(known.words) + place for place, word in enumerate(unknown)}
    table = torch.cat([known.vectors, unit_vectors(teacher, unknown) - known.mean]) if unknown else known.vectors
    table = F.normalize(table, dim=-1)
    row = {word: place for place, word in enumerate(words)}
    result = torch.zeros(len(words), table.shape[1])
    for word, texts in translations.items():
        means = [table[[number[part] for part in cut[text]]].mean(0) for text in texts if cut[text]]
        if means:
            result[row[word]] = F.normalize(torch.stack(means), dim=-1).mean(0)
    return F.normalize(result, dim=-1)


def _weights(words: Sequence[str], counts: Mapping[str, Counter[str]]) -> Tensor:
    """Return the weight of each word, 1 for a word that the bitext lacks: how rare it is in the language it is in."""
    weight = dict.fromkeys(words, 1.0)
    for own in counts.values():
        total = math.log(own.total() + 2)
        for word, count in own.items():
            if word in weight:
                weight[word] = min(weight[word], (1 - math.log(count + 1) / total) ** _RARITY)
    return torch.tensor([weight[word] for word in words])


@torch.no_grad()
def _joined(student: StaticStudent, words: Sequence[str]) -> tuple[Tokenizer, Tensor, Tensor]:
    """Add words to a vocabulary: (vocabulary, the words' rows int64 [words], vectors float32 [vocabulary, dim]).

    The vectors of subwords are scaled so that a word that is cut into them weighs as much as one that is not.
    """
    scores = [score + _LIKELIER for score in _scores(student.tokenizer, words)]
    tokenizer = add_words(student.tokenizer, words, scores)
    rows = torch.tensor([tokenizer.token_to_id(WORD_START + word) for word in words], dtype=torch.long)
    own, fixed = student.embedding.weight.detach().float().cpu(), F.normalize(student.fixed.cpu(), dim=-1)
    pooled = _pooled(student, words)
    lengths = torch.tensor(
        [len(one.ids) for one in student.tokenizer.encode_batch_fast(list(words), add_special_tokens=False)]
    )
    mean = pooled.mean(0)
    scale = _PIECES / (lengths[:, None] * (pooled - mean)).norm(dim=-1).mean().clamp_min(1e-12)
    vectors = torch.zeros(tokenizer.get_vocab_size(), student.dim)
    vectors[: len(own)] = scale * (own - mean)
    vectors[len(own) : len(own) + len(fixed)] = fixed
    return tokenizer, rows, vectors
