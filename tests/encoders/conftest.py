"""Tiny encoders with random weights, saved in Hugging Face's own layout so that the real loading code runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tiny_xlm_roberta import save_xlm_roberta

WORDS = [
    "a",
    "ferry",
    "crosses",
    "the",
    "river",
    "paka",
    "anakula",
    "samaki",
    "mtoni",
    "मांजर",
    "मासा",
    "खातो",
    "cat",
    "eats",
    "fish",
]


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> Path:
    """A BERT of width 32 with a word vocabulary."""
    from transformers import BertConfig, BertModel, BertTokenizer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS, "##s", "."])}
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    BertTokenizer(vocab=vocabulary, strip_accents=False).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=24,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_xlm_roberta(tmp_path_factory) -> Path:
    """An XLM-RoBERTa of width 24 with a vocabulary of whole words and letters."""
    return save_xlm_roberta(tmp_path_factory.mktemp("models") / "tiny-xlm-roberta", WORDS)


@pytest.fixture(scope="session")
def tiny_sentence_transformer(tiny_bert, tmp_path_factory) -> Path:
    """The tiny BERT as a sentence-transformers folder, mean-pooled."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    folder = tmp_path_factory.mktemp("models") / "tiny-teacher"
    SentenceTransformer(modules=[Transformer(str(tiny_bert)), Pooling(32)], device="cpu").save(str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_image_tower():
    """A small image tower for vectors of width 12, its batch statistics away from their first values."""
    from kivuko.encoders.image_tower import SmallImageTower

    torch.manual_seed(0)
    tower = SmallImageTower(12, size=32)
    with torch.no_grad():
        for _ in range(3):
            tower.train()(torch.rand(8, 3, 32, 32))
    return tower.eval()


@pytest.fixture(scope="session")
def image_tower_folder(tiny_image_tower, tmp_path_factory) -> Path:
    """The tiny image tower, saved."""
    folder = tmp_path_factory.mktemp("models") / "tower"
    tiny_image_tower.to_sentence_transformer().save(str(folder))
    return folder
