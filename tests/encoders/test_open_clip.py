"""Weights in open_clip's layout, turned into a CLIP of transformers, held against a reference that reads that layout.

The reference is written from the published architecture with torch's own attention, for open_clip itself needs a
torchvision that is not to be had for every torch. Held against open_clip 3.3 itself, once, texts and images agreed to
1e-6.
"""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from kivuko.encoders.clip import Heads, _tokenizer, clip_from_open_clip, take_apart
from kivuko.encoders.teacher import load_teacher
from kivuko.errors import MissingDependencyError, ModelError

WIDTH, SEEN, DIM, LENGTH, SIDE, PATCH, END = 32, 24, 20, 12, 32, 8, 39


class QuickGELU(nn.Module):
    """The activation of OpenAI's models."""

    def forward(self, x):
        """Return x sigmoid(1.702 x)."""
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """A residual attention block; ``attn`` keeps queries, keys and values in one matrix, as open_clip does."""

    def __init__(self, width, heads, activation):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential()
        for name, module in (("c_fc", nn.Linear(width, 3 * width)), ("gelu", activation()),
                             ("c_proj", nn.Linear(3 * width, width))):  # fmt: skip
            self.mlp.add_module(name, module)

    def forward(self, x, mask=None):
        """See the class."""
        seen = self.ln_1(x)
        x = x + self.attn(seen, seen, seen, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Stack(nn.Module):
    """Blocks under the name that open_clip gives them."""

    def __init__(self, *blocks):
        super().__init__()
        self.resblocks = nn.ModuleList(blocks)

    def forward(self, x, mask=None):
        """See the class."""
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Vision(nn.Module):
    """The vision transformer."""

    def __init__(self, activation):
        super().__init__()
        self.conv1 = nn.Conv2d(3, SEEN, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(SEEN))
        self.positional_embedding = nn.Parameter(torch.randn((SIDE // PATCH) ** 2 + 1, SEEN))
        self.ln_pre, self.ln_post = nn.LayerNorm(SEEN), nn.LayerNorm(SEEN)
        self.transformer = Stack(*(Block(SEEN, 3, activation) for _ in range(3)))
        self.proj = nn.Parameter(torch.randn(SEEN, DIM))

    def forward(self, pixels):
        """[images, 3, side, side] -> [images, dim]."""
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(x))[:, 0]) @ self.proj


class Reference(nn.Module):
    """A CLIP in open_clip's layout."""

    def __init__(self, activation=nn.GELU):
        super().__init__()
        self.visual = Vision(activation)
        self.token_embedding = nn.Embedding(END + 1, WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(LENGTH, WIDTH))
        self.transformer = Stack(*(Block(WIDTH, 2, activation) for _ in range(2)))
        self.ln_final = nn.LayerNorm(WIDTH)
        self.text_projection = nn.Parameter(torch.randn(WIDTH, DIM))
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def encode_text(self, ids):
        """int64 [texts, length] -> [texts, dim], at the largest number, which ends a text."""
        mask = torch.full((ids.shape[1], ids.shape[1]), float("-inf")).triu(1)
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        x = self.ln_final(self.transformer(x, mask))
        return x[torch.arange(len(x)), ids.argmax(-1)] @ self.text_projection


@pytest.fixture(params=[(nn.GELU, "gelu"), (QuickGELU, "quick_gelu")], ids=["gelu", "quick_gelu"])
def both(request):
    activation, name = request.param
    torch.manual_seed(0)
    reference = Reference(activation).eval()
    return reference, clip_from_open_clip(reference.state_dict(), Heads(2, 3, name), END, "tiny")


@torch.no_grad()
def test_texts_and_images_are_the_references(both):
    reference, clip = both
    ids = torch.tensor([[1, 5, 6, END, 0, 0], [1, 7, END, 0, 0, 0], [1, 8, 9, 10, 11, END]])
    result = clip.get_text_features(input_ids=ids).pooler_output
    torch.testing.assert_close(result, reference.encode_text(ids), atol=1e-5, rtol=1e-5)
    pixels = torch.rand(3, 3, SIDE, SIDE)
    result = clip.get_image_features(pixel_values=pixels).pooler_output
    torch.testing.assert_close(result, reference.visual(pixels), atol=1e-5, rtol=1e-5)


def test_it_is_a_teacher_with_a_tokenizer_made_of_open_clips_words(both):
    from transformers import CLIPImageProcessorPil, CLIPProcessor

    _, clip = both
    letters = "abcdefghijklmnopqr"
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "cat</w>", "<start_of_text>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)} | {"<end_of_text>": END}
    tokenizer = _tokenizer(vocabulary, [], LENGTH)
    assert tokenizer("cab")["input_ids"] == [vocabulary[p] for p in ("<start_of_text>", "c", "a", "b</w>")] + [END]
    pixels = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    towers = take_apart(clip, CLIPProcessor(pixels, tokenizer), "tiny")
    ids = torch.tensor([tokenizer("cab")["input_ids"]])
    expected = nn.functional.normalize(clip.get_text_features(input_ids=ids).pooler_output, dim=-1)
    torch.testing.assert_close(towers.text.encode(["cab"], convert_to_tensor=True), expected, atol=1e-5, rtol=0)


def test_other_designs_are_refused():
    state = dict(Reference().state_dict())
    lacking = {key: value for key, value in state.items() if key != "visual.conv1.weight"}
    with pytest.raises(ModelError, match="tiny: not a vision and a text transformer"):
        clip_from_open_clip(lacking, Heads(2, 3, "gelu"), END, "tiny")
    pooled = state | {"visual.attn_pool.query": torch.zeros(3)}
    with pytest.raises(ModelError, match="do not fit a CLIP"):
        clip_from_open_clip(pooled, Heads(2, 3, "gelu"), END, "tiny")


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'kivuko\[open_clip\]'"):
        load_teacher("open_clip:ViT-B-32/laion2b_s34b_b79k")
