"""Models of the library ``open_clip`` (Ilharco et al. 2021), turned into the same model of ``transformers``.

Models of the library's native design are supported: a vision and a text transformer, joined by projections.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kivuko.encoders.loading import PREFIX
from kivuko.errors import MissingDependencyError, ModelError

_BLOCK = {
    "ln_1.": "layer_norm1.", "ln_2.": "layer_norm2.", "mlp.c_fc.": "mlp.fc1.", "mlp.c_proj.": "mlp.fc2.",
    "attn.out_proj.": "self_attn.out_proj.",
}  # fmt: skip
_TEXT = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}
_VISION = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",  # spelled so in transformers
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
_RESBLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Heads:
    """The settings that the shapes of the weights do not show: attention heads and activation."""

    text: int
    vision: int
    activation: str  # "gelu" or "quick_gelu"


def load_open_clip(spec: str) -> tuple[Any, Any]:
    """Load a model of ``open_clip``: (CLIPModel, CLIPProcessor) of ``transformers``, float32 on the CPU."""
    try:
        import open_clip
    except ImportError as problem:
        raise MissingDependencyError(
            f"{PREFIX}{spec} needs open_clip and torchvision. Run: pip install 'kivuko[open_clip]'"
        ) from problem
    name, pretrained = (f"local-dir:{spec}", None) if Path(spec).is_dir() else (spec, None)
    if not Path(spec).is_dir() and not spec.startswith("hf-hub:"):
        name, _, pretrained = spec.partition("/")
        if not pretrained:
            raise ModelError(f"{PREFIX}{spec}: write it as MODEL/PRETRAINED, for example ViT-B-32/laion2b_s34b_b79k.")
    model = open_clip.create_model(name, pretrained=pretrained, precision="fp32", device="cpu").eval()
    tokenizer = open_clip.get_tokenizer(name)
    return _converted(model, tokenizer, f"{PREFIX}{spec}")


def _converted(model: Any, tokenizer: Any, name: str) -> tuple[Any, Any]:
    from transformers import CLIPImageProcessorPil, CLIPProcessor

    state = {key.removeprefix("text."): value for key, value in model.state_dict().items()}
    text = getattr(model, "text", model)
    try:
        first, seen = text.transformer.resblocks[0], model.visual.transformer.resblocks[0]
        quick = type(first.mlp.gelu).__name__ == "QuickGELU"
        heads = Heads(first.attn.num_heads, seen.attn.num_heads, "quick_gelu" if quick else "gelu")
        merges, vocabulary = [*tokenizer.bpe_ranks], dict(tokenizer.encoder)
    except AttributeError as problem:
        raise ModelError(f"{name}: not a vision and a text transformer of open_clip's own design.") from problem
    clip = clip_from_open_clip(state, heads, vocabulary["<end_of_text>"], name)
    side = int(clip.config.vision_config.image_size)
    pixels = CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side},
        image_mean=list(model.visual.image_mean), image_std=list(model.visual.image_std),
    )  # fmt: skip
    length = int(clip.config.text_config.max_position_embeddings)
    return clip, CLIPProcessor(pixels, _tokenizer(vocabulary, merges, length))


def _tokenizer(vocabulary: dict[str, int], merges: list[tuple[str, str]], length: int) -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer(
        vocab=vocabulary, merges=merges, model_max_length=length, bos_token="<start_of_text>",
        eos_token="<end_of_text>", unk_token="<end_of_text>", pad_token="<end_of_text>",
    )  # fmt: skip


def clip_from_open_clip(state: Mapping[str, Tensor], heads: Heads, end: int, name: str) -> Any:
    """Return the ``CLIPModel`` that computes what ``open_clip`` computes with these weights."""
    from transformers import CLIPConfig, CLIPModel

    try:
        config = CLIPConfig(**_shape(state, heads, end))
        renamed = _renamed(state)
    except (KeyError, ValueError, IndexError) as problem:
        raise ModelError(f"{name}: not a vision and a text transformer of open_clip's own design.") from problem
    model = CLIPModel(config)
    keys = model.load_state_dict(renamed, strict=False)
    lacking = [key for key in keys.missing_keys if not key.endswith("position_ids")]
    if lacking or keys.unexpected_keys:
        strange = (lacking + list(keys.unexpected_keys))[0]
        raise ModelError(f"{name}: its weights do not fit a CLIP ({strange}); models of other designs are not taken.")
    return model.eval()


def _shape(state: Mapping[str, Tensor], heads: Heads, end: int) -> dict[str, Any]:
    """Read a CLIPConfig's settings off the shapes of the weights."""
    patches = state["visual.positional_embedding"].shape[0] - 1
    width, _, patch, _ = state["visual.conv1.weight"].shape
    side = round(patches**0.5)
    if side * side != patches:
        raise ValueError("not a square of patches")

    def layers(prefix: str) -> int:
        return 1 + max(int(key.split(".")[2 if not prefix else 3]) for key in state if key.startswith(
            f"{prefix}transformer.resblocks."))  # fmt: skip

    vocabulary, text_width = state["token_embedding.weight"].shape
    return {
        "projection_dim": state["text_projection"].shape[1],
        "text_config": {
            "vocab_size": vocabulary, "hidden_size": text_width, "num_hidden_layers": layers(""),
            "intermediate_size": state["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
            "num_attention_heads": heads.text, "max_position_embeddings": state["positional_embedding"].shape[0],
            "hidden_act": heads.activation, "eos_token_id": end,
        },
        "vision_config": {
            "hidden_size": width, "num_hidden_layers": layers("visual."), "num_attention_heads": heads.vision,
            "intermediate_size": state["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
            "image_size": side * patch, "patch_size": patch, "hidden_act": heads.activation,
        },
    }  # fmt: skip


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {
        "text_projection.weight": state["text_projection"].T.contiguous(),
        "visual_projection.weight": state["visual.proj"].T.contiguous(),
    }
    for key, value in state.items():
        if key in ("text_projection", "visual.proj", "attn_mask"):
            continue
        if (place := _RESBLOCK.fullmatch(key)) is None:
            new = (_TEXT | _VISION).get(key, key)
            renamed[new] = value.reshape(()) if new == "logit_scale" else value
            continue
        seen, number, rest = place.groups()
        layer = f"{'vision' if seen else 'text'}_model.encoder.layers.{number}."
        if rest.startswith("attn.in_proj_"):
            kind = rest.removeprefix("attn.in_proj_")
            for part, own in zip("qkv", value.chunk(3), strict=True):
                renamed[f"{layer}self_attn.{part}_proj.{kind}"] = own.clone()
            continue
        old = next((old for old in _BLOCK if rest.startswith(old)), "")
        renamed[layer + (_BLOCK[old] + rest.removeprefix(old) if old else rest)] = value
    return {key: value.float() if torch.is_floating_point(value) else value for key, value in renamed.items()}
