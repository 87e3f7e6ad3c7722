"""The attack runner of ``kivuko attack`` and of the robustness study: ranks of queries before and after attacks."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kivuko.errors import UsageError
from kivuko.perturbations.catalog import CODE_POINTS, CODE_SWITCH
from kivuko.perturbations.edits import EditKind, Perturbed, perturb, perturb_within
from kivuko.perturbations.image.goal import AttackedImages, Norm, TextToImage, Threat
from kivuko.perturbations.image.pgd import apgd, apply_universal, fgsm, pgd, universal
from kivuko.perturbations.image.pixel_tower import BATCH, on_levels
from kivuko.perturbations.image.standard import square, standard
from kivuko.perturbations.sga import co_attack, sga
from kivuko.perturbations.spec import AttackSpec, parse_attack, perturbed_texts
from kivuko.perturbations.target import (
    Attacked,
    Crafted,
    Draws,
    PerturbedImages,
    QuerySet,
    Target,
    from_bytes,
    to_bytes,
)
from kivuko.perturbations.text.gradients import char_gradient, hotflip
from kivuko.perturbations.text.search import AttackedText, Rows, Vectors, apply_patterns, greedy_search, universal_edit
from kivuko.progress import Report

ENGLISH = "en"
SEP_ATTACK = "sep-attack"
_PIXEL_BYTES = 128 << 20  # of images that are attacked together, and of crafted ones kept in memory
_IMAGE_ATTACKS: Mapping[str, Any] = {"fgsm": fgsm, "pgd": pgd, "apgd": apgd, "square": square, "standard": standard}
_ARGUMENTS = ("steps", "restarts", "loss", "early_stop", "queries")
_JOINT_ATTACKS: Mapping[str, Any] = {"co-attack": co_attack, "sga": sga}
_GRADIENT_SEARCHES: Mapping[str, Any] = {"hotflip": hotflip, "char-gradient": char_gradient}


def sweeps(specs: Sequence[AttackSpec]) -> list[list[AttackSpec]]:
    """Group attacks that differ in their budget only, each group in order of its budgets."""
    groups: dict[str, list[AttackSpec]] = {}
    for spec in specs:
        groups.setdefault(spec.label, []).append(spec)
    return [sorted(group, key=lambda spec: spec.budget) for group in groups.values()]


@dataclass(eq=False)
class AttackRunner:
    """Runs attacks on one target."""

    target: Target
    # all attacked queries, by language; attacks against English perturb the images of them all
    sets: Mapping[str, QuerySet] = field(default_factory=dict)
    draws: Draws = field(default_factory=Draws)
    # images that were perturbed before; those perturbed against English are added
    crafted: dict[AttackSpec, Crafted] = field(default_factory=dict)
    _changes: dict[tuple[AttackSpec, str], Tensor] = field(default_factory=dict)  # universal ones
    _last_search: tuple[Any, int, list[AttackedText]] | None = None  # key, budget, result

    def run(self, specs: Sequence[AttackSpec], queries: QuerySet, progress: Report | None = None) -> Iterator[Attacked]:
        """Run attacks that differ in their budget only on queries of one language.

        One result per attack; where images are attacked, for as many queries at a time as have 128 MB of pixels.
        """
        spec = specs[0]
        if spec.attack.kind == "text":
            yield from self._on_texts(specs, queries, progress)
            return
        image_specs = [image_side(one) for one in specs]
        if _against_english(image_specs[0]) and not all(one in self.crafted for one in image_specs):
            self.craft(image_specs, progress)
        ready = all(one in self.crafted for one in image_specs)
        for seed, part in self._parts(queries, together=ready):
            if spec.attack.kind == "joint":
                yield from self._on_pairs(specs, part, seed, progress)
            else:
                yield from self._on_images(specs, part, seed, progress)

    def craft(self, specs: Sequence[AttackSpec], progress: Report | None = None) -> None:
        """Perturb the images of all queries, for attacks that differ in their budget only.

        Attacks by gradients or search work against the English text of a query, in the English teacher's vectors.
        """
        pairs = (zip(one.english, one.own.tolist(), strict=True) for one in self.sets.values())
        keys = list(dict.fromkeys(key for own_pairs in pairs for key in own_pairs))
        if not keys:
            raise UsageError(f"attack {specs[0].text}: the queries have no English text; choose crafted=own.")
        texts, own = [text for text, _ in keys], np.array([row for _, row in keys], dtype=np.int64)
        needed = specs[0].attack.needs != "nothing"
        vectors = self.target.encode_english(texts) if needed else self.target.gallery[own]
        everyone = QuerySet(ENGLISH, texts, texts, own, vectors, texts)
        columns: dict[AttackSpec, list[tuple[Any, ...]]] = {spec: [] for spec in specs}
        stored: dict[AttackSpec, NDArray[np.uint8]] = {}
        done = 0
        for seed, part in self._parts(everyone):
            rows = self._rows(specs[0], part)
            original = self.target.pixels(rows.tolist())
            for spec, images in self._perturbed(specs, part, rows, original, seed, progress):
                seen = self._seen(spec, rows, original, images.pixels)
                columns[spec].append((seen.vectors, seen.moved, images.calls.numpy()))
                if spec not in stored:
                    stored[spec] = _storage((len(own), *original.shape[1:]))
                stored[spec][done : done + len(part)] = to_bytes(images.pixels)
            done += len(part)
        places = {key: place for place, key in enumerate(keys)}
        for spec, parts in columns.items():
            vectors, moved, calls = (np.concatenate(column) for column in zip(*parts, strict=True))
            self.crafted[spec] = Crafted(places, vectors, moved, calls, stored[spec])

    # Text attacks

    def _on_texts(self, specs: Sequence[AttackSpec], queries: QuerySet, progress: Report | None) -> Iterator[Attacked]:
        nothing, target, language = np.zeros(len(queries), dtype=np.int64), self.target, queries.language
        spec = specs[0]
        if spec.custom is not None:
            for one in specs:
                texts, each = perturbed_texts(
                    one.custom, queries.texts, [language] * len(queries), target.encode, queries.goal(target.gallery)
                )
                yield self._scored(one, queries, nothing + each, texts)
        elif spec.attack.needs == "nothing":
            name, noise = spec.attack.name, perturb_within if spec.attack.name == CODE_POINTS else perturb
            kinds: list[str | EditKind] = [target.code_switch(language) if name == CODE_SWITCH else name]
            if name == CODE_POINTS:
                kinds = [*str(spec["kinds"]).split("+")]
            for one in specs:
                texts = [
                    noise(text, language, kinds, int(one.budget), generator)
                    for text, generator in zip(queries.texts, self.draws.edits(one, queries), strict=False)
                ]
                yield self._scored(one, queries, nothing, texts)
        elif spec.attack.name == "universal-text":
            names = target.training(language)  # so that no query is seen before its attack
            patterns = universal_edit(
                target.encode, names.texts, language, names.goal(target.gallery), edits=specs[-1].number("edits"),
                progress=progress,
            )  # fmt: skip
            for one in specs:
                texts = [apply_patterns(text, patterns[: one.number("edits")]) for text in queries.texts]
                yield self._scored(one, queries, nothing, texts)
        else:
            searched = self._search(specs[-1], queries, progress)
            for one in specs:
                within = [text.within(one.number("edits")) for text in searched]
                yield self._scored(one, queries, _calls(within), [text.perturbed for text in within])

    def _search(
        self, spec: AttackSpec, queries: QuerySet, progress: Report | None, instead: Vectors | None = None
    ) -> list[AttackedText]:
        """Search for the worst edits; a smaller budget's result is the beginning of a larger one's.

        ``instead``: vectors in the place of the own images', float32 [n, dim].
        """
        run = _GRADIENT_SEARCHES.get(spec.attack.name, greedy_search)  # the latter also for the text side of Sep-Attack
        edits, named = spec.number("edits"), dict[str, Any](candidates=spec.number("candidates"))
        if spec.attack.has("kinds"):
            named |= {"kinds": str(spec["kinds"]).split("+"), "seed": self.draws.seed}
        key = (run, queries.language, tuple(queries.ids), named)
        last = None if instead is not None else self._last_search
        if last is not None and last[0] == key and last[1] >= edits:
            return [one.within(edits) for one in last[2]]
        texts: list[AttackedText] = run(
            self.target.encode if run is greedy_search else self.target.gradients, queries.texts,
            [queries.language] * len(queries), replace(queries.goal(self.target.gallery), instead=instead),
            edits=edits, progress=progress, **named,
        )  # fmt: skip
        if instead is None:
            self._last_search = (key, edits, texts)
        return texts

    # Image attacks

    def _parts(self, queries: QuerySet, together: bool = False) -> Iterator[tuple[int, QuerySet]]:
        """Yield a seed and queries whose images are attacked together."""
        seed = self.draws.image_seed
        if together or not len(queries):
            yield seed, queries
            return
        size = self.target.pixels(queries.own[:1].tolist()).nbytes
        step = max(BATCH, _PIXEL_BYTES // size)
        for number, start in enumerate(range(0, len(queries), step)):
            yield seed + number, queries.part(slice(start, start + step))

    def _rows(self, spec: AttackSpec, queries: QuerySet) -> Rows:
        """Return the row of the perturbed image of each query: its own, or if targeted one drawn from the others."""
        if not spec.get("targeted", False):
            return queries.own
        goal = queries.goal(self.target.gallery)
        names = queries.english or queries.texts
        chosen = [
            self.draws.target(name, row, len(goal.gallery)) for name, row in zip(names, goal.own.tolist(), strict=True)
        ]
        drawn = np.array(chosen, dtype=np.int64)
        return drawn if queries.searched is None else queries.searched[drawn]

    def _on_images(
        self, specs: Sequence[AttackSpec], queries: QuerySet, seed: int, progress: Report | None
    ) -> Iterator[Attacked]:
        rows = self._rows(specs[0], queries)
        if all(spec in self.crafted for spec in specs):
            for spec in specs:
                images, calls = self._from_crafted(spec, queries, rows)
                yield self._scored(spec, queries, calls, images=images)
            return
        original = self.target.pixels(rows.tolist())
        for spec, attacked in self._perturbed(specs, queries, rows, original, seed, progress):
            images = self._seen(spec, rows, original, attacked.pixels)
            yield self._scored(spec, queries, attacked.calls.numpy(), images=images)

    def _from_crafted(self, spec: AttackSpec, queries: QuerySet, rows: Rows) -> tuple[PerturbedImages, Rows]:
        crafted = self.crafted[spec]
        chosen = crafted.rows_of(queries)
        original = pixels = None
        if crafted.pixels is not None:
            original, pixels = self.target.pixels(rows.tolist()), from_bytes(crafted.pixels[chosen])
        targeted = bool(spec.get("targeted", False))
        images = PerturbedImages(rows, crafted.vectors[chosen], crafted.moved[chosen], original, pixels, targeted)
        return images, crafted.calls[chosen]

    def _perturbed(
        self, specs: Sequence[AttackSpec], queries: QuerySet, rows: Rows, original: Tensor, seed: int,
        progress: Report | None,
    ) -> Iterator[tuple[AttackSpec, AttackedImages]]:  # fmt: skip
        """Perturb images ``rows``, whose pixels are ``original``, against the vectors of the queries."""
        nothing = torch.zeros(len(rows), dtype=torch.long)
        goal = queries.image_goal(self.target.gallery, rows, targeted=bool(specs[0].get("targeted", False)))
        previous: Tensor | None = None
        for spec in specs:
            threat = Threat(cast(Norm, spec.get("norm", "linf")), spec.budget) if spec.attack.has("eps") else None
            if spec.custom is not None:
                yield spec, AttackedImages(self._custom(spec, original, goal, threat), nothing.float(), nothing + 1)
            elif threat is None:
                yield spec, AttackedImages(self.draws.corrupt(spec, original, rows), nothing.float(), nothing)
            elif spec.attack.name == "universal":
                change = self._universal_change(spec, queries.language, threat, seed, progress)
                yield spec, apply_universal(self.target.tower, original, goal, threat, change)
            else:
                named: dict[str, Any] = {name: spec[name] for name in _ARGUMENTS if spec.attack.has(name)}
                if spec.get("warm_start", False):
                    named["start"] = previous  # within a smaller radius is within a larger one
                attack = _IMAGE_ATTACKS[spec.attack.name]
                images: AttackedImages = attack(
                    self.target.tower, original, goal, threat, **named, seed=seed, progress=progress
                )
                previous = images.pixels
                yield spec, images

    def _universal_change(
        self, spec: AttackSpec, language: str, threat: Threat, seed: int, progress: Report | None
    ) -> Tensor:
        """Learn one change on the images of training names, so that it has seen none of the attacked ones."""
        source = ENGLISH if spec["crafted"] == "english" else language
        if (spec, source) not in self._changes:
            names = self.target.training(source)
            self._changes[spec, source] = universal(
                self.target.tower, self.target.pixels(names.own.tolist()), names.image_goal(self.target.gallery),
                threat, epochs=spec.number("epochs"), seed=seed, progress=progress,
            )  # fmt: skip
        return self._changes[spec, source]

    def _custom(self, spec: AttackSpec, original: Tensor, goal: TextToImage, threat: Threat | None) -> Tensor:
        pixels = spec.custom.perturb_images(original.clone(), goal, self.target.tower)
        if not isinstance(pixels, Tensor) or pixels.shape != original.shape or not pixels.isfinite().all():
            shape = list(original.shape)
            raise UsageError(f"attack {spec.text}: perturb_images must return finite pixels of shape {shape}.")
        pixels = pixels.detach().to(original).clamp(0, 1)
        return on_levels(pixels) if threat is None else threat.on_levels(original, threat.project(original, pixels))

    def _seen(self, spec: AttackSpec, rows: Rows, original: Tensor, pixels: Tensor) -> PerturbedImages:
        """Encode perturbed images; an unchanged one keeps its vector to the last bit."""
        moved = (pixels != original).flatten(1).any(1).numpy()
        vectors: Vectors = self.target.gallery[rows].copy()
        if moved.any():
            vectors[moved] = self.target.tower.encode(pixels[torch.from_numpy(moved)]).cpu().numpy()
        return PerturbedImages(rows, vectors, moved, original, pixels, bool(spec.get("targeted", False)))

    # Joint attacks

    def _on_pairs(
        self, specs: Sequence[AttackSpec], queries: QuerySet, seed: int, progress: Report | None
    ) -> Iterator[Attacked]:
        if specs[0].attack.name == SEP_ATTACK:
            yield from self._sep_attack(specs, queries, seed, progress)
            return
        original = self.target.pixels(queries.own.tolist())
        for spec in specs:
            texts, attacked = _JOINT_ATTACKS[spec.attack.name](
                self.target, queries, original, Threat(cast(Norm, spec["norm"]), spec.budget),
                partial(self._search, spec, queries, None), spec.number("steps"), seed, progress,
            )  # fmt: skip
            calls = _calls(texts) + attacked.calls.numpy()
            images = self._seen(spec, queries.own, original, attacked.pixels)
            yield self._scored(spec, queries, calls, [one.perturbed for one in texts], images)

    def _sep_attack(
        self, specs: Sequence[AttackSpec], queries: QuerySet, seed: int, progress: Report | None
    ) -> Iterator[Attacked]:
        """Combine a query edited against the clean image and an image perturbed against the clean query."""
        texts = self._search(specs[0], queries, progress)
        image_sides = self._on_images([image_side(spec) for spec in specs], queries, seed, progress)
        for spec, side in zip(specs, image_sides, strict=True):
            calls = _calls(texts) + side.calls
            yield self._scored(spec, queries, calls, [one.perturbed for one in texts], side.images)

    # Results

    def _scored(
        self, spec: AttackSpec, queries: QuerySet, calls: Rows, texts: Sequence[Perturbed] | None = None,
        images: PerturbedImages | None = None,
    ) -> Attacked:  # fmt: skip
        """Rank the right images before and after; unchanged texts and images keep their scores to the last bit."""
        texts = [Perturbed(text, text) for text in queries.texts] if texts is None else texts
        vectors, everyone = queries.vectors, np.arange(len(queries))
        if edited := [n for n, text in enumerate(texts) if text.text != text.original]:
            vectors = vectors.copy()
            vectors[edited] = self.target.encode([texts[n].text for n in edited])
        goal = after = queries.goal(self.target.gallery)
        first = None
        if images is not None:
            rows = images.rows if queries.searched is None else np.searchsorted(queries.searched, images.rows)
            after = replace(goal, instead=images.vectors, replaced=np.where(images.moved, rows, -1))
            if images.targeted:
                first = replace(after, own=rows).rank(vectors, everyone).ranks == 1
        return Attacked(
            spec, queries, goal.rank(queries.vectors, everyone).ranks, after.rank(vectors, everyone).ranks, texts,
            images, calls, first,
        )  # fmt: skip


def _calls(texts: Sequence[AttackedText]) -> Rows:
    return np.array([one.calls for one in texts], dtype=np.int64)


def image_side(spec: AttackSpec) -> AttackSpec:
    """Return the image side of Sep-Attack; any other attack as it is."""
    if spec.attack.name != SEP_ATTACK:
        return spec
    side = parse_attack(str(spec["image"])).with_value("early_stop", False)
    for name in ("eps", "norm", "steps", "crafted", "warm_start"):
        if side.attack.has(name):
            side = side.with_value(name, spec[name])
    return side


def _against_english(spec: AttackSpec) -> bool:
    """Return True for attacks that perturb images once for all languages; universal changes are learned elsewhere."""
    return spec.get("crafted", "own") == "english" and spec.attack.name != "universal"


def _storage(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an array for images: in memory, or if they are many in a temporary file of this process."""
    if int(np.prod(shape)) <= _PIXEL_BYTES:
        return np.zeros(shape, dtype=np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
