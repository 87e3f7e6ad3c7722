"""The image side of a model for indexing: image preparation, done by the workers, and the forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kivuko.errors import ModelError
from kivuko.search.decoding import Prepare, raw_pixels

Tensors = dict[str, NDArray[Any]]


class ImageEncoder(Protocol):
    """An encoder of prepared images."""

    @property
    def fingerprint(self) -> str: ...  # a hash that identifies the vector space

    @property
    def dim(self) -> int: ...

    @property
    def prepare(self) -> Prepare: ...  # from an RGB image to the tower's input, with a leading axis of 1; pickled

    def encode(self, prepared: Sequence[Tensors]) -> NDArray[np.float32]:
        """Return unit vectors of prepared images, float32 [images, dim]."""
        ...


@dataclass(frozen=True)
class ProcessorPreparation:
    """Prepare images with a tower's own image processor, as numpy arrays."""

    processor: Any

    @property
    def preload(self) -> str:  # the module to import once for all workers
        return type(self.processor).__module__

    def __call__(self, image: Image.Image) -> Tensors:
        tensors = self.processor(images=[image], return_tensors="np")
        return {name: np.ascontiguousarray(value) for name, value in tensors.items()}


class TowerEncoder:
    """The image side of a loaded model or image tower; ModelError if it encodes no images."""

    def __init__(self, model: Any) -> None:
        from kivuko.encoders.loading import image_fingerprint
        from kivuko.encoders.model import has_images

        if not has_images(model):
            raise ModelError("this model encodes text only, so it cannot index images. Distill it with an image tower.")
        self._model = model
        self.fingerprint = image_fingerprint(model)
        self.dim = int(model.get_embedding_dimension())
        self._constant: dict[str, Any] = {}  # what the tower's preparation adds for any image
        self.prepare: Prepare = self._preparation()

    def encode(self, prepared: Sequence[Tensors]) -> NDArray[np.float32]:
        if isinstance(self.prepare, ProcessorPreparation):
            vectors = self._forward(prepared)
        else:
            from kivuko.encoders.image_tower import encode_images

            images = [Image.fromarray(one["pixels"][0]) for one in prepared]
            vectors = encode_images(self._model, images, batch_size=len(images))
        if not np.isfinite(vectors).all() or not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3):
            raise ModelError("the model gives vectors that are not numbers (NaN) or zero. Distill the model again.")
        return vectors

    def _forward(self, prepared: Sequence[Tensors]) -> NDArray[np.float32]:
        import torch

        vectors = np.empty((len(prepared), self.dim), dtype=np.float32)
        by_shape: dict[tuple[Any, ...], list[int]] = {}
        for place, one in enumerate(prepared):  # some towers keep the proportions: then shapes differ
            by_shape.setdefault(tuple((name, value.shape) for name, value in one.items()), []).append(place)
        self._model.eval()
        with torch.inference_mode():
            for places in by_shape.values():
                features = {
                    name: value.to(self._model.device) if isinstance(value, torch.Tensor) else value
                    for name, value in self._constant.items()
                }
                for name in prepared[places[0]]:
                    stacked = np.concatenate([prepared[place][name] for place in places])
                    features[name] = torch.from_numpy(stacked).to(self._model.device)
                encoded = self._model(features)["sentence_embedding"]
                vectors[places] = torch.nn.functional.normalize(encoded, dim=1).float().cpu().numpy()
        return vectors

    def _preparation(self) -> Prepare:
        """Return the tower's image processor if it alone prepares images, as tested on two unlike ones; else pixels."""
        import torch

        side = self._model[0].sub_modules["image"] if hasattr(self._model[0], "sub_modules") else self._model
        processor = getattr(side[0], "processor", None)
        processor = getattr(processor, "image_processor", processor)  # of a CLIP, the part that is for images
        if processor is None:
            return raw_pixels
        candidate = ProcessorPreparation(processor)
        random = np.random.default_rng(0)
        for size in ((40, 60, 3), (90, 50, 3)):
            image = Image.fromarray(random.integers(0, 256, size, dtype=np.uint8))
            try:
                own, expected = candidate(image), dict(self._model.preprocess([image]))
            except Exception:  # it takes more than images; the model itself knows what
                return raw_pixels
            tensors = {name: value.numpy() for name, value in expected.items() if isinstance(value, torch.Tensor)}
            if own.keys() != tensors.keys() or not all(np.array_equal(own[name], tensors[name]) for name in own):
                return raw_pixels
            self._constant = {name: value for name, value in expected.items() if name not in tensors}
        return cast(Prepare, candidate)
