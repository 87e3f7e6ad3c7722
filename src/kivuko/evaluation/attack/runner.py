"""Measures a model clean and under attacks, and writes what was found."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kivuko.datasets.emoji.world import Query
from kivuko.evaluation import write_records
from kivuko.evaluation.attack.results import Attacked, PerturbedImages, Results, attacked, png, threat_of
from kivuko.evaluation.attack.victim import QuerySet, Vectors, Victim, stream
from kivuko.evaluation.robustness import AttackedExample, write_examples
from kivuko.files import atomic_path
from kivuko.perturbations import EditKind, Perturbed, perturb
from kivuko.perturbations.image import AttackedImages, TextToImage, apgd, apply_universal, fgsm, pgd, square
from kivuko.perturbations.image import standard as standard_ensemble
from kivuko.perturbations.image import universal as universal_change
from kivuko.perturbations.image.corruptions import corrupt
from kivuko.perturbations.joint import AttackedPairs, Pairs, TextSide, co_attack, separate, sga
from kivuko.perturbations.spec import CODE_SWITCH, AttackSpec
from kivuko.perturbations.text import (
    AttackedText,
    apply_patterns,
    char_gradient,
    greedy_search,
    hotflip,
    universal_edit,
)

Progress = Callable[[int, int], None]  # (steps done, steps) of one attack on one language


class Watch(Protocol):
    """What is told while attacks run."""

    def began(self, attack: str, language: str) -> None:
        """An attack on the queries of one language begins."""
        ...

    def stepped(self, done: int, total: int) -> None:
        """Part of it is done."""
        ...

    def ended(self) -> None:
        """It is done."""
        ...


class Unwatched:
    """A watch that tells nobody."""

    def began(self, attack: str, language: str) -> None:
        """See Watch."""

    def stepped(self, done: int, total: int) -> None:
        """See Watch."""

    def ended(self) -> None:
        """See Watch."""


ENGLISH = "en"


@dataclass(eq=False)
class ImageAttacks:
    """Attacks on one victim's images; what is crafted with English is crafted once and tried in every language."""

    victim: Victim
    languages: Sequence[str]
    _english: dict[AttackSpec, tuple[dict[tuple[str, int], int], AttackedImages]] = field(default_factory=dict)
    _changes: dict[tuple[AttackSpec, str], Tensor] = field(default_factory=dict)

    def attack(self, spec: AttackSpec, queries: QuerySet, progress: Progress) -> Attacked:
        """Run one attack of kind "image" on the images that the queries of one language should find."""
        if spec.attack.needs == "nothing":
            return self._noise(spec, queries)
        rows = self._rows(spec, queries.queries)
        if spec.attack.name == "universal":
            found = self._universal(spec, queries, rows, progress)
        elif spec["crafted"] == "english":
            found = self._from_english(spec, queries, progress)
        else:
            found = self._adversarial(spec, queries.vectors, rows, progress)
        images = PerturbedImages(rows, self._pixels(rows), found.pixels, bool(spec.get("targeted", False)))
        return attacked(self.victim, spec, queries, found.calls.numpy(), images=images)

    def _noise(self, spec: AttackSpec, queries: QuerySet) -> Attacked:
        """Give each image its own noise, the same for every query, language and number of queries."""
        original, severity = self._pixels(queries.own), spec.number("severity")
        made = [
            corrupt(original[n : n + 1], spec.attack.name, severity, int(stream(self.victim.seed, row).integers(2**62)))
            for n, row in enumerate(queries.own.tolist())
        ]
        images = PerturbedImages(queries.own, original, torch.cat(made))
        return attacked(self.victim, spec, queries, np.zeros(len(queries), dtype=np.int64), images=images)

    def _adversarial(
        self, spec: AttackSpec, vectors: Vectors, rows: NDArray[np.int64], progress: Progress
    ) -> AttackedImages:
        """Perturb images ``rows`` against queries of the given vectors, float32 [n, dim]."""
        goal = self._goal(vectors, rows, targeted=bool(spec.get("targeted", False)))
        run = {"fgsm": fgsm, "pgd": pgd, "apgd": apgd, "square": square, "standard": standard_ensemble}
        wanted: dict[str, Any] = {
            name: spec[name] for name in ("steps", "restarts", "loss", "early_stop", "queries") if spec.attack.has(name)
        }
        attack: Any = run[spec.attack.name]
        found: AttackedImages = attack(
            self.victim.tower, self._pixels(rows), goal, threat_of(spec), **wanted, seed=self.victim.seed,
            progress=progress,
        )  # fmt: skip
        return found

    def _from_english(self, spec: AttackSpec, queries: QuerySet, progress: Progress) -> AttackedImages:
        """Return images that were perturbed against the English name, whoever the query is."""
        if spec not in self._english:
            everyone = [query for code in self.languages for query in self.victim.queries(code).queries]
            distinct = {(query.english, query.image): query for query in everyone}
            vectors = self.victim.encode_english([english for english, _ in distinct])
            rows = self._rows(spec, list(distinct.values()))
            found = self._adversarial(spec, vectors, rows, progress)
            self._english[spec] = ({key: place for place, key in enumerate(distinct)}, found)
        places, found = self._english[spec]
        own = torch.tensor([places[query.english, query.image] for query in queries.queries])
        return AttackedImages(found.pixels[own], found.margins[own], found.calls[own])

    def _universal(
        self, spec: AttackSpec, queries: QuerySet, rows: NDArray[np.int64], progress: Progress
    ) -> AttackedImages:
        """Find one change on the images of training names, so that it has seen none of those it is tried on."""
        source = ENGLISH if spec["crafted"] == "english" else queries.language
        tower, threat = self.victim.tower, threat_of(spec)
        if (spec, source) not in self._changes:
            names = self.victim.training(source)
            self._changes[spec, source] = universal_change(
                tower, self._pixels(names.own), self._goal(names.vectors, names.own), threat,
                epochs=spec.number("epochs"), seed=self.victim.seed, progress=progress,
            )  # fmt: skip
        goal = self._goal(queries.vectors, rows)
        return apply_universal(tower, self._pixels(rows), goal, threat, self._changes[spec, source])

    def _goal(self, vectors: Vectors, rows: NDArray[np.int64], targeted: bool = False) -> TextToImage:
        gallery = torch.from_numpy(self.victim.gallery)
        return TextToImage(torch.from_numpy(vectors), gallery, torch.from_numpy(rows), targeted)

    def _rows(self, spec: AttackSpec, queries: Sequence[Query]) -> NDArray[np.int64]:
        """Return which image is perturbed for each query: its own, or if targeted one drawn from the others."""
        own = np.array([query.image for query in queries], dtype=np.int64)
        if not spec.get("targeted", False):
            return own
        steps = [
            int(stream(self.victim.seed, "target", query.english, query.image).integers(1, len(self.victim.gallery)))
            for query in queries
        ]
        return (own + np.array(steps, dtype=np.int64)) % len(self.victim.gallery)

    def _pixels(self, rows: NDArray[np.int64]) -> Tensor:
        return self.victim.pixels(rows.tolist())


_SCHEMES = {"sep": separate, "co-attack": co_attack, "sga": sga}


def attack_pairs(
    victim: Victim, spec: AttackSpec, queries: QuerySet, languages: Sequence[str], progress: Progress
) -> Attacked:
    """Run one attack of kind "joint" on the queries of one language.

    Args:
        languages: all that are measured: of these, "sga" takes the other names of an image.
    """
    pixels = victim.pixels(queries.own.tolist())
    others = _other_names(victim, queries, languages) if spec.attack.name == "sga" else ()
    pairs = Pairs(queries.texts, [queries.language] * len(queries), queries.own, pixels, victim.gallery, others)
    side = TextSide(
        spec.number("edits"), tuple(str(spec["kinds"]).split("+")), spec.number("candidates"), victim.seed
    )  # fmt: skip
    scheme: Any = _SCHEMES[spec.attack.name]
    found: AttackedPairs = scheme(
        victim.encode, victim.tower, pairs, threat_of(spec), side,
        steps=spec.number("steps"), seed=victim.seed, progress=progress,
    )  # fmt: skip
    images = PerturbedImages(queries.own, pixels, found.images.pixels)
    return attacked(victim, spec, queries, found.calls, [one.perturbed for one in found.texts], images)


def _other_names(victim: Victim, queries: QuerySet, languages: Sequence[str]) -> list[list[str]]:
    """Return for each query what its image is called in the other languages."""
    names: dict[int, list[str]] = {}
    for code in languages:
        if code != queries.language:
            for query in victim.world.queries(code, victim.split):
                names.setdefault(query.image, []).append(query.text)
    return [names.get(image, []) for image in queries.own.tolist()]


def attack_texts(victim: Victim, spec: AttackSpec, queries: QuerySet, progress: Progress) -> Attacked:
    """Run one attack of kind "text" on the queries of one language."""
    if spec.attack.needs == "nothing":
        kind = victim.code_switch(queries.language) if spec.attack.name == CODE_SWITCH else spec.attack.name
        return _noise(victim, spec, queries, [kind])
    if spec.attack.name == "universal-text":
        return _universal(victim, spec, queries, progress)
    found = _search(victim, spec, queries, progress)
    calls = np.array([one.calls for one in found], dtype=np.int64)
    return attacked(victim, spec, queries, calls, [one.perturbed for one in found])


def _noise(victim: Victim, spec: AttackSpec, queries: QuerySet, kinds: Sequence[str | EditKind]) -> Attacked:
    """Edit at random, each query by its own draws: those of other queries, or more edits, do not change them."""
    made = [
        perturb(query.text, queries.language, kinds, spec.number("edits"), stream(victim.seed, query.id))
        for query in queries.queries
    ]
    return attacked(victim, spec, queries, np.zeros(len(queries), dtype=np.int64), made)


def _search(victim: Victim, spec: AttackSpec, queries: QuerySet, progress: Progress) -> list[AttackedText]:
    texts, languages, goal = queries.texts, [queries.language] * len(queries), victim.goal(queries)
    edits, candidates = spec.number("edits"), spec.number("candidates")
    if spec.attack.name == "hotflip":
        return hotflip(
            victim.gradients, texts, languages, goal, edits=edits, candidates=candidates, progress=progress
        )  # fmt: skip
    kinds = str(spec["kinds"]).split("+")
    if spec.attack.name == "greedy":
        return greedy_search(
            victim.encode, texts, languages, goal, kinds=kinds, edits=edits, candidates=candidates, seed=victim.seed,
            progress=progress,
        )  # fmt: skip
    return char_gradient(
        victim.gradients, texts, languages, goal, kinds=kinds, edits=edits, candidates=candidates, seed=victim.seed,
        progress=progress,
    )  # fmt: skip


def _universal(victim: Victim, spec: AttackSpec, queries: QuerySet, progress: Progress) -> Attacked:
    """Find the misspelling on training names, so that it has seen none of the queries it is tried on."""
    names = victim.training(queries.language)
    found = universal_edit(
        victim.encode, names.texts, queries.language, victim.goal(names), edits=spec.number("edits"), progress=progress
    )
    made: list[Perturbed] = [apply_patterns(text, found) for text in queries.texts]
    return attacked(victim, spec, queries, np.zeros(len(queries), dtype=np.int64), made)


def run_attacks(
    victim: Victim,
    languages: Sequence[str],
    specs: Sequence[AttackSpec],
    *,
    images: Path | None = None,
    watch: Watch | None = None,
) -> Results:
    """Measure the queries of some languages clean and under each attack.

    Args:
        images: a folder that perturbed images are written to; see :func:`write_images`.

    Raises:
        ModelError: an attack needs gradients that this kind of text encoder cannot give.
        DataError: a language without queries.
    """
    watch = watch or Unwatched()
    results, on_images = Results(victim, tuple(languages)), ImageAttacks(victim, languages)
    results.add_clean([victim.queries(code) for code in languages])
    for spec in specs:
        outcomes = []
        for code in languages:
            watch.began(spec.text, code)
            queries = victim.queries(code)
            if spec.attack.kind == "text":
                outcomes.append(attack_texts(victim, spec, queries, watch.stepped))
            elif spec.attack.kind == "image":
                outcomes.append(on_images.attack(spec, queries, watch.stepped))
            else:
                outcomes.append(attack_pairs(victim, spec, queries, languages, watch.stepped))
            if images is not None:
                write_images(images, outcomes[-1])
            watch.ended()
        results.add_attacked(outcomes)
    results.add_areas()
    return results


def write_results(results: Results, command: str, records: Path, examples: Path | None = None) -> None:
    """Write the records with their per-query scores, and the attacked examples: beside them, or where it is said."""
    write_records(records, results.header(command), results.records, results.per_query)
    if examples is None:
        write_examples(records, results.examples)
    else:
        _write_examples_at(examples, results.examples)


def _write_examples_at(place: Path, examples: Sequence[AttackedExample]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as folder:
        write_examples(Path(folder) / place.stem, examples).replace(place)


def write_images(folder: Path, outcome: Attacked) -> None:
    """Write the perturbed images of one language under one attack as PNG files.

    They lie in ``folder/ATTACK/LANGUAGE/``, named by the code points of the emoji that is asked for (1f408.png).
    """
    if outcome.images is None:
        return
    place = folder / outcome.spec.text.replace("/", "-").replace(":", " ") / outcome.queries.language
    with atomic_path(place) as temporary:
        temporary.mkdir()
        _write_each(temporary, outcome.images, [query.id for query in outcome.queries.queries])


def _write_each(folder: Path, images: PerturbedImages, ids: Sequence[str]) -> None:
    for name, pixels in zip(ids, images.pixels, strict=True):
        stem = "-".join(f"{ord(one):x}" for one in name.partition(":")[2])
        (folder / f"{stem}.png").write_bytes(png(pixels))
