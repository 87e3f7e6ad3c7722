"""An image tower as a differentiable function of pixels on the scale 0-1, which is where attacks have their budget."""

import copy
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kivuko.errors import ModelError
from kivuko.perturbations.catalog import LEVELS
from kivuko.vectors import rescaled

BATCH = 128  # images that go through the tower together


class PixelTower:
    """Pixels to unit vectors: float32 [images, 3, height, width] in 0-1 -> float32 [images, dim].

    The pixels are those that the network sees, after the model's own resizing and before its normalization. The weights
    are a frozen copy of the model's, batch normalization folded into the convolutions before it.
    """

    def __init__(self, model: Any) -> None:
        route = image_route(model)
        self._preprocess = route[0].preprocess
        self.network = FrozenRoute(route)
        self.device = next(self.network.parameters()).device
        self.mean, self.spread = (one.to(self.device) for one in _normalization(route[0]))

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """Resize images as the model does: float32 [images, 3, height, width], whole steps of 1/255."""
        normalized = self._preprocess(list(images))["pixel_values"].float().cpu()
        pixels: Tensor = on_levels((normalized * self.spread.cpu() + self.mean.cpu()).clamp(0, 1))
        return pixels.contiguous(memory_format=torch.channels_last)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Encode pixels; differentiable. The vectors are on the device of the pixels."""
        vectors: Tensor = self.network((pixels.to(self.device) - self.mean) / self.spread)
        return vectors.to(pixels.device)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Encode pixels in batches, without gradients."""
        return torch.cat([self(part) for part in pixels.split(BATCH)])


class FrozenRoute(nn.Module):
    """A frozen, faster copy of an image route: normalized pixels to unit vectors."""

    def __init__(self, route: Sequence[nn.Module]) -> None:
        super().__init__()
        self.route = nn.ModuleList(copy.deepcopy(list(route)))
        self.eval().requires_grad_(False)
        fold_batch_norms(self)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, normalized: Tensor) -> Tensor:
        """Map float [images, 3, height, width] to unit vectors, float32 [images, dim]."""
        return run_route(self.route, normalized)


def run_route(route: Sequence[nn.Module] | nn.ModuleList, normalized: Tensor) -> Tensor:
    """Send normalized pixels through the modules of an image route: unit vectors, float32 [images, dim]."""
    features: dict[str, Any] = {"pixel_values": normalized, "modality": "image"}
    for module in route:
        features = module(features)
    return F.normalize(rescaled(features["sentence_embedding"].float()), dim=-1)


def image_route(model: Any) -> list[Any]:
    """Return the modules of a model that images go through, in order."""
    first = model[0]
    if hasattr(first, "sub_modules"):
        if "image" not in first.sub_modules:
            raise ModelError("this model encodes text only: there are no pixels to attack.")
        return [*first.sub_modules["image"], *list(model)[1:]]
    if "image" not in model.modalities:
        raise ModelError("this model encodes text only: there are no pixels to attack.")
    return list(model)


def on_levels(pixels: Tensor) -> Tensor:
    """Round pixels on the scale 0-1 to what an 8-bit image can hold."""
    return (pixels * LEVELS).round() / LEVELS


def fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch normalization into the convolution right before it, in place; a network in evaluation mode."""
    for parent in module.modules():
        children = list(parent.named_children())
        for (name, one), (after, norm) in itertools.pairwise(children):
            if isinstance(one, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats:
                setattr(parent, name, fuse_conv_bn_eval(one, norm))
                setattr(parent, after, nn.Identity())


def _normalization(body: Any) -> tuple[Tensor, Tensor]:
    """Return the mean and the spread that preprocessing takes off, float32 [3, 1, 1] each."""
    processor = getattr(body, "processor", None)
    processor = getattr(processor, "image_processor", processor)
    if not getattr(processor, "do_normalize", False):
        return torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    mean, spread = getattr(processor, "image_mean", None), getattr(processor, "image_std", None)
    if mean is None or spread is None or len(mean) != 3 or len(spread) != 3:
        raise ModelError("the model's preprocessing is not a normalization of three channels: it cannot be attacked.")
    return torch.tensor(mean).float()[:, None, None], torch.tensor(spread).float()[:, None, None]
