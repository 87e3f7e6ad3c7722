"""A real tower: its own preparation is done in the workers, and vectors equal what the model itself gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_encoder import image, write_images

from kivuko.encoders.image_tower import SmallImageTower, encode_images
from kivuko.encoders.images import as_rgb
from kivuko.encoders.loading import image_fingerprint
from kivuko.errors import ModelError
from kivuko.search.decoding import ProcessorPreparation, raw_pixels
from kivuko.search.encoding import TowerEncoder
from kivuko.search.sources import FolderSource


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    return SmallImageTower(12, size=32).eval().to_sentence_transformer()


def test_an_index_holds_the_vectors_of_encode_images(build, tower, tmp_path):
    photos = write_images(tmp_path / "photos", range(1, 8))
    image(20, (70, 30)).save(photos / "wide.jpg")
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40, 4), dtype=np.uint8)).save(photos / "clear.png")
    _, store = build(FolderSource(photos), encoder=TowerEncoder(tower), storage="float32")
    for item in store.items(store.ids()):
        with Image.open(photos / item.key) as opened:
            alone = encode_images(tower, [as_rgb(opened)])[0]
        np.testing.assert_allclose(store.vector(item.id), alone, atol=1e-5)
    assert store.fingerprint == image_fingerprint(tower)


def test_the_workers_do_the_towers_preparation(tower):
    encoder = TowerEncoder(tower)
    assert isinstance(encoder.prepare, ProcessorPreparation)
    prepared = encoder.prepare(image(1))
    assert {name: value.shape for name, value in prepared.items()} == {"pixel_values": (1, 3, 32, 32)}
    assert encoder.prepare.preload.startswith("transformers.")


def test_a_preparation_that_is_not_the_processors_alone_is_left_to_the_model(tower, monkeypatch):
    own = tower.preprocess
    monkeypatch.setattr(tower, "preprocess", lambda images, **rest: own([one.rotate(90) for one in images], **rest))
    encoder = TowerEncoder(tower)
    assert encoder.prepare is raw_pixels
    images = [image(1), image(2, (50, 20))]
    np.testing.assert_allclose(
        encoder.encode([raw_pixels(one) for one in images]), encode_images(tower, images), atol=1e-5
    )


def test_images_prepared_to_unlike_shapes_are_encoded_apart(tower):
    encoder = TowerEncoder(tower)
    prepared = [encoder.prepare(image(number)) for number in range(4)]
    larger = {"pixel_values": np.repeat(np.repeat(prepared[1]["pixel_values"], 2, 2), 2, 3)}
    mixed = encoder.encode([prepared[0], larger, prepared[2], prepared[3]])
    np.testing.assert_allclose(mixed[[0, 2, 3]], encoder.encode(prepared)[[0, 2, 3]], atol=1e-5)


def test_models_that_cannot_be_used_are_refused(tower, monkeypatch):
    encoder = TowerEncoder(tower)
    with pytest.raises(ModelError, match="NaN"):
        encoder.encode([{"pixel_values": np.full((1, 3, 32, 32), np.nan, dtype=np.float32)}])
    monkeypatch.setattr(type(tower), "modalities", property(lambda _: ["text"]))
    with pytest.raises(ModelError, match="text only"):
        TowerEncoder(tower)


def test_the_fingerprint_is_of_the_weights(tower):
    torch.manual_seed(1)
    other = SmallImageTower(12, size=32).eval().to_sentence_transformer()
    assert image_fingerprint(tower) == image_fingerprint(tower) != image_fingerprint(other)
