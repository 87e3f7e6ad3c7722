"""``load_model`` takes every kind of source, and a Model encodes as the parts it was made from do."""

from __future__ import annotations

import json
import shutil
from functools import cache

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

import kivuko
import tiny_clip
from kivuko.encoders import model as module
from kivuko.encoders.image_tower import encode_images, load_image_tower
from kivuko.encoders.model import About, save_model
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.teacher import load_teacher
from kivuko.errors import CorruptFileError, DataError, ModelError, UsageError

KINDS = tuple(tiny_clip.MAKERS)
ABOUT = About("t", "t", "static", "optical", 0, {"sw": 5, "mr": 3})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    place = tmp_path_factory.mktemp("clips")
    return cache(lambda kind: tiny_clip.MAKERS[kind](place / kind))


@pytest.fixture(scope="module")
def own(tiny_image_tower, tmp_path_factory):
    """A folder as ``kivuko distill`` writes it."""
    tokenizer = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, "paka": 2, "mbwa": 3}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "own"
    save_model(folder, StaticStudent(tokenizer, 12), tiny_image_tower.to_sentence_transformer(), ABOUT, "card")
    return folder


@pytest.fixture(scope="module")
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))


def load(source):
    return kivuko.load_model(source, device="cpu")


def test_a_folder_of_kivukos(own, image):
    model = load(own)
    assert (model.name, model.path, model.languages, model.dim) == ("own", own, ("sw", "mr"), 12)
    assert model.about == ABOUT
    assert model.has_images
    assert model.has_text
    assert model.device == torch.device("cpu")
    texts, images = model.encode_text(["paka", "mbwa", ""]), model.encode_image([image])
    assert (texts.shape, images.shape, texts.dtype, images.dtype) == ((3, 12), (1, 12), np.float32, np.float32)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), [1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(model.similarity(texts, images), texts @ images.T)


def test_a_loaded_model_is_returned_as_it_is(own):
    model = load(own)
    assert kivuko.load_model(model) is model
    assert load(str(own)).source == str(own)
    assert load(load(own).source).languages == ("sw", "mr")


def test_nothing_to_encode_gives_no_rows(own):
    model = load(own)
    assert model.encode_text([]).shape == model.encode_image([]).shape == (0, 12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_is_both_of_its_towers(saved, kind, image):
    model, teacher = load(saved(kind)), load_teacher(saved(kind))
    tower = load_image_tower(saved(kind), teacher.dim)
    expected = torch.nn.functional.normalize(teacher.encode_tokens(tiny_clip.TEXTS).pooled, dim=-1)
    np.testing.assert_allclose(model.encode_text(tiny_clip.TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(model.encode_image([image]), encode_images(tower, [image]), atol=1e-6)
    assert (model.name, model.about, model.languages, model.dim) == (kind, None, (), teacher.dim)


def test_a_clip_saved_by_sentence_transformers_is_the_same(saved, image, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer

    SentenceTransformer(modules=[Transformer(str(saved("clip")))], device="cpu").save(str(tmp_path / "clip-st"))
    assert (tmp_path / "clip-st" / "modules.json").is_file()
    one, other = load(saved("clip")), load(tmp_path / "clip-st")
    np.testing.assert_allclose(one.encode_text(["cat"]), other.encode_text(["cat"]), atol=1e-6)
    np.testing.assert_allclose(one.encode_image([image]), other.encode_image([image]), atol=1e-6)


def test_a_text_model_of_others(tiny_sentence_transformer, tiny_bert, image):
    pooled, plain = load(tiny_sentence_transformer), load(tiny_bert)
    np.testing.assert_allclose(pooled.encode_text(["a cat"]), plain.encode_text(["a cat"]), atol=1e-6)
    assert (pooled.dim, pooled.has_images, pooled.languages) == (32, False, ())
    with pytest.raises(ModelError, match="tiny-teacher: encodes text only"):
        pooled.encode_image([image])


def test_an_image_tower_has_no_text(image_tower_folder, image):
    tower = load(image_tower_folder)
    assert tower.encode_image([image]).shape == (1, 12)
    assert not tower.has_text
    with pytest.raises(ModelError, match="encodes images only"):
        tower.encode_text(["paka"])


def test_images_come_from_files_as_the_index_reads_them(own, image, tmp_path):
    model = load(own)
    image.save(tmp_path / "photo.png")
    by_path = model.encode_image([tmp_path / "photo.png", str(tmp_path / "photo.png")])
    np.testing.assert_array_equal(by_path[0], by_path[1])
    np.testing.assert_allclose(by_path[:1], model.encode_image([image]), atol=1e-6)
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    white = Image.new("RGB", (40, 40), "white")
    np.testing.assert_allclose(model.encode_image([clear]), model.encode_image([white]), atol=1e-6)


def test_an_image_file_that_cannot_be_read(own, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match=r"text\.png: cannot be read as an image"):
        load(own).encode_image([tmp_path / "text.png"])
    with pytest.raises(DataError, match=r"none\.png: cannot be read"):
        load(own).encode_image([tmp_path / "none.png"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.encode_text("paka"), r"^encode_text takes a list of texts: encode_text\(\[text\]\)\.$"),
        (lambda model: model.encode_text(None), "list of texts"),
        (lambda model: model.encode_text([1]), r"^texts\[0\]=1: give text\.$"),
        (lambda model: model.encode_text(["paka", None]), r"^texts\[1\]=None: give text\.$"),
        (lambda model: model.encode_text(["paka"], batch_size=0), "^batch_size=0: choose a whole number"),
        (lambda model: model.encode_text([], batch_size="8"), "^batch_size='8': choose a whole number"),
        (lambda model: model.encode_image(Image.new("RGB", (4, 4))), "list of images"),
        (lambda model: model.encode_image("photo.png"), "list of images"),
        (lambda model: model.encode_image([None]), r"^images\[0\]=None: give a PIL image, or the path of one\.$"),
        (lambda model: model.encode_image([], batch_size=1.5), "^batch_size=1.5: choose a whole number"),
        (lambda model: model.similarity(np.zeros((2, 3)), np.zeros((2, 4))), "^vectors of widths 3 and 4: give two"),
        (lambda model: model.similarity(np.zeros(3), np.zeros((2, 3))), r"^one: an array of shape \[3\]; give vectors"),
        (lambda model: model.similarity(np.zeros((2, 3)), [["a"]]), "^other: an array of <U1; give vectors"),
        (lambda _: kivuko.load_model(3), "^3: give a Model, the folder of a model, or an id"),
        (lambda _: kivuko.load_model(""), "^'': give a Model"),
        (lambda _: kivuko.load_model("m", device=0), "^device=0: give the name of a device"),
    ],
)  # fmt: skip
def test_arguments_of_a_wrong_type_are_one_line(own, call, message):
    with pytest.raises(UsageError, match=message) as caught:
        call(load(own))
    assert "\n" not in str(caught.value)


def test_a_model_is_shown_with_what_it_encodes(own, saved, image_tower_folder):
    assert repr(load(own)) == "<Model own: text and images, dim 12, languages sw, mr, on cpu>"
    assert repr(load(saved("clip"))) == "<Model clip: text and images, dim 24, on cpu>"
    assert repr(load(image_tower_folder)) == "<Model tower: images, dim 12, on cpu>"


def test_a_hub_id_is_fetched_whole_with_what_kivuko_keeps_in_it(own, monkeypatch):
    requested = []

    def fetch(name, allow_patterns):
        requested.append(name)
        return str(own)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    model = load("somebody/swahili-clip")
    assert requested == ["somebody/swahili-clip"]
    assert (model.name, model.source, model.path) == ("swahili-clip", "somebody/swahili-clip", own)
    assert model.languages == ("sw", "mr")


def test_a_clip_by_hub_id(saved, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(saved("clip")))
    assert load("openai/clip-vit-base-patch32").has_images


def test_a_model_of_open_clip(saved, monkeypatch):
    from kivuko.encoders.clip import load_clip

    requested = []

    def towers(source, name):
        requested.append(source)
        return load_clip(saved("clip"), name)

    monkeypatch.setattr(module, "load_clip", towers)
    model = load("open_clip:ViT-B-32/laion2b_s34b_b79k")
    assert requested == ["open_clip:ViT-B-32/laion2b_s34b_b79k"]
    assert (model.name, model.path, model.has_images) == ("ViT-B-32-laion2b_s34b_b79k", None, True)


def test_half_precision_becomes_single(tiny_sentence_transformer, tmp_path):
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(tiny_sentence_transformer), device="cpu").half().save(str(tmp_path / "half"))
    assert {weight.dtype for weight in load(tmp_path / "half").encoder.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "no such model folder"),
        ("./none", "no such model folder"),
        ("nobody/has-this-model", "no such model folder, and the hub does not provide it"),
        ("a/b/c", "no such model folder"),
    ],
)
def test_a_model_that_is_not_there_is_one_line(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=message) as caught:
        load(name)
    assert str(caught.value).startswith(name.removeprefix("./"))
    assert "\n" not in str(caught.value)


def test_folders_that_are_no_models(tmp_path, own):
    with pytest.raises(ModelError, match="not a model folder"):
        load(tmp_path)
    damaged = shutil.copytree(own, tmp_path / "damaged")
    (damaged / "kivuko.json").write_text("{")
    with pytest.raises(CorruptFileError, match=r"kivuko\.json"):
        load(damaged)
    many = shutil.copytree(own, tmp_path / "many")
    (many / "config_sentence_transformers.json").write_text(json.dumps({"model_type": "MultiVectorEncoder"}))
    with pytest.raises(ModelError, match="late-interaction"):
        load(many)


def test_a_device_that_is_none_is_refused_before_loading(own):
    with pytest.raises(UsageError, match="device toaster: not available"):
        kivuko.load_model("nobody/has-this-model", device="toaster")
    with pytest.raises(UsageError, match="device cuda:7: not available"):
        kivuko.load_model(own, device="cuda:7")
