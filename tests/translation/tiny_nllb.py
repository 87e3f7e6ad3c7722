"""A random model in NLLB's layout: an M2M100 network and an NLLB tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

PIECES = ["▁", *"abcdefghijklmnop", "▁paka", "▁cat"]


def save_nllb(place: Path, codes: Sequence[str]) -> Path:
    """Write one that knows languages by these codes."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    vocabulary = {piece: n for n, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", *PIECES])}
    tokenizer = NllbTokenizer(vocab=vocabulary, merges=[], additional_special_tokens=list(codes))
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2,
    )  # fmt: skip
    M2M100ForConditionalGeneration(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place
