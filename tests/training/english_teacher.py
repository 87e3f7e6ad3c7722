"""A tiny teacher that knows a dozen English words, and bitext in which every word of two languages is to be found."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import torch

from kivuko.bitext.pairs import Bitext, Pair

COLORS = {"mweusi": "black", "mwekundu": "red", "mweupe": "white"}
NOUNS = {"paka": "cat", "mbwa": "dog", "ndege": "bird", "samaki": "fish"}
OTHER_WORDS = ["kenya", "zebra", "The", "ab"]


def save_teacher(folder: Path, same: Mapping[str, str] | None = None) -> Path:
    """Save a BERT with random weights over the English words, mean-pooled, in sentence-transformers' layout.

    ``same``: words of other languages, each with the vector of an English one, as in a multilingual encoder.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel, BertTokenizer

    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *COLORS.values(),
        *NOUNS.values(),
        *OTHER_WORDS,
        *(same or {}),
    ]
    pieces += [
        "##s",
        "##" + "a",
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"##{letter}" for letter in "bcdefghijklmnopqrstuvw"),
    ]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    BertTokenizer(vocab=vocabulary).save_pretrained(folder / "bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=24,
    )  # fmt: skip
    network = BertModel(config)
    table = network.get_input_embeddings().weight.data
    for word, english in (same or {}).items():
        table[vocabulary[word]] = table[vocabulary[english]]
    network.save_pretrained(folder / "bert")
    modules = [Transformer(str(folder / "bert")), Pooling(32)]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "teacher"))
    return folder / "teacher"


def bitext() -> Bitext:
    """All nouns in all colors but one, noun first, in a language close to Swahili."""
    return Bitext(
        tuple(
            Pair("sw", f"{noun} {color}", f"{english_color} {english}", "test")
            for (noun, english), (color, english_color) in itertools.product(NOUNS.items(), COLORS.items())
            if (noun, color) != ("paka", "mwekundu")
        )
    )
