"""CLIP-like models for tests: random weights, in Hugging Face's own layout, with the tokenizers that they have."""

from __future__ import annotations

import string
from pathlib import Path

import torch

TEXTS = ["a Ferry crosses the river", "cat", "two cats, one boat; a very long text goes on and on past the limit" * 2]
SIDE, LENGTH, WIDTH, DIM = 32, 16, 32, 24
_SMALL = {"hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
_CHARACTERS = string.ascii_lowercase + string.digits + ",;."


def save_clip(folder: Path, *, legacy_end: bool = False, seed: int = 0) -> Path:
    """Save a CLIP of vectors [24]; ``legacy_end``: with the wrong end-of-text number that old checkpoints carry."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

    pieces = [*_CHARACTERS, *(f"{letter}</w>" for letter in _CHARACTERS), "ca", "cat</w>"]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[("c", "a"), ("ca", "t</w>")], model_max_length=LENGTH)
    start, end = len(vocabulary) - 2, len(vocabulary) - 1
    config = CLIPConfig(
        text_config={**_SMALL, "vocab_size": len(vocabulary), "max_position_embeddings": LENGTH,
                     "bos_token_id": start, "eos_token_id": 2 if legacy_end else end},
        vision_config={**_SMALL, "image_size": SIDE, "patch_size": 8}, projection_dim=DIM,
    )  # fmt: skip
    torch.manual_seed(seed)
    CLIPModel(config).save_pretrained(folder)
    pixels = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    CLIPProcessor(pixels, tokenizer).save_pretrained(folder)
    return folder


def save_siglip(folder: Path, *, seed: int = 0) -> Path:
    """Save a SigLIP of vectors [32], with a SentencePiece vocabulary."""
    import sentencepiece
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel, SiglipProcessor, SiglipTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text.lower() for text in TEXTS] * 20), model_prefix=str(folder / "spiece"),
        vocab_size=60, hard_vocab_limit=False, unk_id=2, bos_id=-1, eos_id=1, pad_id=0, minloglevel=2,
    )  # fmt: skip
    tokenizer = SiglipTokenizer(str(folder / "spiece.model"), model_max_length=LENGTH)
    config = SiglipConfig(
        text_config={**_SMALL, "vocab_size": len(tokenizer), "max_position_embeddings": LENGTH},
        vision_config={**_SMALL, "image_size": SIDE, "patch_size": 8},
    )
    torch.manual_seed(seed)
    SiglipModel(config).save_pretrained(folder)
    SiglipProcessor(SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}), tokenizer).save_pretrained(folder)
    return folder


def save_siglip2(folder: Path, *, seed: int = 0) -> Path:
    """Save a SigLIP 2 of vectors [32] that reads images at their own shape (NaFlex)."""
    from transformers import (
        Siglip2Config,
        Siglip2ImageProcessorPil,
        Siglip2Model,
        Siglip2Processor,
        Siglip2Tokenizer,
    )

    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *_CHARACTERS]
    tokenizer = Siglip2Tokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[], model_max_length=LENGTH,
        padding_side="right",
    )  # fmt: skip
    config = Siglip2Config(
        text_config={
            **_SMALL,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": LENGTH,
            "projection_size": WIDTH,
        },
        vision_config={**_SMALL, "patch_size": 16, "num_patches": 256},
    )
    torch.manual_seed(seed)
    Siglip2Model(config).save_pretrained(folder)
    pixels = Siglip2ImageProcessorPil(patch_size=16, max_num_patches=256)
    Siglip2Processor(pixels, tokenizer).save_pretrained(folder)
    return folder


MAKERS = {"clip": save_clip, "siglip": save_siglip, "siglip2": save_siglip2}
