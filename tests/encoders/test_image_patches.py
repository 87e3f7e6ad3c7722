"""Cells of a feature map: in the tower's space, averaging to its vector, in the order of the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from kivuko.encoders.image_patches import encode_image_cells
from kivuko.encoders.image_tower import SmallImageTower, encode_images, load_image_tower
from kivuko.encoders.maxsim import maxsim, token_lists
from kivuko.encoders.model import assemble
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.errors import ModelError, UsageError

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
MAP = {"image_size": 32, "patch_size": 8}


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(5)]


@pytest.fixture(scope="module")
def tower():
    """A small residual tower with a map of 4 x 4 cells, its batch statistics away from their first values."""
    torch.manual_seed(0)
    tower = SmallImageTower(12)
    with torch.no_grad():
        tower.train()(torch.rand(8, 3, 64, 64))
    return tower.eval().to_sentence_transformer()


def hugging_face_tower(network, folder, *modules):
    """Save a network with an image processor, and load it in a SentenceTransformer."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from transformers import ViTImageProcessorPil

    network.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return SentenceTransformer(modules=[Transformer(str(folder)), *modules], device="cpu").eval()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    config = CLIPConfig(text_config=SMALL | {"vocab_size": 30}, vision_config=SMALL | MAP, projection_dim=12)
    return hugging_face_tower(CLIPModel(config), tmp_path_factory.mktemp("clip"))


def dense(width, dim, **options):
    from sentence_transformers.base.modules import Dense

    return Dense(width, dim, **{"activation_function": nn.Identity(), **options})


def test_the_mean_of_the_cells_is_the_towers_vector(tower, images):
    cells = encode_image_cells(tower, images, normalize=False, batch_size=2)
    assert cells.shape == (5, 16, 12)
    assert cells.dtype == torch.float32
    expected = torch.from_numpy(encode_images(tower, images))
    torch.testing.assert_close(F.normalize(cells.mean(1), dim=-1), expected, atol=1e-5, rtol=0)
    features = tower[0].preprocess(images)
    with torch.no_grad():
        before = nn.Sequential(*list(tower)[:-1])(features)["sentence_embedding"]
    torch.testing.assert_close(cells.mean(1), before, atol=1e-5, rtol=0)
    assert cells.std(1).mean() > 1e-3, "cells differ"


def test_cells_are_of_unit_length_unless_asked_otherwise(tower, images):
    cells = encode_image_cells(tower, images)
    torch.testing.assert_close(cells, F.normalize(encode_image_cells(tower, images, normalize=False), dim=-1))
    torch.testing.assert_close(cells.norm(dim=-1), torch.ones(5, 16))


def test_a_coarser_grid_averages_neighbors(tower, images):
    whole = encode_image_cells(tower, images, normalize=False)
    quarters = encode_image_cells(tower, images, grid=2, normalize=False)
    assert quarters.shape == (5, 4, 12)
    torch.testing.assert_close(quarters[:, 1], whole[:, [2, 3, 6, 7]].mean(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(quarters[:, 2], whole[:, [8, 9, 12, 13]].mean(1), atol=1e-5, rtol=0)
    one = encode_image_cells(tower, images, grid=1)
    torch.testing.assert_close(one[:, 0], torch.from_numpy(encode_images(tower, images)), atol=1e-5, rtol=0)
    torch.testing.assert_close(encode_image_cells(tower, images, grid=4, normalize=False), whole)
    for grid in (0, 3, 8):
        with pytest.raises(UsageError, match=f"a grid of {grid} does not divide a feature map of 4 x 4 cells"):
            encode_image_cells(tower, images, grid=grid)


def test_a_saved_tower_and_a_model_give_the_same_cells(image_tower_folder, tiny_image_tower, images):
    loaded = load_image_tower(image_tower_folder, 12)
    cells = encode_image_cells(loaded, images)
    assert cells.shape == (5, 4, 12)
    student = StaticStudent(train_vocabulary(["paka mweusi"] * 3, size=40), 12).eval()
    torch.testing.assert_close(encode_image_cells(assemble(student, loaded), images), cells)
    with pytest.raises(ModelError, match="text only"):
        encode_image_cells(assemble(student, None), images)


def test_no_images_give_no_cells(tower):
    assert len(encode_image_cells(tower, [])) == 0


@pytest.mark.parametrize("mode", ["cls", "mean"])
def test_the_patches_of_a_vision_transformer_go_through_the_projection(mode, tmp_path, images):
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    network, projection = ViTModel(ViTConfig(**SMALL, **MAP)).eval(), dense(16, 12)
    tower = hugging_face_tower(network, tmp_path, Pooling(16, pooling_mode=mode), projection, Normalize())
    cells = encode_image_cells(tower, images)
    assert cells.shape == (5, 16, 12)
    with torch.no_grad():
        states = network(**{"pixel_values": tower[0].preprocess(images)["pixel_values"]}).last_hidden_state
        expected = F.normalize(projection.linear(states[:, 1:]), dim=-1)
    torch.testing.assert_close(cells, expected, atol=1e-5, rtol=0)


def test_clips_patches_go_where_its_class_token_goes(clip, images):
    cells = encode_image_cells(clip, images)
    assert cells.shape == (5, 16, 12)
    network = clip[0].model
    with torch.no_grad():
        states = network.vision_model(pixel_values=clip[0].preprocess(images)["pixel_values"]).last_hidden_state
        through = network.visual_projection(network.vision_model.post_layernorm(states))
    torch.testing.assert_close(
        F.normalize(through[:, 0], dim=-1), torch.from_numpy(encode_images(clip, images)), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(cells, F.normalize(through[:, 1:], dim=-1), atol=1e-5, rtol=0)
    assert encode_image_cells(clip, images, grid=2).shape == (5, 4, 12)


def test_texts_find_cells_by_maxsim(tower, images):
    cells = encode_image_cells(tower, images)
    words = [cells[3, [5, 9]], cells[1, [0]]]
    scores = maxsim(token_lists(words), token_lists(cells))
    assert scores.argmax(1).tolist() == [3, 1]
    torch.testing.assert_close(scores.amax(1), torch.tensor([2.0, 1.0]))
    expected = torch.einsum("qd,icd->qic", words[0], cells).amax(2).sum(0)
    torch.testing.assert_close(scores[0], expected)


def test_towers_whose_cells_lie_elsewhere_are_refused(tmp_path, images):
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import SiglipVisionConfig, SiglipVisionModel, ViTConfig, ViTModel

    vit = ViTModel(ViTConfig(**SMALL, **MAP))
    curved = hugging_face_tower(vit, tmp_path / "curved", Pooling(16), dense(16, 12, activation_function=nn.Tanh()))
    with pytest.raises(ModelError, match="Dense that is not linear"):
        encode_image_cells(curved, images)
    highest = hugging_face_tower(vit, tmp_path / "max", Pooling(16, pooling_mode="max"))
    with pytest.raises(ModelError, match="ViTModel"):
        encode_image_cells(highest, images)
    with pytest.raises(ModelError, match="no cells in the space"):
        encode_image_cells(
            hugging_face_tower(SiglipVisionModel(SiglipVisionConfig(**SMALL, **MAP)), tmp_path / "siglip"), images
        )
