"""CLIP-like models of ``transformers``, split: the text tower as a teacher, the image tower as a model's image route.

CLIP and MetaCLIP 2 (arXiv 2103.00020) and SigLIP 1 and 2 (arXiv 2303.15343, 2502.14786), joined by linear projections.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kivuko.encoders.loading import PREFIX
from kivuko.encoders.open_clip import load_open_clip
from kivuko.errors import ModelError

CLIP_TYPES = ("clip", "metaclip_2")  # each tower has a projection without a bias
SIGLIP_TYPES = ("siglip", "siglip2")  # the projections are inside the towers; texts are padded to a fixed length


@dataclass(frozen=True, eq=False)
class ClipTowers:
    """The two sides of one model, as SentenceTransformers on the CPU, float32."""

    text: Any  # tokens: last hidden states, normed and projected, [batch, length, dim]; a unit sentence vector
    image: Any  # ``get_image_features`` of the whole model, [images, dim], not normalized


def is_clip(config: Any) -> bool:
    """Return True for the ``transformers`` configuration of a model with a text and an image side."""
    return hasattr(config, "text_config") and hasattr(config, "vision_config")


def load_clip(source: str | Path, name: str) -> ClipTowers:
    """Load both towers of a CLIP-like model: a hub id, a folder of ``transformers``, or one of ``open_clip``."""
    from transformers import AutoModel, AutoProcessor

    if str(source).startswith(PREFIX):
        return take_apart(*load_open_clip(str(source).removeprefix(PREFIX)), name)
    model = AutoModel.from_pretrained(str(source), dtype=torch.float32)
    return take_apart(model, AutoProcessor.from_pretrained(str(source)), name)


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
    _check_vocabulary(model, tokenizer, name)
    return ClipTowers(_text_tower(model, processor, kind), _image_tower(model, pixels, kind))


def _check_vocabulary(model: Any, tokenizer: Any, name: str) -> None:
    """Refuse a tokenizer with numbers past the weights' table: it gives noise, and no error."""
    rows = model.text_model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ModelError(
            f"{name}: its tokenizer has {len(tokenizer):,} entries, its weights {rows:,}. "
            "They do not belong together; fetch both from one place."
        )


def _text_tower(model: Any, processor: Any, kind: str) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling

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
    tokens = _dense(projection, "token_embeddings")
    pooling = Pooling(projection.out_features, pooling_mode="lasttoken")
    return SentenceTransformer(modules=[encoder, tokens, pooling, Normalize()], device="cpu").eval()


def _encoder(body: Any, texts: Any, method: str, length: int) -> Any:
    """Return the module that gives a text model's last hidden states; ``texts``: its tokenizer or processor."""
    from sentence_transformers.base.modules import Transformer

    with tempfile.TemporaryDirectory() as folder:
        body.save_pretrained(folder)
        texts.save_pretrained(folder)
        if method == "forward":
            _forget_whole(Path(folder))
        return Transformer(
            folder, max_seq_length=length, model_kwargs={"dtype": torch.float32},
            modality_config={"text": {"method": method, "method_output_name": "last_hidden_state"}},
            module_output_name="token_embeddings",
        )  # fmt: skip


def _image_tower(model: Any, pixels: Any, kind: str) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer

    with tempfile.TemporaryDirectory() as folder:
        model.vision_model.save_pretrained(folder)
        pixels.save_pretrained(folder)
        _forget_whole(Path(folder))
        encoder = Transformer(
            folder, model_kwargs={"dtype": torch.float32},
            modality_config={"image": {"method": "forward", "method_output_name": "pooler_output"}},
            module_output_name="sentence_embedding",
        )  # fmt: skip
    modules = [encoder, _dense(model.visual_projection, "sentence_embedding")] if kind in CLIP_TYPES else [encoder]
    return SentenceTransformer(modules=modules, device="cpu").eval()


def _forget_whole(folder: Path) -> None:
    """Take out of a saved tokenizer or image processor the name of the class that joined it with the other side."""
    for name in ("tokenizer_config.json", "preprocessor_config.json"):
        if (file := folder / name).is_file():
            settings = json.loads(file.read_text(encoding="utf-8"))
            settings.pop("processor_class", None)
            file.write_text(json.dumps(settings, indent=1, ensure_ascii=False), encoding="utf-8")


def _dense(linear: nn.Linear, feature: str) -> Any:
    from sentence_transformers.base.modules import Dense

    dense = Dense(
        linear.in_features, linear.out_features, bias=linear.bias is not None, activation_function=nn.Identity(),
        module_input_name=feature,
    )  # fmt: skip
    dense.linear.load_state_dict(linear.state_dict())
    return dense.float()
