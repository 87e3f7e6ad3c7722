"""A fresh multilingual subword vocabulary, learned from the bitext itself.

Unigram language model segmentation: Kudo 2018, "Subword Regularization".
"""

import json
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import regex
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer

from kivuko.errors import DataError, UsageError
from kivuko.text import APOSTROPHE, APOSTROPHES

PAD, UNKNOWN = "[PAD]", "[UNK]"
_GREEK = regex.compile(r"\p{Greek}")
WORD_START = "▁"  # how a subword that begins a word begins
_ADDED_ABOVE_RAREST = 2.0  # nats; docs/experiments.md, 11


def train_vocabulary(texts: Iterable[str], size: int = 16000) -> Tokenizer:
    """Learn a unigram vocabulary of at most ``size`` subwords from ``texts``, in NFKC, one case and one apostrophe.

    The same texts in the same order give the same vocabulary: training runs on one thread.
    """
    tokenizer = Tokenizer(Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(f"[{APOSTROPHES}]"), APOSTROPHE),
            normalizers.NFKC(),
            normalizers.Lowercase(),
            # Capitals become small letters one by one: İ leaves its dot, and a Σ that ends a word is no ς.
            normalizers.Replace("i\u0307", "i"),
            normalizers.Replace("ς", "σ"),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation("isolated"), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = UnigramTrainer(
        vocab_size=size, special_tokens=[PAD, UNKNOWN], unk_token=UNKNOWN, show_progress=False, max_piece_length=16
    )
    material = list(texts)
    if not any(text.strip() for text in material):
        raise DataError("no text to learn a vocabulary from: the bitext is empty.")
    try:
        with _one_thread():
            tokenizer.train_from_iterator(material, trainer)
    except Exception as problem:  # the library's errors are of no kind of their own
        if "large enough" not in str(problem):
            raise
        letters = len({letter for text in material for letter in tokenizer.normalizer.normalize_str(text)})
        raise UsageError(
            f"a vocabulary of {size:,} subwords is too small for the {letters:,} different characters of the bitext: "
            "choose more than that (--vocabulary-size)."
        ) from problem
    return _in_fixed_order(tokenizer)


def case_forms(seen: Mapping[str, int], *, dotted: bool = False) -> list[str]:
    """Return the forms in which a word may be written; the first is the most usual one in small letters.

    ``seen``: forms and how often each was seen; ``dotted``: of a language with İ and ı, such as Turkish.

    >>> case_forms({"Paka": 2, "paka": 1}), case_forms({"İzmir": 1}, dotted=True)
    (['paka', 'Paka', 'PAKA'], ['izmir', 'İzmir', 'İZMİR', 'Izmir', 'IZMIR'])
    """
    small: Counter[str] = Counter()
    for form, count in seen.items():
        small[(form.replace("İ", "i").replace("I", "ı") if dotted else form).lower()] += count
    usual = [form for form, _ in small.most_common()]
    capitals = [
        form
        for word in usual
        for own in ([word.replace("i", "İ").replace("ı", "I"), word] if dotted else [word])
        for form in (own[:1].title() + word[1:], own.upper())
    ]
    # Greek capitals have no accent: σκύλος is ΣΚΥΛΟΣ.
    greek = [unicodedata.normalize("NFD", form.upper()) for form in capitals if _GREEK.search(form)]
    bare = [unicodedata.normalize("NFC", form.replace("\u0301", "")) for form in greek]
    return list(dict.fromkeys([*usual, *seen, *capitals, *bare]))


def add_words(tokenizer: Tokenizer, words: Iterable[str], scores: Iterable[float] | None = None) -> Tokenizer:
    """Return a copy of a vocabulary with whole words added, each a little likelier than the rarest subword.

    ``scores``: the log probability of each word, also of one that the vocabulary has already.
    """
    state = json.loads(tokenizer.to_str())
    pieces = state["model"]["vocab"]
    added = [f"{WORD_START}{word}" for word in words]
    if scores is None:
        lowest = min((score for _, score in pieces[2:]), default=0.0)
        known = {piece for piece, _ in pieces}
        given = {piece: lowest + _ADDED_ABOVE_RAREST for piece in added if piece not in known}
    else:
        given = dict(zip(added, scores, strict=True))
    kept = [[piece, given.pop(piece, score)] for piece, score in pieces]
    state["model"]["vocab"] = [*kept, *([piece, score] for piece, score in given.items())]
    return Tokenizer.from_str(json.dumps(state))


def word_cutter(tokenizer: Tokenizer) -> Callable[[str], list[str]]:
    """Return a function from a text to its words as the tokenizer separates them, punctuation left out."""
    normalizer, separator = tokenizer.normalizer, tokenizer.pre_tokenizer

    def cut(text: str) -> list[str]:
        parts = separator.pre_tokenize_str(normalizer.normalize_str(text))
        words = (part.removeprefix(WORD_START) for part, _ in parts)
        return [word for word in words if any(letter.isalnum() for letter in word)]

    return cut


def scored_pieces(tokenizer: Tokenizer) -> list[tuple[str, float]]:
    """Return the pieces of a vocabulary and their log probabilities, in order."""
    return [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]


def _in_fixed_order(tokenizer: Tokenizer) -> Tokenizer:
    """Undo the order of a hash table, another in every process, in a trained vocabulary.

    The trainer sums in that order, numbers equal scores by it, and hands out the scores of left-over letters,
    ``lowest + 0.0001 k``, by it as well.
    """
    state = json.loads(tokenizer.to_str())
    pieces = [(piece, float(score)) for piece, score in state["model"]["vocab"]]
    special, learned = pieces[:2], dict(pieces[2:])
    lowest = min(learned.values(), default=0.0)

    def is_left_over(piece: str) -> bool:
        k = (learned[piece] - lowest) / 1e-4
        return len(piece) == 1 and abs(k - round(k)) < 1e-3 and k < len(learned)

    left_over = sorted(filter(is_left_over, learned))
    learned |= dict(zip(left_over, sorted((learned[piece] for piece in left_over), reverse=True), strict=True))
    rounded = sorted(
        ((piece, round(score, 4)) for piece, score in learned.items()), key=lambda entry: (-entry[1], entry[0])
    )
    state["model"]["vocab"] = [*special, *rounded]
    return Tokenizer.from_str(json.dumps(state))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
