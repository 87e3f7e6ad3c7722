"""Calibrated scores: shares of random texts, by hand-made vectors; and a saved background that is never a wrong one."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_encoder import DIM, write_images
from tokenizers import Tokenizer, models, pre_tokenizers

from kivuko.search.background import CLOSE, FILE, Background, Closeness, open_background, random_texts
from kivuko.search.image_index import ImageIndex
from kivuko.search.sources import FolderSource

WORDS = [f"{first}{second}" for first in "bdfgkmnprt" for second in "aeiou"]


class WordModel(list):
    """A text side whose every word has a vector of its own; it counts the texts that it encodes."""

    def __init__(self, seed: int = 0, words: list[str] = WORDS) -> None:
        pieces = ["[UNK]", "[PAD]", "<s>", ",", *words]
        tokenizer = Tokenizer(models.WordLevel({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        super().__init__([SimpleNamespace(tokenizer=tokenizer)])
        self.vectors = dict(zip(pieces, np.random.default_rng(seed).normal(size=(len(pieces), DIM)), strict=True))
        self.encoded = 0

    def encode(self, texts, **_):
        self.encoded += len(texts)
        sums = np.array([sum(self.vectors[word] for word in text.split()) for text in texts])
        return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def index(build, tmp_path):
    build(FolderSource(write_images(tmp_path / "photos", range(20))))
    with ImageIndex(tmp_path / "g.index") as opened:
        yield opened


def expected(index, model) -> np.ndarray:
    """The best cosines of the random texts, by brute force."""
    vectors = np.concatenate([part for _, part in index.store.vectors()])
    return np.sort((model.encode(random_texts(model)) @ vectors.T).max(axis=1))


def test_closeness_is_the_share_of_random_texts_that_are_lower():
    background = Background(np.array([0.1, 0.2, 0.3, 0.4, 0.5]))
    shares = {0.05: 0.0, 0.1: 0.0, 0.15: 0.2, 0.3: 0.4, 0.35: 0.6, 0.45: 0.8, 0.9: 1.0}
    for score, share in shares.items():
        assert background.closeness(score) == Closeness(pytest.approx(share), share >= CLOSE)
    assert [background.closeness(score).close for score in (0.3, 0.35)] == [False, True]
    assert not background.closeness(float("-1")).close


def test_random_texts_are_one_to_three_words_of_the_vocabulary_and_the_same_each_time():
    texts = random_texts(WordModel())
    assert len(texts) == 256
    assert {len(text.split()) for text in texts} == {1, 2, 3}
    assert {word for text in texts for word in text.split()} == set(WORDS)  # no special token, no comma
    assert random_texts(WordModel()) == texts
    assert random_texts(WordModel(), seed=1) != texts


def test_a_network_with_marks_in_its_vocabulary_gives_plain_words(tmp_path):
    """Those of WordPiece are ##, of CLIP </w>: neither is text."""
    from sentence_transformers import SentenceTransformer

    from kivuko.encoders.model import load_model
    from tiny_bert import save_teacher
    from tiny_clip import save_clip

    clip = load_model(save_clip(tmp_path / "clip")).encoder
    bert = SentenceTransformer(str(save_teacher(tmp_path / "bert", ["cat", "##s", "boat"], 12)), device="cpu")
    for model, word in ((clip, "cat"), (bert, "boat")):
        words = {word for text in random_texts(model) for word in text.split()}
        assert word in words
        assert all(word.isalnum() for word in words), words


def test_the_background_is_measured_over_all_images(index):
    model = WordModel()
    background = open_background(index, model)
    np.testing.assert_allclose(background.best, expected(index, model), atol=1e-5)
    best = background.best[200]
    assert background.closeness(best + 1e-9).share == pytest.approx(201 / 256)


def test_it_is_measured_once_and_saved_with_the_index(index):
    """An index of an earlier version has no such file, as this one at first."""
    assert not (index.store.path / FILE).exists()
    first = open_background(index, WordModel())
    again = WordModel()
    np.testing.assert_array_equal(open_background(index, again).best, first.best)
    assert again.encoded == 4  # enough to see that it is the same model


def test_that_of_another_model_is_not_taken(index):
    first = open_background(index, WordModel())
    other = WordModel(seed=1)
    second = open_background(index, other)
    np.testing.assert_allclose(second.best, expected(index, other), atol=1e-5)
    assert not np.allclose(first.best, second.best)


def test_that_of_an_earlier_state_of_the_index_is_not_taken(index, build, tmp_path):
    model = WordModel()
    first = open_background(index, model)
    build(FolderSource(write_images(tmp_path / "photos", range(60))))
    assert index.refresh()
    second = open_background(index, model)
    np.testing.assert_allclose(second.best, expected(index, model), atol=1e-5)
    assert (second.best >= first.best - 1e-5).all()  # with more images the nearest is nearer
    assert second.best.mean() > first.best.mean() + 0.01


@pytest.mark.parametrize(
    "harm",
    [
        lambda saved: {},
        lambda saved: [],
        lambda saved: saved | {"format": 0},
        lambda saved: saved | {"index": "another"},
        lambda saved: saved | {"best": saved["best"][:5]},
        lambda saved: saved | {"best": saved["best"][::-1]},
        lambda saved: saved | {"best": [float("nan"), *saved["best"][1:]]},
        lambda saved: saved | {"best": "many"},
        lambda saved: saved | {"probe": [[0.0]]},
        lambda saved: saved | {"probe": None},
    ],
)
def test_a_damaged_or_foreign_file_is_measured_again_and_replaced(index, harm):
    model = WordModel()
    first = open_background(index, model)
    file = index.store.path / FILE
    file.write_text(json.dumps(harm(json.loads(file.read_text(encoding="utf-8")))), encoding="utf-8")
    np.testing.assert_allclose(open_background(index, model).best, first.best, atol=1e-5)
    assert json.loads(file.read_text(encoding="utf-8"))["best"] == pytest.approx(first.best.tolist())
    file.write_bytes(b"\xff\x00{")
    assert len(open_background(index, model).best) == len(first.best)


def test_where_nothing_can_be_written_it_is_measured_each_time(index, monkeypatch):
    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("kivuko.search.background.write_text", refuse)
    model = WordModel()
    for _ in range(2):
        np.testing.assert_allclose(open_background(index, model).best, expected(index, model), atol=1e-5)
    assert not (index.store.path / FILE).exists()


def test_a_model_without_a_vocabulary_has_none(index):
    assert open_background(index, [SimpleNamespace()]) is None
    assert open_background(index, WordModel(words=["1", "2"])) is None  # no letter in it
    assert not (index.store.path / FILE).exists()


def test_random_texts_whose_vectors_are_no_numbers_are_left_out(index):
    model = WordModel()
    model.vectors["ba"] = np.full(DIM, np.nan)
    background = open_background(index, model)
    touched = sum("ba" in text.split() for text in random_texts(model))
    assert touched > 0
    assert len(background.best) == 256 - touched
    assert np.isfinite(background.best).all()
