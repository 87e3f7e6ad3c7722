"""Image towers: the small one, its saved form, and what is said of folders that are none."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from kivuko.encoders.image_tower import encode_images, load_image_tower
from kivuko.errors import ModelError


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(5)]


def as_pixels(images):
    return torch.from_numpy(np.stack([np.asarray(one) for one in images])).permute(0, 3, 1, 2).float() / 255


def test_forward_gives_unit_vectors(tiny_image_tower, images):
    with torch.no_grad():
        vectors = tiny_image_tower(as_pixels(images))
    assert vectors.shape == (5, 12)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(5))
    assert (vectors[0] - vectors[1]).abs().max() > 1e-3, "it looks at the image"


def test_the_size_of_the_shipped_design():
    from kivuko.encoders.image_tower import SmallImageTower

    assert 1.5e6 < sum(parameter.numel() for parameter in SmallImageTower(384).parameters()) < 1.9e6


def test_the_saved_tower_gives_the_same_vectors(tiny_image_tower, image_tower_folder, images):
    loaded = load_image_tower(image_tower_folder, 12)
    result = encode_images(loaded, images, batch_size=2)
    assert result.shape == (5, 12)
    assert result.dtype == np.float32
    with torch.no_grad():
        expected = tiny_image_tower(as_pixels(images)).numpy()
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_images_of_other_sizes_and_kinds_are_taken(image_tower_folder, images):
    loaded = load_image_tower(image_tower_folder, 12)
    kinds = [
        images[0].resize((70, 50)),
        images[0].convert("L"),
        images[0].convert("RGBA"),
        images[0].convert("P"),
    ]
    result = encode_images(loaded, kinds)
    np.testing.assert_allclose(np.linalg.norm(result, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(result[2], encode_images(loaded, images[:1])[0], atol=1e-4)


def test_a_tower_stored_in_half_precision_works_in_single(tiny_image_tower, tmp_path, images):
    model = tiny_image_tower.to_sentence_transformer()
    expected = encode_images(model, images)
    model.half().save(str(tmp_path / "half"))
    loaded = load_image_tower(tmp_path / "half", 12)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    np.testing.assert_allclose(encode_images(loaded, images), expected, atol=0.02)


def test_no_images_is_not_an_error(image_tower_folder):
    assert len(encode_images(load_image_tower(image_tower_folder, 12), [])) == 0


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_a_folder_that_is_none_is_named(tmp_path, kind):
    folder = tmp_path / "tower"
    if kind == "empty":
        folder.mkdir()
    with pytest.raises(ModelError, match="not an image tower") as caught:
        load_image_tower(folder, 12)
    assert str(caught.value).startswith(f"{folder}: ")


@pytest.mark.parametrize("content", ["", "{", "[]", '[{"idx": 0, "name": "0", "path": "", "type": "no.such.Module"}]'])
def test_a_broken_list_of_modules_is_named(image_tower_folder, tmp_path, content):
    shutil.copytree(image_tower_folder, tmp_path / "tower")
    (tmp_path / "tower" / "modules.json").write_text(content)
    with pytest.raises(ModelError) as caught:
        load_image_tower(tmp_path / "tower", 12)
    assert str(caught.value).startswith(f"{tmp_path / 'tower'}: ")
    assert "\n" not in str(caught.value)


def test_damaged_weights_are_named(image_tower_folder, tmp_path):
    shutil.copytree(image_tower_folder, tmp_path / "tower")
    weights = max((tmp_path / "tower").rglob("*.safetensors"), key=lambda file: file.stat().st_size)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="not an image tower that loads"):
        load_image_tower(tmp_path / "tower", 12)


def test_a_text_model_is_no_image_tower(tiny_sentence_transformer):
    with pytest.raises(ModelError, match="encodes text, not images"):
        load_image_tower(tiny_sentence_transformer, 32)


def test_another_width_is_refused(image_tower_folder):
    with pytest.raises(ModelError, match="its vectors are 12 wide, the teacher's 384"):
        load_image_tower(image_tower_folder, 384)
