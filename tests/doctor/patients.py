"""A model that is in perfect health, because its vectors are copied from its teacher's, and ways to make it sick."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel

from kivuko.bitext.pairs import Pair
from kivuko.doctor.finding import Sentences
from tiny_bert import save_teacher

DIM = 12
COUNT = 80
_SYLLABLES = [first + vowel for first in ("b", "d", "k", "l", "m", "n", "s", "t", "w") for vowel in "aeiou"]


def _invented(seed: int) -> list[str]:
    """Return words that nobody knows, each another."""
    draw = np.random.default_rng(seed)
    words: dict[str, None] = {}
    while len(words) < COUNT:
        words["".join(draw.choice(_SYLLABLES, 3))] = None
    return list(words)


SWAHILI, ENGLISH = _invented(1), [word + "y" for word in _invented(2)]
PAIRS = tuple(Pair("sw", own, english, "here") for own, english in zip(SWAHILI, ENGLISH, strict=True))
SENTENCES = Sentences("sw", PAIRS, "invented words")


def make_teacher(folder: Path, width: int = DIM, seed: int = 0) -> Path:
    return save_teacher(folder, ENGLISH, width, seed=seed)


def word_tokenizer(words: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1} | {word: i for i, word in enumerate(words, 2)}, "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def make_model(
    folder: Path, teacher_folder: Path, *, tower: bool = True, tower_seed: int = 0, pairs: int = 5000
) -> Path:
    from kivuko.encoders.model import About, TokenMean, save_model
    from kivuko.encoders.student import StaticStudent
    from kivuko.encoders.teacher import load_teacher

    teacher = load_teacher(teacher_folder)
    student = StaticStudent(word_tokenizer(SWAHILI), teacher.dim)
    with torch.no_grad():
        student.embedding.weight[2:] = teacher.encode_tokens(ENGLISH).pooled
    about = About(teacher.name, str(teacher_folder), "static", "optical", 0, {"sw": pairs}, fertility={"sw": 1.0})
    mean = TokenMean(torch.zeros(teacher.dim), teacher.fingerprint)
    save_model(folder, student, image_tower(teacher.dim, tower_seed) if tower else None, about, "card", mean)
    return folder


def image_tower(dim: int, seed: int = 0):
    from kivuko.encoders.image_tower import SmallImageTower

    torch.manual_seed(seed)
    tower = SmallImageTower(dim, size=32)
    with torch.no_grad():
        tower.train()(torch.rand(8, 3, 32, 32))
    return tower.eval().to_sentence_transformer()


def make_index(folder: Path, model: Path, captions=tuple(ENGLISH[:30])) -> Path:
    """Index one noisy image for each caption."""
    from kivuko.encoders.model import load_encoder
    from kivuko.search.building import index_images
    from kivuko.search.encoding import TowerEncoder
    from kivuko.search.sources import open_source

    photos = folder.with_name("photos")
    photos.mkdir(exist_ok=True)
    draw = np.random.default_rng(0)
    lines = []
    for number, caption in enumerate(captions):
        coarse = draw.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40, 40), Image.Resampling.NEAREST).save(photos / f"{number:02}.png")
        lines.append(json.dumps({"image": f"{number:02}.png", "caption": caption}))
    (photos / "captions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    source = open_source(photos / "captions.jsonl")
    encoder = TowerEncoder(load_encoder(model).float())
    index_images(encoder, [source], folder, model=model.absolute(), workers=1, batch_size=4)  # two files of vectors
    return folder


def opened(folder: Path, teacher: Path | None = None):
    from kivuko.doctor.finding import Examined
    from kivuko.encoders.model import load_model
    from kivuko.encoders.teacher import load_teacher

    model = load_model(folder, device="cpu")
    return Examined(folder, model.encoder, model.about, load_teacher(teacher) if teacher else None)


def text_folder(folder: Path) -> Path:
    """Return where a model keeps its static text module."""
    return next(folder.rglob("tokenizer.json")).parent


def shuffle_tokenizer(folder: Path) -> None:
    """Give a model a tokenizer of the right size with the wrong numbers."""
    file = text_folder(folder) / "tokenizer.json"
    state = json.loads(file.read_text("utf-8"))
    words = [word for word in state["model"]["vocab"] if not word.startswith("[")]
    state["model"]["vocab"] |= {word: number for number, word in enumerate(words[7:] + words[:7], 2)}
    file.write_text(json.dumps(state), encoding="utf-8")


def grow_tokenizer(folder: Path, count: int) -> None:
    """Give a model a tokenizer with more (or, below 0, fewer) entries than it has weights for."""
    file = text_folder(folder) / "tokenizer.json"
    state = json.loads(file.read_text("utf-8"))
    vocabulary = state["model"]["vocab"]
    if count < 0:
        state["model"]["vocab"] = {word: i for word, i in vocabulary.items() if i < len(vocabulary) + count}
    else:
        vocabulary |= {f"more{i}": len(vocabulary) + i for i in range(count)}
    file.write_text(json.dumps(state), encoding="utf-8")


def write_cldr(folder: Path) -> None:
    """Write the words as names of emoji, in Swahili and English, in CLDR's layout."""
    for code, words in (("sw", SWAHILI), ("en", ENGLISH)):
        rows = (f'<annotation cp="{chr(0x1F400 + i)}" type="tts">{word}</annotation>' for i, word in enumerate(words))
        file = folder / "annotations" / f"{code}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"<ldml><annotations>{''.join(rows)}</annotations></ldml>", encoding="utf-8")


def write_bitext(file: Path) -> None:
    """Write the words and their English ones, tab between them."""
    file.write_text("".join(f"{one.text}\t{one.english}\n" for one in PAIRS), encoding="utf-8")


def levels(findings, check=None) -> list[str]:
    return [one.level for one in findings if check in (None, one.check)]
