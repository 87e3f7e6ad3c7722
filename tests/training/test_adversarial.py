"""Hardening: towers withstand more afterward, their clean vectors stay, and nothing else of a model changes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from kivuko.encoders.image_tower import SmallImageTower
from kivuko.errors import DataError, UsageError
from kivuko.perturbations.image.goal import Threat
from kivuko.perturbations.image.pgd import pgd
from kivuko.perturbations.image.pixel_tower import PixelTower
from kivuko.training.adversarial import (
    Hardening,
    Images,
    _Hardening,
    emoji_images,
    folder_images,
    harden_encoder,
)

QUICK = Hardening(eps=16 / 255, steps=4, batch_size=8, learning_rate=1e-3)


@pytest.fixture(scope="module")
def images():
    """Two dozen images of colored blocks, 32 x 32 pixels."""
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, 256, (24, 3, 4, 4), generator=generator, dtype=torch.uint8)
    return Images(blocks.repeat_interleave(8, 2).repeat_interleave(8, 3))


@pytest.fixture(scope="module")
def tower(images):
    """A small tower whose batch statistics are those of the images."""
    torch.manual_seed(0)
    network = SmallImageTower(12, size=32)
    with torch.no_grad():
        for _ in range(20):
            network.train()(images.pixels.float() / 255)
    return network.eval().to_sentence_transformer().eval()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A tiny CLIP: no batch normalization, and a text tower in the same module."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from transformers import CLIPConfig, CLIPModel, ViTImageProcessorPil

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config=small | {"vocab_size": 30}, vision_config=small | {"image_size": 32, "patch_size": 8},
        projection_dim=12,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("clip")
    CLIPModel(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return SentenceTransformer(modules=[Transformer(str(folder))], device="cpu").eval()


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Away:
    """The goal of an attacker who lowers each image's cosine with its anchor; never reached."""

    targeted, one_score = False, True

    def __init__(self, anchors):
        self.anchors = anchors

    def __len__(self):
        return len(self.anchors)

    def margins(self, vectors, rows):
        return (vectors * self.anchors[rows]).sum(1) + 2.0


def under_attack(model, images, anchors, eps):
    """Mean cosine of attacked images with where they should be."""
    pixels = images.pixels.float() / 255
    result = pgd(PixelTower(model), pixels, Away(anchors), Threat("linf", eps), steps=8, early_stop=False)
    return (PixelTower(model).encode(result.pixels) * anchors).sum(1).mean().item()


def test_it_withstands_more_and_clean_vectors_stay(tower, images):
    settings = Hardening(eps=8 / 255, steps=16, batch_size=24, learning_rate=5e-4, apart=0.0, clean=1.0)
    hardened = harden_encoder(tower, images, settings)
    anchors = PixelTower(tower).encode(images.pixels.float() / 255)
    before, after = (under_attack(model, images, anchors, settings.eps) for model in (tower, hardened))
    clean = (PixelTower(hardened).encode(images.pixels.float() / 255) * anchors).sum(1).mean().item()
    assert 1 - after < 0.5 * (1 - before)
    assert clean > 0.9
    assert not hardened.training


def test_the_original_and_the_batch_statistics_stay(tower, images):
    before = weights(tower)
    hardened = weights(harden_encoder(tower, images, QUICK))
    assert same(weights(tower), before)
    statistics = [name for name in before if "running" in name or "num_batches" in name]
    assert len(statistics) > 10
    assert all(torch.equal(hardened[name], before[name]) for name in statistics)
    assert not same(hardened, before)


def test_the_same_seed_gives_the_same_tower_bit_for_bit(tower, images):
    def hardened(seed, noise):
        torch.manual_seed(noise)
        return weights(harden_encoder(tower, images, Hardening(eps=QUICK.eps, steps=2, batch_size=8, seed=seed)))

    first, second, other = hardened(0, 1), hardened(0, 2), hardened(2**63 - 1, 1)
    assert same(first, second)
    assert not same(first, other)


class KilledError(Exception):
    pass


def test_a_killed_run_resumes_to_the_same_weights(tower, images, tmp_path, monkeypatch):
    monkeypatch.setattr("kivuko.training.adversarial._CHECKPOINT_EVERY", 2)
    reported = []

    def watch(step, steps, figures):
        reported.append((step, steps))
        if len(reported) == 3:
            raise KilledError

    with pytest.raises(KilledError):
        harden_encoder(tower, images, QUICK, tmp_path / "at", watch)
    resumed = harden_encoder(tower, images, QUICK, tmp_path / "at", watch)
    assert reported == [(1, 4), (2, 4), (3, 4), (3, 4), (4, 4)]
    assert same(weights(resumed), weights(harden_encoder(tower, images, QUICK)))


def test_a_checkpoint_of_another_job_is_refused(tower, images, tmp_path, monkeypatch):
    monkeypatch.setattr("kivuko.training.adversarial._CHECKPOINT_EVERY", 1)
    harden_encoder(tower, images, QUICK, tmp_path / "at")
    other = Hardening(eps=QUICK.eps, steps=2, batch_size=8, seed=5)
    with pytest.raises(UsageError, match="belongs to another run"):
        harden_encoder(tower, images, other, tmp_path / "at")


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_perturbations_stay_inside_and_raise_the_loss(tower, images, inner_steps):
    training = _Hardening(copy.deepcopy(tower), images, Hardening(inner_steps=inner_steps))
    views = images.pixels[:8].float() / 255
    rows, threat = torch.arange(8), Threat("linf", 8 / 255)
    seen = training._worst(views, training.anchors[:8], rows, threat, torch.Generator().manual_seed(0))
    assert (seen - views).abs().max() <= 8 / 255 + 1e-6
    assert seen.min() >= 0
    assert seen.max() <= 1
    clean, worst = (
        training._losses(training._encode(training.route, one), training.anchors[:8], rows).mean()
        for one in (views, seen)
    )
    assert worst > clean


def test_a_clip_is_hardened_and_its_text_tower_stays(clip, images):
    before = weights(clip)
    hardened = weights(harden_encoder(clip, images, Hardening(eps=8 / 255, steps=2, batch_size=8)))
    moved = {name for name in before if not torch.equal(before[name], hardened[name])}
    assert any("vision_model" in name for name in moved)
    assert not any("text" in name or "logit_scale" in name for name in moved)
    assert all((before[name] - hardened[name]).abs().max() < 1e-3 for name in moved), "a rate for pretrained towers"


def test_modules_that_texts_go_through_too_stay(clip, tower, images):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Router

    shared = Dense(12, 12, activation_function=nn.Identity())
    router = Router({"text": [copy.deepcopy(clip[0])], "image": list(copy.deepcopy(tower))}, default_route="text")
    model = SentenceTransformer(modules=[router, shared], device="cpu").eval()
    before = weights(model)
    hardened = weights(harden_encoder(model, images, QUICK))
    moved = {name for name in before if not torch.equal(before[name], hardened[name])}
    assert moved
    assert all(name.startswith("0.sub_modules.image.") for name in moved)


def test_the_radius_grows_and_figures_are_reported(tower, images, monkeypatch):
    radii, reported = [], []
    worst = _Hardening._worst
    monkeypatch.setattr(_Hardening, "_worst", lambda *at: radii.append(at[4].eps) or worst(*at))
    settings = Hardening(eps=0.04, steps=4, batch_size=8, growing=0.5, clean=1.0, apart=0.0)
    harden_encoder(tower, images, settings, report=lambda *at: reported.append(at))
    assert radii == pytest.approx([0.02, 0.04, 0.04, 0.04])
    assert [at[:2] for at in reported] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert set(reported[0][2]) == {"loss", "cosine"}


def test_one_image_is_too_few(tower, images):
    with pytest.raises(UsageError, match="at least 2 images"):
        harden_encoder(tower, Images(images.pixels[:1]), QUICK)


def test_a_loss_that_is_no_number_stops_it(tower, images):
    broken = copy.deepcopy(tower)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(UsageError, match=r"diverged at step 1 \(loss nan\)"):
        harden_encoder(broken, images, QUICK)


@pytest.fixture(scope="module")
def pixel_tower():
    torch.manual_seed(0)
    return PixelTower(SmallImageTower(12, size=32).eval().to_sentence_transformer())


@pytest.fixture
def folder(tmp_path):
    """Five images in two folders, a text, and an image cut short."""
    random = np.random.default_rng(0)
    place = tmp_path / "images"
    (place / "more").mkdir(parents=True)
    for number, name in enumerate(["a.png", "b.jpg", "more/c.PNG", "more/d.webp"]):
        Image.fromarray(random.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)).save(place / name)
    Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(place / "more" / "e.jpg")
    (place / "notes.txt").write_text("none")
    (place / "cut.png").write_bytes((place / "a.png").read_bytes()[:300])
    return place


def test_a_folders_images_are_read_in_order_and_the_rest_is_listed(folder, pixel_tower):
    images = folder_images(folder, pixel_tower)
    assert images.pixels.shape == (5, 3, 32, 32)
    assert images.pixels.dtype == torch.uint8
    assert len(images.left_out) == 1
    assert str(folder / "cut.png") in images.left_out[0]
    with Image.open(folder / "a.png") as image:
        torch.testing.assert_close(next(images.clean_batches())[:1], pixel_tower.pixels([image]))
    assert images.pixels[4].float().mean((1, 2))[0] > 200, "CMYK red is red"
    assert images.beyond == 0


def test_a_folder_that_memory_does_not_hold_is_drawn_from_by_seed(folder, pixel_tower, monkeypatch):
    monkeypatch.setattr("kivuko.training.adversarial._MOST_BYTES", 3 * 3 * 32 * 32)
    (folder / "cut.png").unlink()
    images = folder_images(folder, pixel_tower, seed=1)
    assert len(images) == 3
    assert images.beyond == 2
    assert images.fingerprint == folder_images(folder, pixel_tower, seed=1).fingerprint


def test_a_folder_with_a_single_image_is_refused(tmp_path, pixel_tower):
    Image.new("RGB", (9, 9)).save(tmp_path / "one.png")
    with pytest.raises(DataError, match="fewer than two images") as caught:
        folder_images(tmp_path, pixel_tower)
    assert str(caught.value).startswith(f"{tmp_path}: ")


def test_views_of_plain_images_are_parts_and_the_images_themselves():
    ramp = torch.arange(32, dtype=torch.uint8).mul(8).expand(3, 32, 32)
    images = Images(torch.stack([ramp, 255 - ramp, ramp, ramp]))
    rows = torch.tensor([0, 1, 2, 3])
    views = images.views(rows, torch.Generator().manual_seed(0))
    assert views.shape == (4, 3, 32, 32)
    torch.testing.assert_close(views[2:], images.pixels[2:].float() / 255)
    spread = views[:2, 0, 0].amax(1) - views[:2, 0, 0].amin(1)
    assert ((spread > 0.7) & (spread < 0.96)).all(), "between 0.8 of the ramp and all of it"
    assert torch.equal(views, images.views(rows, torch.Generator().manual_seed(0)))
    assert not torch.equal(views, images.views(rows, torch.Generator().manual_seed(1)))


def test_emoji_are_seen_on_white_as_in_the_gallery_and_strayed(tiny_world, pixel_tower):
    images = emoji_images(tiny_world, pixel_tower)
    assert len(images) == len(tiny_world.images)
    clean = torch.cat(list(images.clean_batches()))
    torch.testing.assert_close(clean[3:4], pixel_tower.pixels([tiny_world.image(3)]))
    rows = torch.arange(6)
    views = images.views(rows, torch.Generator().manual_seed(0))
    assert views.shape == (6, 3, 32, 32)
    assert views.min() >= 0
    assert views.max() <= 1
    torch.testing.assert_close(views[3:], clean[3:6])
    assert (views[:3] - clean[:3]).abs().mean() > 0.01
    assert torch.equal(views, images.views(rows, torch.Generator().manual_seed(0)))


def test_some_of_the_emoji_are_another_set(tiny_world, pixel_tower):
    some = emoji_images(tiny_world, pixel_tower, [4, 2])
    assert len(some) == 2
    torch.testing.assert_close(next(some.clean_batches())[1:], pixel_tower.pixels([tiny_world.image(2)]))
    assert some.fingerprint != emoji_images(tiny_world, pixel_tower).fingerprint
