"""Training the image tower: a few images and a few steps show whether it learns at all."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from kivuko.encoders.image_tower import SmallImageTower, load_image_tower
from kivuko.errors import CorruptFileError, UsageError
from kivuko.training import image_tower
from kivuko.training.image_tower import (
    TRAINING_FILE,
    TowerTraining,
    learned_splits,
    make_image_tower,
    prototypes,
    reduced,
    tower_recall,
    train_image_tower,
)

IMAGES = 12


@pytest.fixture(scope="module")
def images(tiny_world):
    return torch.from_numpy(tiny_world.images[:IMAGES].copy())


@pytest.fixture(scope="module")
def names():
    """Two names for the first image, one for each other: vectors [13, 16] and the image of each."""
    vectors = torch.randn(IMAGES + 1, 16, generator=torch.Generator().manual_seed(0))
    return vectors, torch.tensor([0, *range(IMAGES)])


class Told(torch.nn.Module):
    """A tower that gives the images, in order, the vectors it was told."""

    size = 8

    def __init__(self, vectors):
        super().__init__()
        self.vectors = vectors

    def forward(self, pixels):
        assert pixels.shape[1:] == (3, 8, 8)
        return self.vectors[: len(pixels)]


def test_prototypes_by_hand():
    names = torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, -2.0]])
    found = prototypes(names, torch.tensor([0, 0, 1]), 2)
    torch.testing.assert_close(found, torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, -1.0]]))


def test_prototypes_of_images_without_names_are_no_nan():
    assert prototypes(torch.ones(1, 2), torch.tensor([1]), 3).isfinite().all()


def test_reduced_keeps_colors_and_the_transparent_ground():
    images = torch.zeros(1, 128, 136, 4, dtype=torch.uint8)
    images[:, 32:96, 36:100] = torch.tensor([255, 0, 0, 255], dtype=torch.uint8)
    found = reduced(images, 34)
    assert found.shape == (1, 4, 34, 34)
    torch.testing.assert_close(found[0, :, 17, 17], torch.tensor([1.0, 0.0, 0.0, 1.0]))
    assert found[0, :, 0].abs().max() == 0
    assert found.mean() == pytest.approx(2 / 4 * (64 * 64) / (136 * 136), rel=0.02)


def test_recall_by_hand(images):
    names = torch.eye(IMAGES)
    own = torch.arange(IMAGES)
    assert tower_recall(Told(torch.eye(IMAGES)), images, own, names, seed=0) == {1: 1.0, 10: 1.0}
    assert tower_recall(Told(torch.eye(IMAGES).roll(1, 0)), images, own, names, seed=0)[1] == 0
    half = torch.eye(IMAGES)
    half[:6] = half[:6].roll(1, 0)
    assert tower_recall(Told(half), images, own, names, seed=0)[1] == pytest.approx(0.5)


def test_a_tie_counts_against_the_name(images):
    names, own = torch.eye(IMAGES), torch.arange(IMAGES)
    alike = torch.ones(IMAGES, IMAGES) / IMAGES**0.5
    assert tower_recall(Told(alike), images, own, names, seed=0) == {1: 0.0, 10: 0.0}
    pairs = torch.eye(IMAGES)
    pairs[1] = pairs[0]  # images 0 and 1 are one to the tower
    assert tower_recall(Told(pairs), images, own, names, seed=0)[1] == pytest.approx((IMAGES - 2) / IMAGES)


def test_vectors_that_are_no_numbers_find_nothing(images):
    nothing = torch.full((IMAGES, IMAGES), float("nan"))
    assert tower_recall(Told(nothing), images, torch.arange(IMAGES), torch.eye(IMAGES), seed=0) == {1: 0.0, 10: 0.0}


def test_several_names_of_a_image_all_count(images):
    names = torch.eye(IMAGES)[[0, 1, 2]]
    found = tower_recall(Told(torch.eye(IMAGES)), images, torch.tensor([0, 1, 1]), names, seed=0)
    assert found[1] == pytest.approx(2 / 3)


def test_it_learns_to_find_images_by_their_names(images, names):
    vectors, own = names
    told = []
    settings = TowerTraining(steps=40, batch_size=12, seed=1)
    tower = train_image_tower(images, own, vectors, settings, lambda *at: told.append(at))
    assert not tower.training
    found = tower_recall(tower, images, own, vectors, seed=99)
    assert found[1] > 0.5, "chance is 1 in 12"
    assert [at[:2] for at in told] == [(step, 40) for step in range(1, 41)]
    losses = [figures["loss"] for *_, figures in told]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    assert told[0][2]["scale"] == pytest.approx(40)


def test_the_same_seed_gives_the_same_tower_bit_for_bit(images, names):
    vectors, own = names

    def trained(seed, noise):
        torch.manual_seed(noise)
        return train_image_tower(images, own, vectors, TowerTraining(steps=2, batch_size=5, seed=seed)).state_dict()

    first, second, other = trained(0, 1), trained(0, 2), trained(1, 1)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_its_vectors_are_of_the_names_width_and_of_length_one(images, names):
    vectors, own = names
    tower = train_image_tower(images, own, vectors, TowerTraining(steps=1, batch_size=4))
    with torch.no_grad():
        found = tower(torch.rand(2, 3, tower.size, tower.size))
    assert found.shape == (2, 16)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2))
    assert F.cosine_similarity(found[:1], found[1:]).item() < 1


class KilledError(Exception):
    pass


def test_a_killed_run_resumes_to_the_same_weights(images, names, tmp_path, monkeypatch):
    monkeypatch.setattr("kivuko.training.image_tower._CHECKPOINT_EVERY", 4)
    vectors, own = names
    settings = TowerTraining(steps=12, batch_size=5)
    taken = []

    def watch(step, *_):
        taken.append(step)
        if len(taken) == 6:
            raise KilledError

    with pytest.raises(KilledError):
        train_image_tower(images, own, vectors, settings, watch, tmp_path / "at")
    resumed = train_image_tower(images, own, vectors, settings, watch, tmp_path / "at").state_dict()
    whole = train_image_tower(images, own, vectors, settings).state_dict()
    assert taken == [1, 2, 3, 4, 5, 6, *range(5, 13)]
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_checkpoint_of_other_settings_is_refused(images, names, tmp_path):
    vectors, own = names
    train_image_tower(images, own, vectors, TowerTraining(steps=2, batch_size=5), None, tmp_path / "at")
    with pytest.raises(UsageError, match="belongs to another run"):
        train_image_tower(images, own, vectors, TowerTraining(steps=3, batch_size=5), None, tmp_path / "at")


@pytest.fixture
def learned(monkeypatch):
    """Replace the training by a random tower; a list of what each was to learn from: images, their names, vectors."""
    calls = []

    def train(images, image_of_name, name_vectors, *_):
        calls.append((images, image_of_name, name_vectors))
        return SmallImageTower(name_vectors.shape[1]).eval()

    monkeypatch.setattr(image_tower, "train_image_tower", train)
    monkeypatch.setattr(image_tower, "tower_recall", lambda *given: {1: len(given[3]) / 100, 10: 1.0})
    return calls


def test_a_tower_learns_from_the_images_of_its_splits_only(tiny_world, learned, tmp_path):
    tower = make_image_tower(tiny_world, tmp_path / "unseen", splits=["train"])
    ((images, image_of_name, vectors),) = learned
    own = [one for one in tiny_world.emoji if one.split == "train"]
    rows = sorted({one.image for one in own})
    assert 0 < len(rows) < len(tiny_world.images)
    assert torch.equal(images, torch.from_numpy(tiny_world.images[rows]))
    assert [rows[place] for place in image_of_name.tolist()] == [one.image for one in own]
    assert len(vectors) == len(own)
    sizes = tiny_world.split_sizes()
    assert {name: round(recall[1] * 100) for name, recall in tower.recall.items()} == {
        "trained": sizes["train"], "validation": sizes["validation"], "test": sizes["test"]
    }  # fmt: skip
    assert learned_splits(tower.path) == ("train",)
    assert load_image_tower(tower.path, 384).get_embedding_dimension() == 384
    card = (tower.path / "README.md").read_text("utf-8")
    assert "--train-image-tower --splits train`" in card
    assert f"{len(rows):,} of the {len(tiny_world.images):,} distinct emoji" in card


def test_a_tower_learns_from_all_splits_by_default(tiny_world, learned, tmp_path):
    tower = make_image_tower(tiny_world, tmp_path / "all")
    ((images, image_of_name, _),) = learned
    assert torch.equal(images, torch.from_numpy(tiny_world.images))
    assert image_of_name.tolist() == [one.image for one in tiny_world.emoji]
    assert set(tower.recall) == {"trained"}
    assert set(learned_splits(tower.path)) == {"train", "validation", "test"}


@pytest.mark.parametrize("splits", [["tests"], []])
def test_unknown_splits_are_refused(tiny_world, tmp_path, splits):
    with pytest.raises(UsageError, match=r"splits: (tests|none); give some of train, validation, test"):
        make_image_tower(tiny_world, tmp_path / "t", splits=splits)


def test_a_tower_that_does_not_say_counts_as_having_seen_everything(tmp_path):
    assert learned_splits(tmp_path) == ("train", "validation", "test")
    for wrong in ("[", "[]", "{}", '{"splits": 3}', '{"splits": "train"}', '{"splits": []}'):
        (tmp_path / TRAINING_FILE).write_text(wrong)
        with pytest.raises(CorruptFileError, match="Train the image tower again"):
            learned_splits(tmp_path)
