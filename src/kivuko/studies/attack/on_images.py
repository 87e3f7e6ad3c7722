"""Attacks on pictures alone: each query's picture is perturbed while all others stay clean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kivuko.attacks.image import AttackedImages, TextToImage, apgd, apply_universal, fgsm, pgd, square
from kivuko.attacks.image import standard as standard_ensemble
from kivuko.attacks.image import universal as universal_change
from kivuko.attacks.image.corruptions import corrupt
from kivuko.attacks.spec import AttackSpec
from kivuko.datasets.emoji.world import Query
from kivuko.studies.attack.outcome import Attacked, AttackedPictures, attacked, threat_of
from kivuko.studies.attack.progress import Progress
from kivuko.studies.attack.victim import QuerySet, Vectors, Victim, stream

ENGLISH = "en"


@dataclass(eq=False)
class ImageAttacks:
    """Attacks on one victim's pictures; what is crafted with English is crafted once and tried in every language."""

    victim: Victim
    languages: Sequence[str]
    _english: dict[AttackSpec, tuple[dict[tuple[str, int], int], AttackedImages]] = field(default_factory=dict)
    _changes: dict[tuple[AttackSpec, str], Tensor] = field(default_factory=dict)

    def attack(self, spec: AttackSpec, queries: QuerySet, progress: Progress) -> Attacked:
        """Run one attack of kind "image" on the pictures that the queries of one language should find."""
        if spec.attack.needs == "nothing":
            return self._noise(spec, queries)
        rows = self._rows(spec, queries.queries)
        if spec.attack.name == "universal":
            found = self._universal(spec, queries, rows, progress)
        elif spec["crafted"] == "english":
            found = self._from_english(spec, queries, progress)
        else:
            found = self._adversarial(spec, queries.vectors, rows, progress)
        pictures = AttackedPictures(rows, self._pixels(rows), found.pixels, bool(spec.get("targeted", False)))
        return attacked(self.victim, spec, queries, found.calls.numpy(), pictures=pictures)

    def _noise(self, spec: AttackSpec, queries: QuerySet) -> Attacked:
        """Give each picture its own noise, the same for every query, language and number of queries."""
        original, severity = self._pixels(queries.own), spec.number("severity")
        made = [
            corrupt(original[n : n + 1], spec.attack.name, severity, int(stream(self.victim.seed, row).integers(2**62)))
            for n, row in enumerate(queries.own.tolist())
        ]
        pictures = AttackedPictures(queries.own, original, torch.cat(made))
        return attacked(self.victim, spec, queries, np.zeros(len(queries), dtype=np.int64), pictures=pictures)

    def _adversarial(
        self, spec: AttackSpec, vectors: Vectors, rows: NDArray[np.int64], progress: Progress
    ) -> AttackedImages:
        """Perturb pictures ``rows`` against queries of the given vectors, float32 [n, dim]."""
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
        """Return pictures that were perturbed against the English name, whoever the query is."""
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
        """Find one change on the pictures of training names, so that it has seen none of those it is tried on."""
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
        """Return which picture is perturbed for each query: its own, or if targeted one drawn from the others."""
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
