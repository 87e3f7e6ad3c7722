"""An index of painted images, and a model whose words point at them: small, made in a second or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.encoders.image_tower import SmallImageTower, encode_images
from kivuko.encoders.model import About, TokenMean, load_encoder, quiet, save_model
from kivuko.encoders.spelling import SpellingNeighbors
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.vocabulary import train_vocabulary
from tiny_bert import save_teacher

DIM = 24
# Swahili, Marathi, English, color, shape.
THINGS = (
    ("tufaha", "सफरचंद", "apple", (200, 30, 40), "disc"),
    ("ndizi", "केळे", "banana", (240, 210, 40), "bar"),
    ("bahari", "समुद्र", "sea", (30, 90, 200), "half"),
    ("mti", "झाड", "tree", (30, 130, 60), "post"),
    ("usiku", "रात्र", "night", (15, 15, 40), "full"),
    ("theluji", "बर्फ", "snow", (235, 240, 250), "dots"),
    ("moto", "आग", "fire", (240, 120, 20), "wedge"),
    ("waridi", "गुलाब", "rose", (240, 120, 170), "ring"),
)
HOSTILE_CAPTION = '<img src=x onerror="document.title=1"> & <b>rose</b>'


def painted(color: tuple[int, int, int], shape: str, side: int = 96) -> Image.Image:
    """Return a simple image; no two things look alike."""
    image = Image.new("RGB", (side, side), (250, 250, 250))
    draw, m = ImageDraw.Draw(image), side // 6
    if shape == "disc":
        draw.ellipse((m, m, side - m, side - m), fill=color)
    elif shape == "bar":
        draw.rounded_rectangle((m, side // 3, side - m, 2 * side // 3), side // 6, fill=color)
    elif shape == "half":
        draw.rectangle((0, side // 2, side, side), fill=color)
    elif shape == "post":
        draw.rectangle((side * 3 // 8, m, side * 5 // 8, side), fill=color)
    elif shape == "full":
        draw.rectangle((0, 0, side, side), fill=color)
    elif shape == "dots":
        draw.rectangle((0, 0, side, side), fill=(120, 140, 170))
        for x in range(m, side, 2 * m):
            for y in range(m, side, 2 * m):
                draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=color)
    elif shape == "wedge":
        draw.polygon(((side // 2, m), (side - m, side - m), (m, side - m)), fill=color)
    else:
        draw.ellipse((m, m, side - m, side - m), outline=color, width=side // 8)
    return image


def make_index(place: Path) -> Path:
    """Write "model", "teacher", "images/" and "images.index" into a folder; returns it."""
    from kivuko.encoders.teacher import load_teacher

    images = [painted(color, shape) for *_, color, shape in THINGS]
    with quiet():
        words = ["the", *(english for _, _, english, *_ in THINGS)]
        save_teacher(place / "teacher", words, DIM, seed=1)
    teacher = load_teacher(place / "teacher")
    save_word_model(place / "model", images, str(place / "teacher"), teacher.fingerprint)
    folder = place / "images"
    folder.mkdir()
    lines = ["image\tcaption\tkind"]
    for (_, _, english, *_), image in zip(THINGS, images, strict=True):
        image.save(folder / f"{english}.png")
        caption = HOSTILE_CAPTION if english == "rose" else "" if english == "snow" else f"the {english}"
        lines.append(f"{english}.png\t{caption}\t{'fruit' if english in ('apple', 'banana') else 'other'}")
    (folder / "captions.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    index(place)
    return place


def far_query(searcher: Any) -> str:
    """Return the text of random words whose nearest image is the farthest."""
    from kivuko.search.background import random_texts

    texts = random_texts(searcher.model.encoder)
    return min(zip(searcher.search(texts, 1), texts, strict=True), key=lambda one: one[0][0].score)[1]


def index(place: Path) -> None:
    """Bring the index up to date with the images."""
    from kivuko.search.building import index_images
    from kivuko.search.encoding import TowerEncoder
    from kivuko.search.sources import open_source

    index_images(
        TowerEncoder(load_encoder(place / "model")), [open_source(place / "images" / "captions.tsv")],
        place / "images.index", model=place / "model", workers=1,
    )  # fmt: skip


def save_word_model(folder: Path, images: list[Image.Image], teacher: str, fingerprint: str) -> None:
    """Save a model whose words have the vectors of the images they name."""
    torch.manual_seed(0)
    tower = SmallImageTower(DIM, size=32)
    with torch.no_grad():  # batch statistics of these images, so that they come apart
        pixels = torch.stack(
            [torch.from_numpy(np.array(one.resize((32, 32)))).permute(2, 0, 1) / 255 for one in images]
        )
        for _ in range(20):
            tower.train()(pixels)
        features = tower.eval().body((pixels - 0.5) / 0.25).last_hidden_state.mean((2, 3))
        tower.head.bias -= tower.head(features).mean(0)
    wrapped = tower.to_sentence_transformer()
    vectors = torch.from_numpy(np.array(encode_images(wrapped, images)))
    texts = {"sw": [sw for sw, *_ in THINGS], "mr": [mr for _, mr, *_ in THINGS]}
    student = StaticStudent(train_vocabulary([word for own in texts.values() for word in own], size=400), DIM)
    words = [word for own in texts.values() for word in own]
    parts = torch.zeros(len(words), student.tokenizer.get_vocab_size())  # a word's vector is the mean of its subwords'
    for row, word in enumerate(words):
        ids = student.tokenizer.encode(word, add_special_tokens=False).ids
        parts[row].index_add_(0, torch.tensor(ids), torch.full((len(ids),), 1 / len(ids)))
    with torch.no_grad():
        student.embedding.weight.copy_(
            torch.linalg.lstsq(parts, vectors.repeat(len(texts), 1), driver="gelsd").solution
        )
    pairs = [
        Pair(code, word, english, "tiny")
        for code, own in texts.items()
        for word, (_, _, english, *_) in zip(own, THINGS, strict=True)
    ]
    student.reader = SpellingNeighbors.from_bitext(Bitext(tuple(pairs)))
    about = About("teacher", teacher, "static", "optical", 0, dict.fromkeys(texts, len(THINGS)), run="tiny")
    save_model(folder, student, wrapped, about, "card", TokenMean(torch.zeros(DIM), fingerprint))
