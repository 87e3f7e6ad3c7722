"""A fresh multilingual subword vocabulary, learned from the bitext itself.

Unigram language model segmentation: Kudo 2018, "Subword Regularization".
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import Unigram
from tokenizers.trainers import UnigramTrainer

from kivuko.errors import DataError

PAD, UNKNOWN = "[PAD]", "[UNK]"


def train_vocabulary(texts: Iterable[str], size: int = 8000) -> Tokenizer:
    """Learn a unigram vocabulary of at most ``size`` subwords from ``texts``.

    Text is NFKC-normalised and lower-cased; words are split at spaces and punctuation. The same texts in the same
    order give the same vocabulary: training runs on one thread because floating-point sums over threads differ.

    Raises:
        DataError: there is no text to learn from.
    """
    tokenizer = Tokenizer(Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation("isolated"), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    trainer = UnigramTrainer(
        vocab_size=size, special_tokens=[PAD, UNKNOWN], unk_token=UNKNOWN, show_progress=False, max_piece_length=16
    )
    material = list(texts)
    if not any(text.strip() for text in material):
        raise DataError("no text to learn a vocabulary from: the bitext is empty.")
    with _one_thread():
        tokenizer.train_from_iterator(material, trainer)
    return tokenizer


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
