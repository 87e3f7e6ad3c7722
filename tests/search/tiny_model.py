"""A model with words and an image side, its teacher, and an index made with it: small, random, and real in layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tiny_encoder import image

from tiny_bert import save_teacher

DIM = 12
CAPTIONS = ("a black cat", "the fish", "a cat eats the fish", None)
TEXTS = ["paka mweusi anakula samaki", "काळी मांजर", "the black cat eats fish"]


def make_teacher(folder: Path) -> Path:
    """Save a teacher that knows a few English words."""
    return save_teacher(folder, ["a", "the", "black", "cat", "eats", "fish"], DIM)


def make_model(folder: Path, teacher: Path, seed: int = 0, tower_seed: int = 0) -> Path:
    """Save a model with random words and a random image tower."""
    from kivuko.encoders.image_tower import SmallImageTower
    from kivuko.encoders.model import About, TokenMean, save_model
    from kivuko.encoders.student import StaticStudent
    from kivuko.encoders.teacher import load_teacher
    from kivuko.encoders.vocabulary import train_vocabulary

    loaded = load_teacher(teacher)
    torch.manual_seed(tower_seed)
    tower = SmallImageTower(DIM, size=32)
    with torch.no_grad():
        tower.train()(torch.rand(8, 3, 32, 32))
    torch.manual_seed(seed)
    student = StaticStudent(train_vocabulary(TEXTS, size=90), DIM)
    about = About("teacher", loaded.source, "static", "optical", seed, {"sw": 1})
    mean = TokenMean(torch.randn(DIM), loaded.fingerprint)
    save_model(folder, student, tower.eval().to_sentence_transformer(), about, "card", mean)
    return folder


def make_index(folder: Path, model: Path, count: int = 12) -> Path:
    """Index ``count`` images with captions, a license and a year each."""
    from kivuko.encoders.model import load_encoder
    from kivuko.search.building import index_images
    from kivuko.search.encoding import TowerEncoder
    from kivuko.search.sources import open_source

    photos = folder.with_name("photos")
    photos.mkdir(exist_ok=True)
    lines = []
    for number in range(count):
        image(number, (24 + number, 16)).save(photos / f"{number:02}.png")
        line = {"image": f"{number:02}.png", "license": "cc0" if number % 3 else "by", "year": 2000 + number}
        if (caption := CAPTIONS[number % len(CAPTIONS)]) is not None:
            line["caption"] = caption
        lines.append(json.dumps(line))
    (photos / "captions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    encoder = TowerEncoder(load_encoder(model))
    source = open_source(photos / "captions.jsonl")
    index_images(encoder, [source], folder, model=model.absolute(), workers=1)
    return folder


def make_all(place: Path) -> Path:
    """Make ``teacher``, ``model`` and ``my.index`` in a folder, and return it."""
    make_teacher(place / "teacher")
    make_model(place / "model", place / "teacher")
    make_index(place / "my.index", place / "model")
    return place
