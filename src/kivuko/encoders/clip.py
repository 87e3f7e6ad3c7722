"""CLIP-like models, split: the text tower as a teacher, the image tower as a model's image route.

CLIP and MetaCLIP 2 (arXiv 2103.00020) and SigLIP 1 and 2 (arXiv 2303.15343, 2502.14786), joined by linear projections,
of ``transformers``; models of ``open_clip``'s own design are turned into the same model of ``transformers`` first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor

from kivuko.encoders.loading import PREFIX
from kivuko.encoders.modules import dense_module, transformer_module
from kivuko.errors import MissingDependencyError, ModelError

CLIP_TYPES = ("clip", "metaclip_2")  # each tower has a projection without a bias
SIGLIP_TYPES = ("siglip", "siglip2")  # the projections are inside the towers; texts are padded to a fixed length
# Names of weights: those of open_clip, and what takes their place in transformers, one after the other.
_OPEN_CLIP_NAMES = {
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
    "transformer.resblocks.": "text_model.encoder.layers.",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.": "vision_model.embeddings.patch_embedding.",
    "visual.ln_pre.": "vision_model.pre_layrnorm.",  # spelled so in transformers
    "visual.ln_post.": "vision_model.post_layernorm.",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.": "text_model.embeddings.token_embedding.",
    "ln_final.": "text_model.final_layer_norm.",
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
    ".attn.out_proj.": ".self_attn.out_proj.",
}


@dataclass(frozen=True, eq=False)
class ClipTowers:
    """The two sides of one model, as SentenceTransformers on the CPU, float32."""

    text: Any  # tokens: last hidden states, normed and projected, [batch, length, dim]; a unit sentence vector
    image: Any  # ``get_image_features`` of the whole model, [images, dim], not normalized


def load_clip(source: str | Path, name: str) -> ClipTowers:
    """Load both towers of a CLIP-like model: a folder of ``transformers``, or a name of ``open_clip``."""
    if str(source).startswith(PREFIX):
        return take_apart(*load_open_clip(str(source).removeprefix(PREFIX)), name)
    folder = Path(source).absolute()  # a relative path may be taken for a hub id
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    processor = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    return take_apart(model, processor, name)


def split_clip(encoder: Any, name: str) -> ClipTowers | None:
    """Split a CLIP that sentence-transformers saved whole, as clip-ViT-B-32 is; None for every other encoder."""
    model = getattr(encoder[0], "model", None)
    if not all(hasattr(getattr(model, "config", None), side) for side in ("text_config", "vision_config")):
        return None
    return take_apart(model, encoder[0].processor, name)


def take_apart(model: Any, processor: Any, name: str) -> ClipTowers:
    """Split a loaded CLIP-like model of ``transformers``; the weights are copied."""
    kind = model.config.model_type
    if kind not in CLIP_TYPES + SIGLIP_TYPES:
        raise ModelError(
            f"{name}: a model of type '{kind}', whose text and image sides Kivuko cannot take apart. "
            f"Choose one of type {', '.join(CLIP_TYPES + SIGLIP_TYPES)}."
        )
    tokenizer, pixels = getattr(processor, "tokenizer", None), getattr(processor, "image_processor", None)
    if tokenizer is None or pixels is None:
        missing = "tokenizer" if tokenizer is None else "image processor"
        raise ModelError(f"{name}: has no {missing} with its weights. Fetch the whole model.")
    rows = model.text_model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:  # it would give noise, and no error
        raise ModelError(
            f"{name}: its tokenizer has {len(tokenizer):,} entries, its weights {rows:,}. "
            "They do not belong together; fetch both from one place."
        )
    return ClipTowers(_text_tower(model, processor, kind), _image_tower(model, pixels, kind))


def _text_tower(model: Any, processor: Any, kind: str) -> Any:
    length = int(model.config.text_config.max_position_embeddings)
    if kind in CLIP_TYPES:
        encoder = _encoder(model.text_model, processor.tokenizer, "forward", length)
        projection = model.text_projection
    else:  # the library loads no SigLIP text model by itself, so the image side stays with it
        encoder = _encoder(model, processor, "get_text_features", length)
        # SigLIP reads padding: it was trained on texts of one length, without a mask.
        padded = {"padding": "max_length", "max_length": length, "return_attention_mask": False}
        encoder.processing_kwargs = {"text": padded}
        projection = model.text_model.head
    # The projection is linear, so it may come before the choice of the position that represents the text.
    tokens = dense_module(projection, module_input_name="token_embeddings")
    pooling = Pooling(projection.out_features, pooling_mode="lasttoken")
    return SentenceTransformer(modules=[encoder, tokens, pooling, Normalize()], device="cpu").eval()


def _encoder(body: Any, texts: Any, method: str, length: int) -> Any:
    """Return the module that gives a text model's last hidden states; ``texts``: its tokenizer or processor."""
    return transformer_module(
        body, texts, one_side=method == "forward", max_seq_length=length, dtype=torch.float32,
        modality_config={"text": {"method": method, "method_output_name": "last_hidden_state"}},
        module_output_name="token_embeddings",
    )  # fmt: skip


def _image_tower(model: Any, pixels: Any, kind: str) -> Any:
    encoder = transformer_module(
        model.vision_model, pixels, one_side=True, dtype=torch.float32,
        modality_config={"image": {"method": "forward", "method_output_name": "pooler_output"}},
        module_output_name="sentence_embedding",
    )  # fmt: skip
    modules = [encoder, dense_module(model.visual_projection)] if kind in CLIP_TYPES else [encoder]
    return SentenceTransformer(modules=modules, device="cpu").eval()


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
    pixels = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side},
        image_mean=list(model.visual.image_mean), image_std=list(model.visual.image_std),
    )  # fmt: skip
    length = int(clip.config.text_config.max_position_embeddings)
    return clip, transformers.CLIPProcessor(pixels, _tokenizer(vocabulary, merges, length))


def _tokenizer(vocabulary: dict[str, int], merges: list[tuple[str, str]], length: int) -> Any:
    return transformers.CLIPTokenizer(
        vocab=vocabulary, merges=merges, model_max_length=length, bos_token="<start_of_text>",
        eos_token="<end_of_text>", unk_token="<end_of_text>", pad_token="<end_of_text>",
    )  # fmt: skip


def clip_from_open_clip(state: Mapping[str, Tensor], heads: Heads, end: int, name: str) -> Any:
    """Return the ``CLIPModel`` that computes what ``open_clip`` computes with these weights."""
    try:
        config = transformers.CLIPConfig(**_shape(state, heads, end))
        renamed = _renamed(state)
    except (KeyError, ValueError, IndexError) as problem:
        raise ModelError(f"{name}: not a vision and a text transformer of open_clip's own design.") from problem
    model = transformers.CLIPModel(config)
    keys = model.load_state_dict(renamed, strict=False)
    lacking = [key for key in keys.missing_keys if not key.endswith("position_ids")]
    if lacking or keys.unexpected_keys:
        strange = (lacking + list(keys.unexpected_keys))[0]
        raise ModelError(f"{name}: its weights do not fit a CLIP ({strange}); models of other designs are not taken.")
    return model.eval()


def _shape(state: Mapping[str, Tensor], heads: Heads, end: int) -> dict[str, Any]:
    """Read a CLIPConfig's settings off the shapes of the weights."""
    patches = state["visual.positional_embedding"].shape[0] - 1
    patch, side = state["visual.conv1.weight"].shape[2], round(patches**0.5)
    if side * side != patches:
        raise ValueError("not a square of patches")

    def network(prefix: str, width: int, count: int) -> dict[str, Any]:
        layers = {key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)}
        return {
            "hidden_size": width, "num_hidden_layers": len(layers), "num_attention_heads": count,
            "intermediate_size": state[f"{prefix}0.mlp.c_fc.weight"].shape[0], "hidden_act": heads.activation,
        }  # fmt: skip

    vocabulary, width = state["token_embedding.weight"].shape
    text = network("transformer.resblocks.", width, heads.text)
    text |= {"vocab_size": vocabulary, "max_position_embeddings": len(state["positional_embedding"])}
    vision = network("visual.transformer.resblocks.", len(state["visual.conv1.weight"]), heads.vision)
    return {
        "projection_dim": state["text_projection"].shape[1],
        "text_config": text | {"eos_token_id": end},
        "vision_config": vision | {"image_size": side * patch, "patch_size": patch},
    }


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {
        "text_projection.weight": state["text_projection"].T.contiguous(),
        "visual_projection.weight": state["visual.proj"].T.contiguous(),
    }
    for key, value in state.items():
        if key in ("text_projection", "visual.proj", "attn_mask"):
            continue
        name = key
        for old, new in _OPEN_CLIP_NAMES.items():
            name = name.replace(old, new)
        if ".attn.in_proj_" in name:
            for part, own in zip("qkv", value.chunk(3), strict=True):
                renamed[name.replace(".attn.in_proj_", f".self_attn.{part}_proj.")] = own.clone()
        else:
            renamed[name] = value.reshape(()) if key == "logit_scale" else value
    return {key: value.float() if torch.is_floating_point(value) else value for key, value in renamed.items()}
