"""English encoders for tests: random weights and a vocabulary of whole words, saved in the libraries' own layout."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def save_bert(folder: Path | str, words: Sequence[str], width: int, *, layers: int = 1, seed: int = 0) -> Path:
    """Save a BERT whose tokens are ``words``, of that width, as a folder of Hugging Face's; returns it."""
    from transformers import BertConfig, BertModel, BertTokenizer

    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *words])}
    BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=width, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return Path(folder)


def save_teacher(folder: Path, words: Sequence[str], width: int, *, layers: int = 1, seed: int = 0) -> Path:
    """Save the same as a sentence-transformers folder, whose text vectors are the means of their tokens' [width]."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    with tempfile.TemporaryDirectory() as body:
        modules = [Transformer(str(save_bert(body, words, width, layers=layers, seed=seed))), Pooling(width)]
        SentenceTransformer(modules=modules, device="cpu").save(str(folder))
    return folder
