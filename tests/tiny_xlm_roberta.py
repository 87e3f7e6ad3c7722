"""An XLM-RoBERTa for tests: random weights, whole words and letters, in Hugging Face's own layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch


def save_xlm_roberta(folder: Path, words: Sequence[str], *, seed: int = 0) -> Path:
    """Save a model of width 24 whose pieces are ``words`` and their letters; returns the folder."""
    from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizer

    letters = sorted({letter for word in words for letter in word})
    pieces = ["▁" + word for word in words] + ["▁", *letters]
    vocabulary = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    vocabulary += [(piece, -2.0 if piece.startswith("▁") else -6.0) for piece in pieces]
    vocabulary += [("<mask>", 0.0)]
    XLMRobertaTokenizer(vocab=vocabulary).save_pretrained(folder)
    torch.manual_seed(seed)
    config = XLMRobertaConfig(
        vocab_size=len(vocabulary), hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=26, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    XLMRobertaModel(config).save_pretrained(folder)
    return folder
