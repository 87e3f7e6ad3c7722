"""``kivuko harden``: models and image towers are hardened on a folder of images; what cannot be is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from command_checks import help_without_heavy_imports, refused
from PIL import Image
from sentence_transformers import SentenceTransformer

import kivuko
from kivuko.bitext.pairs import Bitext, Pair
from kivuko.encoders.image_tower import SmallImageTower, encode_images, load_image_tower
from kivuko.encoders.model import (
    About,
    TokenMean,
    encode_texts,
    load_encoder,
    read_about,
    read_token_mean,
    save_model,
)
from kivuko.encoders.spelling import SpellingNeighbors
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.encoders.word_table import WordTable, read_word_table
from kivuko.errors import CorruptFileError, KivukoError
from kivuko.files import sha256_of
from kivuko.training.adversarial import read_hardening

QUICK = ("--steps", "2", "--batch-size", "4", "--eps", "16/255")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with images, a tower in half precision, a model and a model of text only; read only."""
    place = tmp_path_factory.mktemp("harden")
    random = np.random.default_rng(0)
    (place / "images").mkdir()
    for number in range(8):
        blocks = random.integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(blocks).save(place / "images" / f"{number}.png")
    (place / "images" / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    torch.manual_seed(0)
    tower = SmallImageTower(12, size=32).eval().to_sentence_transformer()
    student = StaticStudent(train_vocabulary(["paka mbwa nyumba", "paka", "mbwa"] * 5, size=60), 12)
    student.reader = SpellingNeighbors.from_bitext(Bitext((Pair("sw", "paka mbwa nyumba", "cat dog house", "t"),)))
    about = About("t", "t", "static", "optical", 0, {"sw": 3}, run="abc")
    table = WordTable({"sw": {"paka": {"cat": 1.0}}})
    save_model(place / "model", student, tower, about, "card", TokenMean(torch.arange(12.0), "t"), word_table=table)
    save_model(place / "text", student, None, about, "card")
    tower.half().save(str(place / "tower"), create_model_card=False)
    return place


@pytest.fixture
def harden(run_here, place, monkeypatch, tmp_path):
    """Harden a model of the place's on its images."""
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "cache"))

    def run(model: object, out: object, *words: object) -> tuple[int, str, str]:
        return run_here(
            "harden", str(model), "--out", str(out), "--images", str(place / "images"), *QUICK, *map(str, words)
        )

    return run


def test_help_is_quick_and_has_examples():
    told = help_without_heavy_imports("harden")
    assert "kivuko harden kivuko-demo/model --out hardened" in told


def test_a_model_keeps_its_text_side_and_what_it_says_of_itself(harden, place, tmp_path):
    status, out, err = harden(place / "model", tmp_path / "out")
    assert status == 0, err
    assert "cut.jpg" in err
    assert "1 files left out" in err
    assert "mean cosine" in out
    before, after = load_encoder(place / "model"), load_encoder(tmp_path / "out")
    texts = ["paka", "mbwa nyumba", "mbwa nymuba"]
    np.testing.assert_array_equal(encode_texts(before, texts), encode_texts(after, texts))
    as_written = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(texts)
    np.testing.assert_allclose(as_written[:2], encode_texts(after, texts)[:2], atol=1e-6)
    assert np.abs(as_written[2] - encode_texts(after, texts)[2]).max() > 1e-3, "misspelled words are still read"
    image = [Image.open(place / "images" / "0.png")]
    moved = np.abs(encode_images(before, image) - encode_images(after, image)).max()
    assert moved > 1e-4
    about = read_about(tmp_path / "out")
    assert about is not None
    assert about.recipe == "optical"
    assert about.run.startswith("abc hardened:"), "distilling again must not take it for the model it made"
    torch.testing.assert_close(read_token_mean(tmp_path / "out").vector, torch.arange(12.0))
    assert read_word_table(tmp_path / "out").english("sw", "paka") == {"cat": 1.0}
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "radius 16/255" in card
    assert "library_name: sentence-transformers" in card
    note = read_hardening(tmp_path / "out")
    assert note is not None
    assert note.images == note.attacked == 8
    assert note.settings["eps"] == pytest.approx(16 / 255)
    assert read_hardening(place / "model") is None
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name != "cache") == ["out"]


def test_a_tower_stays_a_tower_in_the_precision_it_had(harden, place, tmp_path):
    status, _, err = harden(place / "tower", tmp_path / "out")
    assert status == 0, err
    stored = load_encoder(tmp_path / "out")
    assert {parameter.dtype for parameter in stored.parameters()} == {torch.float16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float16"
    assert load_image_tower(tmp_path / "out", 12).get_embedding_dimension() == 12
    assert not (tmp_path / "out" / "kivuko.json").exists()
    assert "# Hardened image tower" in (tmp_path / "out" / "README.md").read_text("utf-8")
    again = harden(place / "tower", tmp_path / "out")
    assert "made before" in again[2]
    other = harden(place / "tower", tmp_path / "out", "--seed", "1")
    assert other[0] == 0, other[2]
    assert "made before" not in other[2]


def test_the_command_and_the_call_make_the_same_model(harden, place, tmp_path, capsys):
    status, _, err = harden(place / "model", tmp_path / "command", "--learning-rate", "0.001", "--seed", "3")
    assert status == 0, err
    options = {"images": place / "images", "steps": 2, "batch_size": 4, "learning_rate": 0.001, "seed": 3}
    model = kivuko.harden(place / "model", tmp_path / "call", eps=16 / 255, progress=False, **options)
    assert capsys.readouterr().err == ""
    weights = [
        {str(file.relative_to(folder)): sha256_of(file) for file in folder.rglob("*.safetensors")}
        for folder in (tmp_path / "command", tmp_path / "call")
    ]
    assert weights[0] == weights[1]
    assert read_hardening(tmp_path / "command") == read_hardening(tmp_path / "call")
    assert model.has_images
    assert model.encode_image([Image.open(place / "images" / "0.png")]).shape == (1, 12)
    loaded = kivuko.harden(
        kivuko.load_model(place / "model"), tmp_path / "call", eps="16/255", progress=False, **options
    )
    assert loaded.about == model.about


def test_the_device_is_honored(harden, place, tmp_path, monkeypatch):
    def fastest():
        raise AssertionError("a device is named")

    monkeypatch.setattr("kivuko.encoders.loading.fastest_device", fastest)
    options = {"images": place / "images", "steps": 1, "batch_size": 4, "progress": False}
    model = kivuko.harden(place / "tower", tmp_path / "call", device="cpu", **options)
    assert model.device == torch.device("cpu")
    refused(harden(place / "tower", tmp_path / "out", "--device", "nowhere"), "device nowhere", "Choose cpu")


def test_a_tower_in_half_precision_encodes_images_on_a_cpu(place):
    model = kivuko.load_model(place / "tower", device="cpu")
    assert model.encode_image([Image.open(place / "images" / "0.png")]).shape == (1, 12)


@pytest.mark.parametrize("eps", ["0", "-1/255", "2", "nan", "2/0", "none"])
def test_a_radius_that_is_none_is_refused(harden, place, tmp_path, eps):
    refused(harden(place / "tower", tmp_path / "out", "--eps", eps), "eps", eps)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_hardened_is_refused(harden, place, tmp_path):
    refused(harden(place / "text", tmp_path / "out"), str(place / "text"), "encodes text only")
    refused(harden(tmp_path / "none", tmp_path / "out"), "no such model folder")
    refused(harden(place / "tower", tmp_path / "out", "--images", tmp_path / "none"), "no such folder of images")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": 5}, "model=5: give a model's folder, a model loaded from one, or emoji, as text or a Path."),
        ({"model": "none"}, "none: no such model folder."),
        ({"out": None}, "out=None: give a folder, as text or a Path."),
        ({"images": "none"}, "none: no such folder of images."),
        ({"images": None}, "images=None: give a folder or emoji, as text or a Path."),
        ({"eps": 0}, "eps=0: choose a number above 0, up to 1."),
        ({"eps": float("nan")}, "eps=nan: choose a number above 0, up to 1."),
        ({"eps": [1]}, "eps=[1]: choose a number above 0, up to 1."),
        ({"steps": "3"}, "steps='3': choose a whole number of at least 1."),
        ({"steps": 0}, "steps=0: choose a whole number of at least 1."),
        ({"batch_size": 1}, "batch_size=1: choose a whole number of at least 2."),
        ({"learning_rate": 0}, "learning_rate=0: choose a number above 0, up to 1."),
        ({"seed": 1.5}, "seed=1.5: choose a whole number from 0 to 2**63 - 1."),
        ({"device": 0}, "device=0: give torch's name of a device, such as cpu."),
    ],
)
def test_wrong_arguments_get_one_line(place, tmp_path, monkeypatch, wrong, message):
    monkeypatch.chdir(tmp_path)
    arguments = {"model": place / "tower", "out": "out", "images": place / "images"} | wrong
    with pytest.raises(KivukoError) as caught:
        kivuko.harden(**arguments)
    assert str(caught.value).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_what_stands_at_out_is_not_replaced(harden, place, tmp_path):
    shutil.copytree(place / "tower", tmp_path / "mine")
    refused(harden(tmp_path / "mine", tmp_path / "mine"), "which stays as it is")
    refused(harden(place / "model", tmp_path / "mine"), "not a hardened model")
    (tmp_path / "file").write_text("mine")
    refused(harden(place / "tower", tmp_path / "file"), "not a hardened model")
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "mine" / "hardening.json").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": 1}'])
def test_a_damaged_note_is_named(tmp_path, content):
    (tmp_path / "hardening.json").write_text(content)
    with pytest.raises(CorruptFileError, match=r"hardening\.json"):
        read_hardening(tmp_path)
