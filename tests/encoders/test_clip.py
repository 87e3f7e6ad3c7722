"""CLIP, SigLIP and SigLIP 2 as teachers and as image towers: what they give is what the whole model gives."""

from __future__ import annotations

import shutil
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import AutoModel, AutoProcessor

import tiny_clip
from kivuko.encoders.clip import load_clip
from kivuko.encoders.image_tower import load_image_tower
from kivuko.encoders.teacher import load_teacher
from kivuko.errors import ModelError

KINDS = tuple(tiny_clip.MAKERS)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    place = tmp_path_factory.mktemp("clips")
    return cache(lambda kind: tiny_clip.MAKERS[kind](place / kind))


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    sizes = ((40, 60), (32, 32), (90, 31))
    return [Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


@torch.no_grad()
def whole_text(folder, texts):
    """Return what the model itself makes of texts, and its last hidden states through the projection."""
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    clip = model.config.model_type == "clip"
    result = processor.tokenizer(
        texts, padding=True if clip else "max_length", truncation=True, max_length=tiny_clip.LENGTH,
        return_tensors="pt", return_attention_mask=clip,
    )  # fmt: skip
    out = model.get_text_features(**result)
    project = model.text_projection if clip else model.text_model.head
    return F.normalize(out.pooler_output, dim=-1), project(out.last_hidden_state), result["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
def test_text_vectors_and_tokens_are_the_models_own(saved, kind):
    teacher = load_teacher(saved(kind))
    result = teacher.encode_tokens(tiny_clip.TEXTS)
    pooled, tokens, _ = whole_text(saved(kind), tiny_clip.TEXTS)
    torch.testing.assert_close(result.pooled, pooled, atol=1e-5, rtol=0)
    torch.testing.assert_close(result.tokens, tokens, atol=1e-5, rtol=1e-5)
    assert result.pooled.shape[1] == teacher.dim
    assert (result.pooled[0] - result.pooled[1]).norm() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_only_content_tokens_are_in_the_mask(saved, kind):
    teacher = load_teacher(saved(kind))
    result = teacher.encode_tokens(["cat", "cat cat cat"])
    tokenizer = teacher.model.tokenizer
    content = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in ("cat", "cat cat cat")]
    assert result.mask.sum(1).tolist() == content
    assert 0 < content[0] < content[1]


def test_the_end_of_text_is_right_where_old_checkpoints_name_it_wrongly(tmp_path):
    folder = tiny_clip.save_clip(tmp_path / "old", legacy_end=True)
    pooled, _, _ = whole_text(folder, tiny_clip.TEXTS)
    torch.testing.assert_close(load_teacher(folder).encode_tokens(tiny_clip.TEXTS).pooled, pooled, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_changes_no_vector(saved, kind):
    teacher = load_teacher(saved(kind))
    together = teacher.encode_tokens(tiny_clip.TEXTS).pooled
    alone = torch.cat([teacher.encode_tokens([text]).pooled for text in tiny_clip.TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_case_is_folded_as_in_training(saved, kind):
    teacher = load_teacher(saved(kind))
    upper, lower = teacher.encode_tokens(["A CAT", "a cat"]).pooled
    torch.testing.assert_close(upper, lower)


@pytest.mark.parametrize("kind", KINDS)
def test_image_vectors_are_the_models_own(saved, kind, images, tmp_path):
    from sentence_transformers import SentenceTransformer

    tower = load_clip(saved(kind), kind).image
    model, processor = AutoModel.from_pretrained(saved(kind)).eval(), AutoProcessor.from_pretrained(saved(kind))
    with torch.no_grad():
        expected = model.get_image_features(**processor(images=images, return_tensors="pt")).pooler_output.numpy()
    np.testing.assert_allclose(tower.encode(images), expected, atol=1e-5)
    tower.save(str(tmp_path / "tower"))
    again = SentenceTransformer(str(tmp_path / "tower"), device="cpu")
    np.testing.assert_allclose(again.encode(images), expected, atol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 1e-4
    text_side = sum(one.numel() for one in model.text_model.parameters())
    assert sum(one.numel() for one in tower.parameters()) <= sum(p.numel() for p in model.parameters()) - text_side


def test_a_clip_saved_by_sentence_transformers_is_a_teacher_and_an_image_tower(saved, images, tmp_path):
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(saved("clip")), device="cpu").save(str(tmp_path / "st"))
    plain, again = load_teacher(saved("clip")), load_teacher(tmp_path / "st")
    torch.testing.assert_close(again.encode_tokens(tiny_clip.TEXTS).pooled, plain.encode_tokens(tiny_clip.TEXTS).pooled)
    tower = load_image_tower(tmp_path / "st", tiny_clip.DIM)
    np.testing.assert_allclose(
        tower.encode(images), load_image_tower(saved("clip"), tiny_clip.DIM).encode(images), atol=1e-6
    )


def test_the_fingerprint_is_of_the_weights_and_not_of_the_place(saved, tmp_path):
    shutil.copytree(saved("clip"), tmp_path / "elsewhere")
    other = tiny_clip.save_clip(tmp_path / "other", seed=1)
    prints = [load_teacher(place).fingerprint for place in (saved("clip"), tmp_path / "elsewhere", other)]
    assert prints[0] == prints[1] != prints[2]


def test_widths_that_do_not_fit_are_refused(saved):
    with pytest.raises(ModelError, match="24 wide, the teacher's 384"):
        load_image_tower(saved("clip"), 384)


def test_a_tokenizer_of_another_model_is_refused(saved, tmp_path):
    from transformers import CLIPModel

    shutil.copytree(saved("clip"), tmp_path / "mixed")
    model = CLIPModel.from_pretrained(tmp_path / "mixed")
    model.config.text_config.vocab_size = 20
    model.text_model.embeddings.token_embedding = torch.nn.Embedding(20, tiny_clip.WIDTH)
    model.save_pretrained(tmp_path / "mixed")
    with pytest.raises(ModelError, match="tokenizer has 82 entries, its weights 20"):
        load_teacher(tmp_path / "mixed")


def test_kin_that_cannot_be_taken_apart_are_named(tmp_path, saved):
    import json

    shutil.copytree(saved("clip"), tmp_path / "kin")
    config = json.loads((tmp_path / "kin" / "config.json").read_text())
    (tmp_path / "kin" / "config.json").write_text(json.dumps(config | {"model_type": "clipseg"}))
    with pytest.raises(ModelError, match="clipseg"):
        load_teacher(tmp_path / "kin")


def test_weights_that_are_missing_are_one_line(tmp_path, saved):
    shutil.copytree(saved("clip"), tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="bare: not a text model that loads") as raised:
        load_teacher(tmp_path / "bare")
    assert "\n" not in str(raised.value)
