"""Image towers: ``sentence-transformers`` folders that encode PIL images as vectors in the teacher's space."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import transformers
from PIL import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn

from kivuko.encoders.clip import load_clip, split_clip
from kivuko.encoders.loading import PREFIX, local_folder, model_kind
from kivuko.encoders.modules import dense_module, load_sentence_transformer, transformer_module
from kivuko.errors import ModelError, wrap_errors

Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]

PIXEL_MEAN, PIXEL_SPREAD = 0.5, 0.25


class SmallImageTower(nn.Module):
    """A small residual network with a linear head: 1.7 million parameters, for images of 64 x 64 pixels."""

    def __init__(self, dim: int, size: int = 64) -> None:
        super().__init__()
        self.size = size
        config = transformers.ResNetConfig(
            embedding_size=32, hidden_sizes=[48, 96, 192], depths=[1, 2, 2], layer_type="basic", hidden_act="relu"
        )
        self.body = transformers.ResNetModel(config)
        self.head = nn.Linear(config.hidden_sizes[-1], dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels, float [batch, 3, size, size] in 0-1, to unit vectors, float32 [batch, dim]."""
        features = self.body((pixels - PIXEL_MEAN) / PIXEL_SPREAD).last_hidden_state.mean((2, 3))
        return nn.functional.normalize(self.head(features).float(), dim=-1)

    def to_sentence_transformer(self) -> Any:
        """Return the same function as a ``SentenceTransformer`` that encodes PIL images."""
        processor = transformers.ViTImageProcessorPil(
            size={"height": self.size, "width": self.size}, image_mean=[PIXEL_MEAN] * 3, image_std=[PIXEL_SPREAD] * 3,
            resample=int(Image.Resampling.BILINEAR), do_convert_rgb=True,
        )  # fmt: skip
        body = transformer_module(self.body, processor, dtype=torch.float32)
        pooling = Pooling(self.head.in_features, pooling_mode="mean")
        return SentenceTransformer(modules=[body, pooling, dense_module(self.head), Normalize()], device="cpu")


def load_image_tower(source: str | Path, dim: int) -> Any:
    """Load an image tower, or the image side of a CLIP, in float32; its vectors must be ``dim`` wide."""
    name = str(source)
    place = name if name.startswith(PREFIX) else str(local_folder(name))
    if not (is_model := Path(place, "modules.json").is_file()) and model_kind(place) != "clip":
        raise ModelError(f"{source}: not an image tower (no modules.json in it, and no CLIP).")
    with wrap_errors(lambda reason: ModelError(f"{source}: not an image tower that loads ({reason}).")):
        if is_model:
            tower = load_sentence_transformer(place, torch.float32)
            tower = towers.image if (towers := split_clip(tower, name)) else tower
        else:
            tower = load_clip(place, name).image
        modalities = tower.modalities
    if "image" not in modalities:
        raise ModelError(f"{source}: encodes {', '.join(map(str, modalities))}, not images.")
    if tower.get_embedding_dimension() != dim:
        raise ModelError(f"{source}: its vectors are {tower.get_embedding_dimension()} wide, the teacher's {dim}.")
    return tower.eval()


def encode_images(model: Any, images: Sequence[Image.Image], batch_size: int = 64, progress: bool = False) -> Vectors:
    """Encode PIL images with an image tower or a model: unit vectors, float32 [images, dim]."""
    vectors = model.encode(list(images), batch_size=batch_size, normalize_embeddings=True, show_progress_bar=progress)
    return cast(Vectors, np.asarray(vectors, dtype=np.float32))
