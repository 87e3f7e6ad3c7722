"""Several vectors of one image: the cells of an image tower's feature map, in the space of its vectors.

For late interaction between the tokens of a text and the parts of an image, see :mod:`kivuko.encoders.maxsim`. Where a
tower averages its cells and projects the average linearly, projecting each cell first changes nothing but the order, so
the mean of the cells before normalization is the tower's vector before normalization. Where it reads a token of its own
(ViT, CLIP), the cells go through what that token goes through: they lie in its space, but nothing trained them to mean
what they show (Zhou, Loy and Dai 2022, "Extract Free Dense Labels from CLIP", arXiv 2112.01071).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from kivuko.errors import ModelError, UsageError

_Cells = Callable[[dict[str, Any]], Tensor]  # features of a batch -> [images, cells, width], the grid row by row


@torch.no_grad()
def encode_image_cells(
    tower: Any, images: Sequence[Image.Image], *, grid: int | None = None, normalize: bool = True, batch_size: int = 64
) -> Tensor:
    """Encode PIL images into one vector per cell of the feature map.

    ``grid``: cells per side after averaging neighbors; it must divide the sides of the map. None: the map itself.
    Returns float32 [images, cells, dim], on the tower's device; a cell's neighbor in its row follows it.
    """
    modules = _image_route(tower)
    cells_of = _cells_of(modules)
    batches = [torch.empty(0, 0, int(tower.get_embedding_dimension() or 0))]
    for start in range(0, len(images), batch_size):
        features = modules[0].preprocess(list(images[start : start + batch_size]))
        features = {
            key: value.to(tower.device) if isinstance(value, Tensor) else value for key, value in features.items()
        }
        cells = cells_of(features).float()
        if grid is not None:
            cells = _averaged(cells, _sides(cells.shape[1], features["pixel_values"]), grid)
        batches.append(F.normalize(cells, dim=-1) if normalize else cells)
    return torch.cat(batches[1:]) if images else batches[0]


def _image_route(tower: Any) -> list[Any]:
    router = tower[0]
    if not hasattr(router, "sub_modules"):
        return list(tower)
    if "image" not in router.sub_modules:
        raise ModelError("this model encodes text only: it has no image cells.")
    return [*router.sub_modules["image"], *list(tower)[1:]]


def _cells_of(modules: list[Any]) -> _Cells:
    """Return what computes the cells in the space of the tower's vectors."""
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    body, *rest = modules
    network = getattr(body, "model", None)
    if not isinstance(body, Transformer) or network is None:
        raise ModelError(f"the image tower begins with {type(body).__name__}, which gives no cells.")
    if rest and isinstance(rest[-1], Normalize):
        rest = rest[:-1]
    pooling = rest.pop(0) if rest and isinstance(rest[0], Pooling) else None
    if strange := [type(module).__name__ for module in rest if not _is_linear(module)]:
        raise ModelError(f"the image tower has a {strange[0]} that is not linear: its cells lie in another space.")
    if pooling is not None and pooling.pooling_mode in ("mean", "cls"):
        return lambda features: _projected(_patches(body(features)["token_embeddings"], features, network), rest)
    vision = getattr(network, "vision_model", None)
    if pooling is None and hasattr(vision, "post_layernorm") and hasattr(network, "visual_projection"):
        return lambda features: _projected(_clip_cells(network, features), rest)
    raise ModelError(f"the image tower ({type(network).__name__}) gives no cells in the space of its vectors.")


def _clip_cells(network: Any, features: dict[str, Any]) -> Tensor:
    """Send CLIP's last hidden states through the layer norm and the projection of its class token."""
    states = network.vision_model(pixel_values=features["pixel_values"]).last_hidden_state
    cells = network.visual_projection(network.vision_model.post_layernorm(_patches(states, features, network)))
    return torch.as_tensor(cells)


def _is_linear(module: Any) -> bool:
    return isinstance(getattr(module, "linear", None), nn.Linear) and isinstance(
        getattr(module, "activation_function", None), nn.Identity
    )


def _projected(cells: Tensor, modules: list[Any]) -> Tensor:
    for module in modules:
        cells = module({module.module_input_name: cells})[module.module_output_name]
    return cells


def _patches(states: Tensor, features: dict[str, Any], network: Any) -> Tensor:
    """Leave out the tokens before the patches [images, tokens, width]: class, distillation and register tokens."""
    config = getattr(network.config, "vision_config", network.config)
    patch = getattr(config, "patch_size", None)
    if not isinstance(patch, int):  # a convolutional network has cells only
        return states
    height, width = features["pixel_values"].shape[-2:]
    cells = (height // patch) * (width // patch)
    if states.shape[1] < cells:
        raise ModelError(f"the image tower gives {states.shape[1]} token states for {cells} patches.")
    return states[:, states.shape[1] - cells :]


def _sides(cells: int, pixels: Tensor) -> tuple[int, int]:
    """Return (rows, columns) of a map of so many cells that covers pixels [images, 3, height, width]."""
    height, width = pixels.shape[-2:]
    rows = max(1, round((cells * height / width) ** 0.5))
    if cells % rows:
        raise UsageError(f"{cells} cells make no grid over {height} x {width} pixels; leave out the grid.")
    return rows, cells // rows


def _averaged(cells: Tensor, sides: tuple[int, int], grid: int) -> Tensor:
    """Average neighboring cells [images, cells, dim] down to [images, grid * grid, dim]."""
    rows, columns = sides
    if grid < 1 or rows % grid or columns % grid:
        raise UsageError(f"a grid of {grid} does not divide a feature map of {rows} x {columns} cells.")
    return F.adaptive_avg_pool2d(cells.transpose(1, 2).unflatten(2, sides), grid).flatten(2).transpose(1, 2)
