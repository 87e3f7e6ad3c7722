"""The robustness study, objectives × attacks × budgets × seeds: does transport make image search more robust?"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from kivuko.bitext.pairs import Bitext
from kivuko.datasets.emoji.world import Query
from kivuko.encoders.model import quiet
from kivuko.encoders.teacher import TextTeacher, load_teacher
from kivuko.encoders.token_batch import Encoder
from kivuko.errors import UsageError
from kivuko.evaluation.attack.examples import AttackedExample, examples_path, png, write_examples
from kivuko.evaluation.group_means import LanguageScores, summarize
from kivuko.evaluation.measures import CODE_POINTS, values_at
from kivuko.evaluation.records import Condition, Header, Record, record_of
from kivuko.evaluation.statistics import bootstrap_interval
from kivuko.languages import resource_groups
from kivuko.perturbations.catalog import CODE_SWITCH
from kivuko.perturbations.runner import AttackRunner, image_side
from kivuko.perturbations.target import Attacked, QuerySet, to_bytes
from kivuko.perturbations.text.gradients import GradientEncoder, gradient_encoder
from kivuko.perturbations.text.search import EncodeTexts
from kivuko.progress import bars, late_task
from kivuko.ranks import right_ranks
from kivuko.studies import grid
from kivuko.studies import inputs as shared
from kivuko.studies.data import ENGLISH, TEST, VALIDATION, StudyData
from kivuko.studies.engine import FinishedRuns, Study, texts_of
from kivuko.studies.grid import STANDARD, Run, Variant
from kivuko.studies.low_resource import job_of, study_header, training_notes, translator_of
from kivuko.studies.robustness_inputs import (
    HEADLINE_SIZE,
    Plan,
    PlannedAttack,
    RobustnessGrid,
    RobustnessInputs,
    StudyDraws,
    StudyTarget,
    TowerImages,
    Vectors,
    attack_facts,
    is_crafted,
    robustness_grid,
    robustness_inputs,
    usual_recipes,
)
from kivuko.studies.runs import Measured, Notes, RunFile
from kivuko.training.recipe import Recipe
from kivuko.training.student_training import train_student
from kivuko.translation.translate_test import translate_test
from kivuko.vectors import unit_rows

STUDY = "robustness"
_KEPT = (
    "datasets", "ties", "ranking", "R@k", "intervals", "headline", "queries", "splits", "languages", "groups",
    "sizes", "pairs in all", "sampling", "seeds", "steps", "batch", "student", "selection in a run",
    "validation data", "teacher", "translation", "workers", "seconds per run",
)  # fmt: skip


def robustness_header(
    grid: RobustnessGrid, inputs: RobustnessInputs, bitext: Bitext, finished: FinishedRuns, command: str, workers: int
) -> Header:
    """Return the header of the study's records."""
    systems = study_header(grid, inputs.plain, bitext, finished, command, workers)
    sizes, texts = systems.protocol["sizes"], texts_of(STUDY, inputs.data.name)
    recipes = {name: dict(facts) for name, facts in systems.protocol["recipes"].items()}
    for recipe in grid.recipes:
        recipes[recipe.name]["robust"] = recipe.augmentation is not None
        if recipe.augmentation is not None:
            recipes[recipe.name]["augmentation"] = asdict(recipe.augmentation)
            counterpart = recipe.name.removesuffix("-robust")
            if counterpart in recipes and counterpart != recipe.name:
                recipes[recipe.name]["counterpart"] = counterpart
    protocol: dict[str, Any] = {
        "study": STUDY,
        "standard": grid.standard,
        "quick": systems.protocol["quick"],
        "question": texts["question"],
        **{key: systems.protocol[key] for key in _KEPT if key in systems.protocol},
        "headline size": HEADLINE_SIZE if HEADLINE_SIZE in sizes else max(sizes, default=None),
        "recipes": recipes,
        "attacks": attack_facts(grid.plan),
        "plan": asdict(grid.plan),
        "threat": texts["threat"],
        **({"image towers": _towers(grid, inputs)} if inputs.towers[0].name else {}),
        "measures": texts["measures"],
        "noise": texts["noise"],
        "attacked concepts": {
            "available": len(inputs.concepts),
            **{one.specs[0].label: one.concepts for one in grid.plan.attacks if one.concepts is not None},
        },
        "fingerprint": inputs.fingerprint,
        "limits": [*texts["limits"], *systems.protocol["limits"]],
    }  # fmt: skip
    return Header(command=command, protocol=protocol, seeds=grid.seeds)


def _towers(grid: RobustnessGrid, inputs: RobustnessInputs) -> dict[str, str]:
    learned = f"learned from the images of {', '.join(inputs.plain.learned_splits)}"
    whence = "ships with Kivuko" if grid.image_tower is None else "named with --image-tower"
    return {one.name: f"{whence}, {learned}" for one in inputs.towers}


def perturbed_inputs(data: StudyData, grid: RobustnessGrid, progress: bool | None) -> RobustnessInputs:
    """Encode what all runs share, and perturb the images that need no system, with progress bars."""
    with quiet():
        teacher = load_teacher()
    with bars(progress) as display:
        return robustness_inputs(
            data, teacher, grid.plan, words=shared.needs_words(grid.recipes), image_tower=grid.image_tower,
            encoded=late_task(display, "teacher"), attacked=late_task(display, "attacking images"),
        )  # fmt: skip


_BATCH = 256
_MOST_REMEMBERED = 300_000  # texts whose vectors are cached: some 500 MB


@dataclass(frozen=True, eq=False)
class System:
    """A model that queries are encoded with."""

    name: str  # of the model, for the records
    languages: tuple[str, ...]  # of its queries
    encoder: Callable[[str], EncodeTexts]  # language -> texts -> unit vectors, float32 [texts, dim]
    gradients: GradientEncoder | None = None
    slow: bool = False  # only under attacks planned for ``translators`` too
    notes: Notes = field(default_factory=dict)  # on its training


def make_system(run: Run, inputs: shared.StudyInputs) -> System:
    """Train or load the system of a run."""
    if run.kind == grid.TEACHER:
        encode = encoder_of(inputs.teacher)
        return System(inputs.teacher.name, (ENGLISH,), lambda _code: encode)
    if run.kind == grid.DISTILLATION:
        trained = train_student(job_of(run, inputs), inputs.teacher)
        inside = gradient_encoder(trained.student)
        return System(trained.about.student, inputs.languages, lambda _code: inside.encode, inside,
                      notes=training_notes(trained.result))  # fmt: skip
    translator, notes = translator_of(run, inputs)
    english = _remembering(inputs.teacher)
    return System(
        translator.name, inputs.languages, lambda code: translate_test(translator, english, code),
        slow=True, notes=notes,
    )  # fmt: skip


def encoder_of(encoder: Encoder) -> EncodeTexts:
    """Return a function from texts to an encoder's unit sentence vectors, with a cache."""
    known: dict[str, NDArray[np.float32]] = {}

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        if len(known) > _MOST_REMEMBERED:
            known.clear()
        new = sorted({text for text in texts if text not in known}, key=lambda text: (len(text), text))
        for start in range(0, len(new), _BATCH):
            part = new[start : start + _BATCH]
            vectors = unit_rows(encoder.encode_tokens(part).pooled.float().cpu().numpy())
            known.update(zip(part, vectors, strict=True))
        return np.stack([known[text] for text in texts])

    return encode


_english: dict[str, EncodeTexts] = {}  # the last teacher's encoder


def _remembering(teacher: TextTeacher) -> EncodeTexts:
    """Return the teacher's encoder, one for all runs of a process: translations of different runs are often equal."""
    if teacher.fingerprint not in _english:
        _english.clear()
        _english[teacher.fingerprint] = encoder_of(teacher)
    return _english[teacher.fingerprint]


@dataclass(frozen=True, eq=False)
class SearchResult:
    """One language's queries on one tower's images, clean or under one attack.

    ``queries`` and ``ranks`` (int64 [queries], from 1) belong together; ``attacked`` None: clean.
    """

    tower: TowerImages
    language: str
    queries: Sequence[Query]
    ranks: NDArray[np.int64]
    attacked: Attacked | None = None

    @property
    def condition(self) -> tuple[str, str | None, float | None]:
        spec = None if self.attacked is None else self.attacked.spec
        return self.tower.name, spec.label if spec else None, spec.budget if spec else None

    @property
    def shown(self) -> Mapping[int, NDArray[np.uint8]]:
        """Perturbed images by their rows, uint8 [3, h, w], of those that were kept."""
        if self.attacked is None or self.attacked.images is None:
            return {}
        if self.attacked.images.pixels is None:
            return self.tower.shown[image_side(self.attacked.spec)]
        return dict(zip(self.attacked.images.rows.tolist(), to_bytes(self.attacked.images.pixels), strict=True))


def attacked(system: System, code: str, inputs: RobustnessInputs, seed: int) -> Iterator[SearchResult]:
    """Run the plan's attacks on a system's queries of one language; ``seed``: of all draws.

    Text and joint attacks search the first tower's images, attacks on images those of every tower.
    """
    encode, queries = system.encoder(code), inputs.queries(code)
    vectors = encode([query.text for query in queries])
    for tower in inputs.towers:
        everything = _query_set(code, queries, vectors, inputs)
        clean = everything.goal(tower.gallery).rank(vectors, np.arange(len(queries))).ranks
        yield SearchResult(tower, code, queries, clean)
        runner = _runner(system, encode, tower, inputs, seed)
        for planned in inputs.plan.attacks:
            if not _applies(planned, system, code, first=tower is inputs.towers[0]):
                continue
            rows = _attacked_rows(planned, queries, tower, inputs)
            if not rows:
                continue
            some = [queries[row] for row in rows]
            for one in runner.run(planned.specs, _query_set(code, some, vectors[rows], inputs)):
                yield SearchResult(tower, code, some, one.ranks_after, one)


def _runner(
    system: System, encode: EncodeTexts, tower: TowerImages, inputs: RobustnessInputs, seed: int
) -> AttackRunner:
    target = StudyTarget(
        tower.gallery, lambda: tower.tower, tower.pixels_of, encode, encode, system.gradients, inputs.tables
    )  # fmt: skip
    return AttackRunner(target, {}, StudyDraws(seed, tuple(inputs.plan.noises())), dict(tower.crafted))


def _applies(planned: PlannedAttack, system: System, code: str, first: bool) -> bool:
    """Return True if an attack of the plan is for this system and tower."""
    spec = planned.specs[0]
    if planned.against_images:
        return True
    nothing_to_switch = spec.attack.name == CODE_SWITCH and code == ENGLISH
    if not first or nothing_to_switch or (system.slow and not planned.translators):
        return False
    return spec.attack.kind == "joint" or spec.attack.needs != "gradients" or system.gradients is not None


def _attacked_rows(
    planned: PlannedAttack, queries: Sequence[Query], tower: TowerImages, inputs: RobustnessInputs
) -> list[int]:
    """Return the rows of the attacked queries: of the planned concepts, with images whose pixels are kept."""
    chosen = None if planned.concepts is None else set(inputs.concepts[: planned.concepts])
    side = image_side(planned.specs[0])
    images = {row for _, row in tower.crafted[side].places} if is_crafted(side) else set(tower.pixels)
    on_text = planned.specs[0].attack.kind == "text"
    return [
        row
        for row, query in enumerate(queries)
        if (chosen is None or query.concept in chosen) and (on_text or query.image in images)
    ]


def _query_set(code: str, queries: Sequence[Query], vectors: Vectors, inputs: RobustnessInputs) -> QuerySet:
    own = np.array([query.image for query in queries], dtype=np.int64)
    names = [inputs.names[query.image] for query in queries]
    return QuerySet(code, [query.id for query in queries], [query.text for query in queries], own, vectors, names)


_EXAMPLES = 3  # kept of each attack and language


def prepare(inputs: RobustnessInputs) -> Callable[[RunFile], Measured]:
    return lambda file: perform(file, inputs)


def perform(file: RunFile, inputs: RobustnessInputs) -> Measured:
    """Make the system of a run and attack it; of seed 0 some examples are written next to the run's file."""
    started, run = time.monotonic(), file.run
    system = make_system(run, inputs.plain)
    built = time.monotonic()
    gathered: dict[tuple[str, str | None, float | None], list[SearchResult]] = {}  # by tower, attack, budget
    for code in system.languages:
        for result in attacked(system, code, inputs, run.seed or 0):
            gathered.setdefault(result.condition, []).append(result)
    measured, examples = Measured([], []), list[AttackedExample]()
    for key, results in gathered.items():
        condition = _condition(inputs.data.settings[0][0], run, system, *key)
        scores = [_scores(one.language, one.queries, one.ranks, len(one.tower.gallery)) for one in results]
        measured.records.extend(_records(scores, condition))
        measured.per_query.extend(shared.headline_map(scores, condition))
        measured.records.extend(_code_points(one, condition) for one in results if _edits_texts(one))
        if run.seed in (0, None) and key[1] is not None:
            clean = {one.language: one for one in gathered[key[0], None, None]}
            examples += [one for result in results for one in _examples(result, clean[result.language], condition)]
    measured.records.extend(_validation(system, run, inputs))
    if examples:
        write_examples(examples_path(file.path), examples)
    notes = {
        **system.notes,
        "making_seconds": round(built - started, 1),
        "seconds": round(time.monotonic() - started, 1),
    }
    return replace(measured, notes=notes)


def _condition(
    dataset: str, run: Run, system: System, tower: str, attack: str | None, budget: float | None
) -> Condition:
    return Condition(
        dataset=dataset, split=TEST, model=f"{system.name}+{tower}" if tower else system.name,
        objective=run.objective, bitext_size=run.size, seed=run.seed, attack=attack, budget=budget,
    )  # fmt: skip


def _scores(language: str, queries: Sequence[Query], ranks: NDArray[np.int64], images: int) -> LanguageScores:
    values = values_at(ranks, images)
    return LanguageScores(
        language=language, query_ids=[query.id for query in queries],
        values={measure: values[measure] for measure in shared.MEASURES},
        subsets={"copied": np.zeros(len(ranks), dtype=bool)}, clusters=[query.concept for query in queries],
    )  # fmt: skip


def _records(scores: Sequence[LanguageScores], condition: Condition) -> list[Record]:
    codes = [one.language for one in scores]
    own = [] if codes == [ENGLISH] else codes
    groups = {str(name): members for name, members in resource_groups(own).items() if members}
    records = summarize(scores, condition, groups=groups)
    return [one for one in records if one.subset == shared.HEADLINE and one.measure in shared.MEASURES]


def _edits_texts(result: SearchResult) -> bool:
    return result.attacked is not None and result.attacked.spec.attack.kind != "image"


def _code_points(result: SearchResult, condition: Condition) -> Record:
    """Return the mean number of code points by which queries were changed."""
    assert result.attacked is not None
    changed = [Levenshtein.distance(one.original, one.text) for one in result.attacked.texts]
    return record_of(
        condition, bootstrap_interval(changed), len(changed), subset=shared.HEADLINE, language=result.language,
        measure=CODE_POINTS,
    )  # fmt: skip


def _validation(system: System, run: Run, inputs: RobustnessInputs) -> list[Record]:
    """Return the clean MAP on the validation split, by which recipes are chosen."""
    if system.languages == (ENGLISH,):
        return []
    tower, scores = inputs.towers[0], []
    for code in system.languages:
        queries = inputs.queries(code, VALIDATION)
        vectors = system.encoder(code)([query.text for query in queries])
        gallery = inputs.gallery(VALIDATION, tower)
        ranks = right_ranks(unit_rows(vectors) @ gallery.T, np.array([query.image for query in queries]))
        scores.append(shared.map_only(_scores(code, queries, ranks, len(gallery))))
    condition = replace(_condition(inputs.data.settings[0][0], run, system, tower.name, None, None), split=VALIDATION)
    return [record for record in _records(scores, condition) if record.measure == shared.MAP]


def _examples(result: SearchResult, clean: SearchResult, condition: Condition) -> list[AttackedExample]:
    """Return a few queries that were answered well, the best answered first, before and after the attack."""
    assert result.attacked is not None
    before = {query.id: int(rank) for query, rank in zip(clean.queries, clean.ranks, strict=True)}
    shown, texts = result.shown, result.attacked.texts
    edited = result.attacked.spec.attack.kind != "image"
    rows = [
        row
        for row, query in enumerate(result.queries)
        if (not edited or texts[row].edits) and (not shown or query.image in shown)
    ]
    rows.sort(key=lambda row: (before[result.queries[row].id] > 3, -int(result.ranks[row])))
    return [_example(result, row, before, condition, shown) for row in rows[:_EXAMPLES]]


def _example(
    result: SearchResult, row: int, before: dict[str, int], condition: Condition,
    shown: Mapping[int, NDArray[np.uint8]],
) -> AttackedExample:  # fmt: skip
    assert result.attacked is not None
    query, text = result.queries[row], result.attacked.texts[row]
    was, now = result.tower.pixels.get(query.image), shown.get(query.image)
    moved = None if was is None or now is None else np.abs(now.astype(np.float64) - was) / 255
    return AttackedExample(
        condition=condition, language=result.language, query_id=query.id, query=query.text,
        perturbed=text.text, edits=text.edits, image_id=query.id.split(":", 1)[1],
        rank_before=before[query.id], rank_after=int(result.ranks[row]),
        linf=None if moved is None else float(moved.max()),
        l2=None if moved is None else float(np.linalg.norm(moved)),
        calls=int(result.attacked.calls[row]),
        image_before=None if moved is None or was is None else png(was),
        image_after=None if moved is None or now is None else png(now),
    )  # fmt: skip


ROBUSTNESS = Study(
    STUDY,
    robustness_grid,
    usual_recipes,
    perturbed_inputs,
    prepare,
    robustness_header,
)


def robustness_study(attacks: Sequence[str] = (), *, only: bool = False, concepts: int | None = None) -> Study:
    """Return the study with further attacks, as ``kivuko attack`` takes them: ``package.module:Class``, say.

    ``only``: leave out the study's own attacks. ``concepts``: number of test concepts whose queries the searches and
    gradients among ``attacks`` attack; None: as many as the study's at most, or if they are left out all.
    """
    if not attacks and (only or concepts):
        raise UsageError("--only-attacks and --concepts are for attacks named with --attack: name one.")

    def grid(recipes: Sequence[Recipe], variant: Variant = STANDARD) -> RobustnessGrid:
        usual = robustness_grid(recipes, variant)
        return replace(usual, plan=(Plan(()) if only else usual.plan).plus(attacks, concepts))

    return replace(ROBUSTNESS, grid=grid) if attacks else ROBUSTNESS
