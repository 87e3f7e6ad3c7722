"""Making the emoji world's image tower again, as ``kivuko data emoji --train-image-tower`` does."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

import kivuko
from kivuko.cli.progress import bars, console
from kivuko.cli.progress import out as screen
from kivuko.datasets.emoji import EmojiWorld
from kivuko.datasets.emoji.augment import Augmentation
from kivuko.encoders.image_tower import SmallImageTower
from kivuko.encoders.model import quiet
from kivuko.encoders.teacher import load_teacher
from kivuko.errors import ModelError
from kivuko.files import atomic_path
from kivuko.training.image_tower import TowerTraining, tower_recall, train_image_tower

_VIEW_SEEDS = (10_001, 10_002, 10_003)  # of the unseen views that the card reports on


def make_image_tower(world: EmojiWorld, out: Path, steps: int | None) -> None:
    """Train, measure on unseen views, and save an image tower with its card, in half precision."""
    if out.exists() and (out.is_file() or any(out.iterdir())) and not (out / "modules.json").is_file():
        raise ModelError(f"{out}: exists and is not an image tower; nothing was replaced. Choose another --out.")
    settings = TowerTraining() if steps is None else TowerTraining(steps=steps)
    names, rows = world.english_names()
    teacher = load_teacher()
    vectors = torch.cat([teacher.encode_tokens(names[i : i + 256]).pooled for i in range(0, len(names), 256)])
    images, image_of_name = torch.from_numpy(world.images), torch.from_numpy(rows)
    with bars() as progress:
        task = progress.add_task("image tower", total=settings.steps, figures="")

        def stepped(step: int, total: int, figures: dict[str, float]) -> None:
            progress.update(task, completed=step, figures=" ".join(f"{k} {v:.3f}" for k, v in figures.items()))
            if not console.is_terminal and (step % 500 == 0 or step == total):
                console.print(f"image tower: step {step}/{total} · loss {figures['loss']:.3f}")

        tower = train_image_tower(images, image_of_name, vectors, settings, stepped)
    tower.half().float()  # what is stored is what is measured
    recalls = [tower_recall(tower, images, image_of_name, vectors, seed) for seed in _VIEW_SEEDS]
    mean = {k: sum(recall[k] for recall in recalls) / len(recalls) for k in (1, 10)}
    save_image_tower(tower, out, card(world, settings, recalls))
    screen.print(f"{out}: English name to image, unseen views: R@1 {mean[1]:.4f}, R@10 {mean[10]:.4f}", soft_wrap=True)


def save_image_tower(tower: SmallImageTower, out: Path, card_text: str) -> None:
    """Write the tower as a sentence-transformers folder with its weights in half precision."""
    model = tower.to_sentence_transformer()
    with atomic_path(out) as temporary, quiet():
        model.half().save(str(temporary), create_model_card=False)
        (temporary / "README.md").write_text(card_text, encoding="utf-8")


def card(world: EmojiWorld, settings: TowerTraining, recalls: list[dict[int, float]]) -> str:
    """Return the tower's card: what it is, how it was made, what it measures."""
    rows = [f"| {seed} | {r[1]:.4f} | {r[10]:.4f} |" for seed, r in zip(_VIEW_SEEDS, recalls, strict=True)]
    return "\n".join(
        [
            "# Image tower of the emoji world",
            "",
            "A small residual network (64 x 64 pixels, 1.6 million parameters) that puts images of emoji where",
            "all-MiniLM-L6-v2 puts their English names. It knows emoji and nothing else: it is the image side of",
            "Kivuko's demonstration, not a general image encoder.",
            "",
            "Made by `kivuko data emoji --train-image-tower` with Kivuko "
            f"{kivuko.__version__} and torch {torch.__version__}:",
            "",
            f"- images: {len(world.images):,} distinct emoji of Noto Color Emoji (SIL Open Font License 1.1);",
            f"  names: CLDR (Unicode License v3); sources' fingerprint `{world.fingerprint[:16]}`",
            f"- settings: `{json.dumps(asdict(settings))}`",
            f"- views: `{json.dumps(asdict(Augmentation()))}`",
            "",
            "English name to image, one unseen view of every image as the gallery, ties against the name:",
            "",
            "| seed of the views | R@1 | R@10 |",
            "|---|---|---|",
            *rows,
            "",
            "Weights are stored in half precision and loaded in single. License: Apache-2.0.",
            "",
        ]
    )
