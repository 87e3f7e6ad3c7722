"""Training of a small image tower against a frozen text tower, from images and their English names.

Softmax losses over all images, against a memory of their last vectors (Wu et al. 2018), and a pull to the own name.
"""

import hashlib
import json
import math
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kivuko import __version__
from kivuko.datasets.emoji.augment import Augmentation, augment, premultiplied
from kivuko.datasets.emoji.world import SPLITS, EmojiWorld
from kivuko.encoders.image_tower import SmallImageTower
from kivuko.encoders.loading import fast_bfloat16
from kivuko.encoders.model import quiet
from kivuko.encoders.teacher import load_teacher
from kivuko.errors import UsageError, unreadable
from kivuko.files import atomic_path, folder_beside, refuse_foreign, write_text
from kivuko.progress import TrainingProgress, bars
from kivuko.training.loop import Report, Training, fit
from kivuko.vectors import rescaled

_CHECKPOINT_EVERY = 200
_VIEW_SEEDS = (10_001, 10_002, 10_003)  # of the unseen views that the card reports on
_LEAST_STEPS = 20


@dataclass(frozen=True, slots=True)
class TowerTraining:
    """Settings of the image tower's training; the defaults are those of the tower that ships."""

    steps: int = 3600
    batch_size: int = 128
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    temperature: float = 1 / 40  # at the start; it is learned
    pull: float = 4.0  # weight of one minus the cosine with the own name
    source_size: int = 80  # images are reduced to this once, so that views of 64 pixels are cut without aliasing
    seed: int = 0


TRAINING_FILE = "training.json"  # in the folder of an image tower: the splits of the emoji world that it learned from


@dataclass(frozen=True)
class TrainedTower:
    """A saved image tower: its folder, and by split the mean recall at 1 and at 10 over unseen views.

    Names of a split are looked for among the images of all splits; "trained" are those that it learned from.
    """

    path: Path
    recall: dict[str, dict[int, float]]


def make_image_tower(
    world: EmojiWorld,
    out: Path | None = None,
    *,
    splits: Sequence[str] = SPLITS,  # of whose images it learns; the others stay unseen, for a study
    steps: int | None = None,
    progress: bool | None = None,
) -> TrainedTower:
    """Train an image tower for the emoji world, resuming from ``OUT.training``, measure it, and save it."""
    out = out or Path("image_tower")
    if not splits or (unknown := [name for name in splits if name not in SPLITS]):
        raise UsageError(f"splits: {unknown[0] if splits else 'none'}; give some of {', '.join(SPLITS)}.")
    splits = [name for name in SPLITS if name in splits]
    refuse_foreign(out, "modules.json", "an image tower")
    settings = TowerTraining() if steps is None else TowerTraining(steps=steps)
    if settings.steps < _LEAST_STEPS:
        raise UsageError(f"steps = {settings.steps}: give at least {_LEAST_STEPS}")
    checkpoints = folder_beside(out, "training")
    names, rows = world.english_names()
    with quiet():
        teacher = load_teacher()
    vectors = torch.cat([teacher.encode_tokens(names[i : i + 256]).pooled for i in range(0, len(names), 256)])
    images, image_of_name = torch.from_numpy(world.images), torch.from_numpy(rows)
    learned = torch.tensor([one.split in splits for one in world.emoji])
    own_rows, own_of_name = image_of_name[learned].unique(return_inverse=True)
    with bars(progress) as display:
        watch = TrainingProgress(display, "image tower", settings.batch_size, "images")
        lessons = images[own_rows], own_of_name, vectors[learned]
        tower = train_image_tower(*lessons, settings, watch.stepped, checkpoints)
    tower.half().float()  # what is stored is what is measured
    groups = {"trained": learned}
    groups |= {name: torch.tensor([one.split == name for one in world.emoji]) for name in SPLITS if name not in splits}
    recalls = {
        name: [tower_recall(tower, images, image_of_name[which], vectors[which], seed) for seed in _VIEW_SEEDS]
        for name, which in groups.items()
    }
    model = tower.to_sentence_transformer()
    with atomic_path(out) as temporary, quiet():
        model.half().save(str(temporary), create_model_card=False)
        about = {"splits": splits, "images": len(own_rows), "settings": asdict(settings)}
        write_text(temporary / TRAINING_FILE, json.dumps(about, indent=2) + "\n")
        write_text(temporary / "README.md", _card(world, settings, len(own_rows), splits, recalls))
    shutil.rmtree(checkpoints, ignore_errors=True)
    means = {name: {k: sum(one[k] for one in own) / len(own) for k in (1, 10)} for name, own in recalls.items()}
    return TrainedTower(out, means)


def learned_splits(folder: Path) -> tuple[str, ...]:
    """Return the splits that an image tower learned from; all where its folder does not say."""
    file = folder / TRAINING_FILE
    try:
        named = json.loads(file.read_text(encoding="utf-8"))["splits"]
        if not isinstance(named, list) or not {*named} & {*SPLITS}:
            raise ValueError("no splits")
        return tuple(name for name in SPLITS if name in named)
    except FileNotFoundError:
        return SPLITS
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise unreadable(file, problem, f"{file}: corrupted or unreadable. Train the image tower again.") from problem


def prototypes(name_vectors: Tensor, image_of_name: Tensor, images: int) -> Tensor:
    """Average the unit name vectors [names, dim] of each image: unit vectors [images, dim]."""
    sums = torch.zeros(images, name_vectors.shape[1]).index_add_(
        0, image_of_name, F.normalize(rescaled(name_vectors), dim=-1)
    )
    return F.normalize(sums, dim=-1)


def reduced(images: Tensor, side: int) -> Tensor:
    """Premultiply RGBA images, uint8 [n, h, w, 4], and reduce them: float [n, 4, side, side]."""
    return F.interpolate(premultiplied(images), size=(side, side), mode="bilinear", antialias=True)


def train_image_tower(
    images: Tensor,  # RGBA, uint8 [images, h, w, 4]
    image_of_name: Tensor,  # int64 [names], the image that each name belongs to
    name_vectors: Tensor,  # float [names, dim], from the frozen text tower
    settings: TowerTraining | None = None,
    report: Report | None = None,
    checkpoints: Path | None = None,
) -> SmallImageTower:
    settings = settings or TowerTraining()
    training = _TowerTraining(images, image_of_name, name_vectors, settings)
    digest = hashlib.sha256(json.dumps(asdict(settings)).encode())
    for tensor in (images, image_of_name, name_vectors):
        digest.update(tensor.contiguous().numpy().tobytes())
    run = digest.hexdigest()
    fit(training, settings.steps, every=_CHECKPOINT_EVERY, run=run, checkpoints=checkpoints, report=report)
    return training.weights.eval()


class _TowerTraining(Training):
    """The training of one image tower; the generator of its draws is part of its state."""

    name = "the image tower"
    weights: SmallImageTower

    def __init__(self, images: Tensor, image_of_name: Tensor, name_vectors: Tensor, settings: TowerTraining) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.generator = settings, torch.Generator().manual_seed(settings.seed)
        self.images = reduced(images, settings.source_size)
        self.targets = prototypes(name_vectors, image_of_name, len(images))
        self.memory = self.targets.clone()  # the last vector seen of each image
        self.order = torch.empty(0, dtype=torch.long)
        self.weights = SmallImageTower(name_vectors.shape[1])
        self.weights.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.log_scale = nn.Parameter(torch.tensor(-math.log(settings.temperature)))
        self.clipped = list(self.weights.parameters())
        groups: list[dict[str, Any]] = [{"params": self.clipped}, {"params": [self.log_scale], "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, settings.learning_rate, total_steps=settings.steps, pct_start=0.1
        )

    def set_rate(self, step: int) -> None:
        if step > 1:  # the schedule counts from 0, and sets its first rate by itself
            self.schedule.last_epoch = step - 2
            self.schedule.step()

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        settings = self.settings
        if len(self.order) < settings.batch_size:
            more = (torch.randperm(len(self.images), generator=self.generator) for _ in range(2))
            self.order = torch.cat([self.order, *more])
        rows, self.order = self.order[: settings.batch_size].unique(), self.order[settings.batch_size :]
        views = augment(self.images[rows], self.weights.size, self.generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16("cpu")):
            vectors = self.weights(views.contiguous(memory_format=torch.channels_last))
        scale = self.log_scale.exp().clamp(max=100)
        gallery = self.memory.index_copy(0, rows, vectors)
        to_names = F.cross_entropy(scale * vectors @ self.targets.T, rows)
        to_images = F.cross_entropy(scale * self.targets[rows] @ gallery.T, rows)
        # The softmax terms are content once the right name wins; a query from another language lands near a name, not
        # on it, so images must be close to their names and not only closer than the rest.
        apart = (1 - (vectors * self.targets[rows]).sum(1)).mean()
        self._seen = rows, vectors.detach()
        return (to_names + to_images) / 2 + settings.pull * apart, {"apart": apart, "scale": scale}

    def after_step(self) -> None:
        rows, vectors = self._seen
        self.memory[rows] = vectors

    def state(self) -> dict[str, Tensor]:
        weights = {f"tower.{name}": value for name, value in self.weights.state_dict().items()}
        draws = {"order": self.order, "generator": self.generator.get_state()}
        return weights | draws | {"memory": self.memory, "log_scale": self.log_scale}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.weights.load_state_dict({name: state[f"tower.{name}"] for name in self.weights.state_dict()})
        self.memory, self.order = state["memory"], state["order"]
        self.generator.set_state(state["generator"])
        with torch.no_grad():
            self.log_scale.copy_(state["log_scale"])
        with warnings.catch_warnings():  # torch wants the optimizer to step before the schedule, which it did
            warnings.simplefilter("ignore", UserWarning)
            self.schedule.step()


@torch.no_grad()
def tower_recall(
    tower: SmallImageTower,
    images: Tensor,
    image_of_name: Tensor,
    name_vectors: Tensor,
    seed: int,
    source_size: int = 80,
) -> dict[int, float]:
    """Measure R@1 and R@10 of every English name against one unseen view of every image; ties count against it."""
    generator = torch.Generator().manual_seed(seed)
    reduced_images = reduced(images, source_size)
    views = [augment(part, tower.size, generator) for part in reduced_images.split(256)]
    gallery = torch.cat([tower(part) for part in views])
    scores = F.normalize(rescaled(name_vectors), dim=-1) @ gallery.T  # [names, images]
    own = scores.gather(1, image_of_name[:, None])
    better = (~(scores < own)).sum(1) - 1  # so written, a score that is no number counts against the name too
    return {k: (better < k).float().mean().item() for k in (1, 10)}


def _card(
    world: EmojiWorld, settings: TowerTraining, images: int, splits: Sequence[str],
    recalls: Mapping[str, Sequence[dict[int, float]]],
) -> str:  # fmt: skip
    rows = [
        f"| {split} | {seed} | {recall[1]:.4f} | {recall[10]:.4f} |"
        for split, own in recalls.items()
        for seed, recall in zip(_VIEW_SEEDS, own, strict=True)
    ]
    option = "" if set(splits) == set(SPLITS) else f" --splits {' '.join(splits)}"
    return "\n".join(
        [
            "# Image tower of the emoji world",
            "",
            "A small residual network (64 x 64 pixels, 1.6 million parameters) that puts images of emoji where",
            "all-MiniLM-L6-v2 puts their English names. It knows emoji and nothing else: it is the image side of",
            "Kivuko's demonstration, not a general image encoder.",
            "",
            f"Made by `kivuko data emoji --train-image-tower{option}` with Kivuko {__version__} and torch "
            f"{torch.__version__}:",
            "",
            f"- images: {images:,} of the {len(world.images):,} distinct emoji of Noto Color Emoji (SIL Open Font",
            f"  License 1.1), those of the splits {', '.join(splits)};",
            f"  names: CLDR (Unicode License v3); sources' fingerprint `{world.fingerprint[:16]}`",
            f"- settings: `{json.dumps(asdict(settings))}`",
            f"- views: `{json.dumps(asdict(Augmentation()))}`",
            "",
            "English name to image, one unseen view of every image as the gallery, ties against the name:",
            "",
            "| names | seed of the views | R@1 | R@10 |",
            "|---|---|---|---|",
            *rows,
            "",
            "Weights are stored in half precision and loaded in single. License: Apache-2.0.",
            "",
        ]
    )
