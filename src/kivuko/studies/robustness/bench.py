"""What every run of the robustness study shares: the low-resource study's bench, attacked pictures, chosen concepts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from kivuko.bitext import word_table
from kivuko.datasets.emoji import EmojiWorld, Query
from kivuko.encoders.teacher import TextTeacher
from kivuko.studies.low_resource.bench import ENGLISH, Bench, make_bench, unit
from kivuko.studies.robustness.pictures import TowerPictures, tower_folders, tower_pictures, work
from kivuko.studies.robustness.plan import CODE_SWITCH, Plan

TEST, VALIDATION = "test", "validation"
_FORMAT = 1  # raise it when systems are attacked or measured in another way


@dataclass(frozen=True, eq=False)
class RobustnessBench:
    """The low-resource study's bench, the plan, what the towers make of the pictures, and the concepts under attack.

    ``concepts``: of the test split, in the order in which attacks take them. ``tables``: language -> word -> English
    word, for code-switching.
    """

    bench: Bench
    plan: Plan
    towers: tuple[TowerPictures, ...]
    concepts: tuple[str, ...]
    tables: Mapping[str, Mapping[str, str]]

    def queries(self, language: str, split: str = TEST, concepts: int | None = None) -> list[Query]:
        """Return headline queries (not equal to the English name) of a split, of the first so many concepts or all."""
        chosen = None if concepts is None else set(self.concepts[:concepts])
        return [
            query
            for query in self.bench.world.queries(language, split)
            if not query.copied and (chosen is None or query.concept in chosen)
        ]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all this."""
        told = [_FORMAT, self.bench.fingerprint, asdict(self.plan), self.concepts, self.tables]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for tower in self.towers:
            digest.update(tower.fingerprint.encode())
        return digest.hexdigest()


def make_robustness_bench(
    world: EmojiWorld,
    languages: Sequence[str],
    teacher: TextTeacher,
    plan: Plan,
    *,
    words: bool,
    encoded: Callable[[int, int], None] | None = None,
    attacked: Callable[[int, int], None] | None = None,
) -> RobustnessBench:
    """Encode everything, choose the concepts, and attack the pictures with the English names.

    Args:
        words: see ``make_bench``.
        encoded: told (done, total) while the teacher encodes. attacked: the same while pictures are attacked.
    """
    bench = make_bench(world, languages, teacher, words=words, progress=encoded)
    concepts = _concepts(world, languages)
    names = [query for query in world.queries(ENGLISH, TEST) if query.concept in set(concepts[: plan.attacked])]
    pooled = teacher.encode_tokens([query.text for query in names]).pooled.cpu().numpy()
    crafted = dict(zip([query.image for query in names], unit(pooled.astype(np.float32)), strict=True))
    own = dict.fromkeys(
        query.image
        for code in languages
        for query in world.queries(code, TEST)
        if query.concept in set(concepts[: plan.own_attacked])
    )
    corrupted = sorted({query.image for code in (ENGLISH, *languages) for query in world.queries(code, TEST)})
    folders, done = tower_folders(), 0

    def ticked() -> None:
        nonlocal done
        done += 1
        if attacked:
            attacked(done, len(folders) * work(plan))

    towers = tuple(
        tower_pictures(name, folder, world, corrupted, crafted, list(own), plan, ticked)
        for name, folder in folders.items()
    )
    switches = any(name == CODE_SWITCH for name, _ in plan.noise)
    bitext = world.bitext(languages, "train")
    tables = {code: word_table(bitext, code) for code in languages} if switches else {}
    return RobustnessBench(bench, plan, towers, concepts, tables)


def _concepts(world: EmojiWorld, languages: Sequence[str]) -> tuple[str, ...]:
    """Return test concepts with a headline query in every language, in the order of a hash of the concept."""
    present = [{query.concept for query in world.queries(code, TEST) if not query.copied} for code in languages]
    shared = set.intersection(*present)
    return tuple(sorted(shared, key=lambda one: hashlib.sha256(b"attacked:" + one.encode()).digest()))
