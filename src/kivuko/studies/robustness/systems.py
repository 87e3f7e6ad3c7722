"""The systems under attack: what turns a query of some language into a vector, and what an attacker may know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from kivuko.datasets.emoji import Query
from kivuko.encoders.teacher import TextTeacher
from kivuko.encoders.token_batch import Encoder
from kivuko.perturbations import EditKind, Perturbed, code_switch, perturb
from kivuko.perturbations.image import TextToImage, Threat, apgd
from kivuko.perturbations.image.pixel_tower import LEVELS
from kivuko.perturbations.text import (
    AttackedText,
    EncodeTexts,
    GradientEncoder,
    TextGoal,
    gradient_encoder,
    greedy_search,
    hotflip,
)
from kivuko.studies import grid
from kivuko.studies.grid import Run
from kivuko.studies.inputs import ENGLISH, StudyInputs, unit
from kivuko.studies.low_resource import job_of, training_notes, translator_of
from kivuko.studies.robustness.grid import CODE_SWITCH, ENGLISH_CRAFTED, GREEDY, HOTFLIP, OWN_CRAFTED, radius, separate
from kivuko.studies.robustness.inputs import RobustnessInputs, TowerImages, Vectors
from kivuko.studies.runs import Notes
from kivuko.training.student_training import train_student
from kivuko.translation.translator import Translator

_BATCH = 256
_MOST_REMEMBERED = 300_000  # texts whose vectors are kept at hand: some 500 MB


@dataclass(frozen=True, eq=False)
class System:
    """Something that searches.

    Attributes:
        name: of the model, for the records.
        languages: of its queries.
        encoder: language -> texts -> unit vectors, float32 [texts, dim].
        gradients: of its insides; None where there are none to take.
        slow: whether a query costs so much that only the noise in ``Plan.spoken`` is tried, and no search.
        notes: how it was made.
    """

    name: str
    languages: tuple[str, ...]
    encoder: Callable[[str], EncodeTexts]
    gradients: GradientEncoder | None = None
    slow: bool = False
    notes: Notes = field(default_factory=dict)


def make_system(run: Run, inputs: StudyInputs) -> System:
    """Train or load the system of a run.

    Raises:
        KivukoError: training diverged, a model does not load, or it does not know a language.
    """
    if run.kind == grid.TEACHER:
        encode = encoder_of(inputs.teacher)
        return System(inputs.teacher.name, (ENGLISH,), lambda _code: encode)
    if run.kind == grid.DISTILLATION:
        trained = train_student(job_of(run, inputs), inputs.teacher)
        inside = gradient_encoder(trained.student)
        return System(trained.about.student, inputs.languages, lambda _code: inside.encode, inside,
                      notes=training_notes(trained.outcome))  # fmt: skip
    translator, notes = translator_of(run, inputs)
    english = _remembering(inputs.teacher)
    return System(
        translator.name, inputs.languages, lambda code: _translating(translator, code, english),
        slow=True, notes=notes,
    )  # fmt: skip


def encoder_of(encoder: Encoder) -> EncodeTexts:
    """Return a function from texts to an encoder's unit sentence vectors; it remembers what it was asked."""
    known: dict[str, NDArray[np.float32]] = {}

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        if len(known) > _MOST_REMEMBERED:
            known.clear()
        new = sorted({text for text in texts if text not in known}, key=lambda text: (len(text), text))
        for start in range(0, len(new), _BATCH):
            part = new[start : start + _BATCH]
            vectors = unit(encoder.encode_tokens(part).pooled.float().cpu().numpy())
            known.update(zip(part, vectors, strict=True))
        return np.stack([known[text] for text in texts])

    return encode


_english: dict[str, EncodeTexts] = {}  # the last teacher's encoder


def _remembering(teacher: TextTeacher) -> EncodeTexts:
    """Return the teacher's encoder, the same for all runs of a process: translators write many texts alike."""
    if teacher.fingerprint not in _english:
        _english.clear()
        _english[teacher.fingerprint] = encoder_of(teacher)
    return _english[teacher.fingerprint]


def _translating(translator: Translator, code: str, english: EncodeTexts) -> EncodeTexts:
    """Translate each distinct text once, then encode the English: many queries come again, or are not changed."""
    spoken: dict[str, str] = {}

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in spoken]
        # All at once: the translator puts texts of like length together, and a short one does not wait for a long one.
        spoken.update(zip(new, translator.translate(new, code) if new else [], strict=True))
        return english([spoken[text] for text in texts])

    return encode


Ranks = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Outcome:
    """Ranks of one language's queries under one attack, and what was done to them.

    ``tower``: whose images were searched. ``attack`` None: clean. ``texts`` and ``pixels`` (image's row -> uint8
    [3, h, w]) say what was changed, where something was; ``calls`` int64 [queries], times that the system was asked.
    """

    tower: TowerImages
    attack: str | None
    budget: float | None
    language: str
    queries: Sequence[Query]
    ranks: Ranks
    texts: Sequence[Perturbed] | None = None
    pixels: dict[int, NDArray[np.uint8]] | None = None
    calls: Sequence[int] | None = None


def attacked(system: System, code: str, inputs: RobustnessInputs, seed: int) -> Iterator[Outcome]:
    """Attack a system's queries of one language in every way of the plan.

    Args:
        seed: of the noise and of the searches' draws; equal for all systems of one training seed.
    """
    encode, queries = system.encoder(code), inputs.queries(code)
    vectors = encode([query.text for query in queries])
    for tower in inputs.towers:
        yield Outcome(tower, None, None, code, queries, _ranks(vectors, tower, queries))
        yield from _on_images(vectors, tower, queries, inputs)
    first = inputs.towers[0]
    yield from _noise(system, encode, code, first, inputs, seed)
    if not system.slow:
        yield from _by_search(system, encode, code, first, inputs, seed)
    for tower in inputs.towers:
        yield from _with_own_vectors(encode, code, tower, inputs)


def _noise(
    system: System, encode: EncodeTexts, code: str, tower: TowerImages, inputs: RobustnessInputs, seed: int
) -> Iterator[Outcome]:
    """Misspell every query at random; the draws depend on the seed and the attack alone."""
    queries, plan = inputs.queries(code), inputs.plan
    for place, (name, budgets) in enumerate(plan.noise):
        if (system.slow and name not in plan.spoken) or (name == CODE_SWITCH and code == ENGLISH):
            continue
        kinds: list[str | EditKind] = [code_switch(inputs.tables)] if name == CODE_SWITCH else [name]
        for budget in budgets:
            rng = np.random.default_rng([seed, place, budget])
            made = [perturb(query.text, code, kinds, budget, rng) for query in queries]
            ranks = _ranks(encode([one.text for one in made]), tower, queries)
            yield Outcome(tower, name, float(budget), code, queries, ranks, made)


def _by_search(
    system: System, encode: EncodeTexts, code: str, tower: TowerImages, inputs: RobustnessInputs, seed: int
) -> Iterator[Outcome]:
    """Search for the worst edits, with and without the system's insides; and with the image perturbed too."""
    plan = inputs.plan
    queries = inputs.queries(code, concepts=plan.attacked)
    texts, languages = [query.text for query in queries], [code] * len(queries)
    found = greedy_search(
        encode, texts, languages, _goal(tower, queries),
        edits=plan.greedy_edits, candidates=plan.greedy_candidates, seed=seed,
    )  # fmt: skip
    for budget in range(1, plan.greedy_edits + 1):
        yield _searched(tower, GREEDY, budget, code, queries, found)
    for edits, levels in plan.joint:
        if (ENGLISH_CRAFTED, radius(levels)) not in tower.attacked or edits > plan.greedy_edits:
            continue
        crafted = tower.attacked[ENGLISH_CRAFTED, radius(levels)]
        both = [own.within(edits).perturbed for own in found]
        ranks = _ranks(encode([one.text for one in both]), tower, queries, [crafted[q.image] for q in queries])
        pixels = dict(tower.shown[ENGLISH_CRAFTED, radius(levels)])
        yield Outcome(
            tower, separate(edits), radius(levels), code, queries, ranks, both, pixels, [o.calls for o in found]
        )
    if system.gradients is not None and plan.hotflip_edits:
        few = inputs.queries(code, concepts=plan.hotflip_attacked)
        flipped = hotflip(
            system.gradients, [query.text for query in few], [code] * len(few), _goal(tower, few),
            edits=plan.hotflip_edits, candidates=plan.hotflip_candidates,
        )  # fmt: skip
        for budget in range(1, plan.hotflip_edits + 1):
            yield _searched(tower, HOTFLIP, budget, code, few, flipped)


def _searched(
    tower: TowerImages, name: str, budget: int, code: str, queries: Sequence[Query], found: Sequence[AttackedText]
) -> Outcome:
    within = [own.within(budget) for own in found]
    ranks = np.array([own.rank_after for own in within], dtype=np.int64)
    return Outcome(
        tower, name, float(budget), code, queries, ranks,
        [own.perturbed for own in within], calls=[own.calls for own in within],
    )  # fmt: skip


def _on_images(
    vectors: Vectors, tower: TowerImages, queries: Sequence[Query], inputs: RobustnessInputs
) -> Iterator[Outcome]:
    """Search with the clean queries where the right image, and it alone, was changed beforehand."""
    place = {query.id: row for row, query in enumerate(queries)}
    for (name, budget), changed in tower.attacked.items():
        some = [query for query in queries if query.image in changed]
        if name == ENGLISH_CRAFTED:
            chosen = set(inputs.concepts[: inputs.plan.attacked])
            some = [query for query in some if query.concept in chosen]
        if not some:
            continue
        own = vectors[[place[query.id] for query in some]]
        ranks = _ranks(own, tower, some, [changed[query.image] for query in some])
        yield Outcome(
            tower, name, budget, some[0].language, some, ranks, pixels=dict(tower.shown.get((name, budget), {}))
        )


def _with_own_vectors(
    encode: EncodeTexts, code: str, tower: TowerImages, inputs: RobustnessInputs
) -> Iterator[Outcome]:
    """Perturb the right image away from the system's own query vector."""
    plan = inputs.plan
    queries = [query for query in inputs.queries(code, concepts=plan.own_attacked) if query.image in tower.pixels]
    if not queries or not plan.own_radii:
        return
    vectors = encode([query.text for query in queries])
    pixels = torch.from_numpy(np.stack([tower.pixels[query.image] for query in queries])).float() / LEVELS
    own = torch.tensor([query.image for query in queries])
    goal = TextToImage(torch.from_numpy(vectors), torch.from_numpy(tower.gallery), own)
    for levels in plan.own_radii:
        found = apgd(
            tower.tower, pixels.contiguous(memory_format=torch.channels_last), goal, Threat("linf", radius(levels)),
            steps=plan.own_steps, early_stop=False,
        )  # fmt: skip
        ranks = _ranks(vectors, tower, queries, list(tower.tower.encode(found.pixels).numpy()))
        changed = (found.pixels * LEVELS).round().to(torch.uint8).contiguous().numpy()
        shown = dict(zip(own.tolist(), changed, strict=True))
        yield Outcome(
            tower, OWN_CRAFTED, radius(levels), code, queries, ranks, pixels=shown, calls=found.calls.tolist()
        )


def _goal(tower: TowerImages, queries: Sequence[Query]) -> TextGoal:
    return TextGoal(tower.gallery, np.array([query.image for query in queries], dtype=np.int64))


def _ranks(
    vectors: Vectors, tower: TowerImages, queries: Sequence[Query], changed: Sequence[Vectors] | None = None
) -> Ranks:
    """Return ranks from 1, ties against the right image; ``changed``: its vectors, where it was perturbed."""
    if changed is None:
        return _goal(tower, queries).standing(vectors, np.arange(len(queries))).ranks
    own = (vectors * np.stack(changed)).sum(1)
    scores = vectors @ tower.gallery.T
    scores[np.arange(len(queries)), [query.image for query in queries]] = -np.inf
    ranks: Ranks = (scores >= own[:, None]).sum(1) + 1
    return ranks
