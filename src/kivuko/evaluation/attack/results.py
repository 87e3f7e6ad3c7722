"""Run attacks on a target, and turn ranks into records, per-query scores and examples."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from kivuko.errors import UsageError
from kivuko.evaluation.attack.examples import AttackedExample, png
from kivuko.evaluation.attack.targets import AttackedQuery, CaptionTarget, EmojiTarget
from kivuko.evaluation.evaluator import ENGLISH, condition_of
from kivuko.evaluation.group_means import ALL, HEADLINE, HIGH, LOW, LanguageScores, per_query_scores, summarize
from kivuko.evaluation.measures import AREA, CALLS, GAP, TARGET_FIRST, values_at
from kivuko.evaluation.records import Condition, PerQueryScores, Record, record_of
from kivuko.evaluation.robustness import accuracy_radius_area, resource_gap, robustness_records
from kivuko.evaluation.statistics import Interval
from kivuko.files import atomic_path
from kivuko.languages import resource_groups
from kivuko.perturbations.catalog import CODE_SWITCH
from kivuko.perturbations.runner import AttackRunner, sweeps
from kivuko.perturbations.spec import AttackSpec
from kivuko.perturbations.target import Attacked, Draws, to_bytes

_IMAGES_KEPT = 2  # examples per attack and language that carry their images


def run_attacks(
    target: EmojiTarget | CaptionTarget,
    specs: Sequence[AttackSpec],
    grouped: Sequence[str] | None = None,  # languages that group means are taken over; None: all
    images: Path | None = None,  # a folder that perturbed images are written to
    display: Progress | None = None,
) -> "Results":
    """Measure the target's queries clean and under each attack."""
    sets = {code: target.attacked(code) for code in target.languages}
    for spec in specs:
        _refuse_early(target, spec)
    runner = AttackRunner(target, sets, Draws(target.seed))
    results = Results(target, tuple(target.languages if grouped is None else grouped))
    results.add_clean(
        {code: own.goal(target.gallery).rank(own.vectors, np.arange(len(own))).ranks for code, own in sets.items()}
    )
    groups = sweeps(specs)
    by_spec: dict[AttackSpec, list[Any]] = {spec: [] for spec in specs}
    with _watched(display, len(groups) * len(sets)) as watch:
        for group in groups:
            for code, own in sets.items():
                report = watch(f"{group[0].label if len(group) > 1 else group[0].text}, {code}")
                for spec, one in results.collect(runner.run(group, own, report), images).items():
                    by_spec[spec].append(one)
    for spec in specs:
        results.add_attacked(spec, by_spec[spec])
    results.add_areas()
    return results


def _refuse_early(target: EmojiTarget | CaptionTarget, spec: AttackSpec) -> None:
    """Take what an attack needs of a target, so that an attack that cannot run is refused before others have run."""
    name, crafted = spec.attack.name, spec.get("crafted", "own")
    if name == CODE_SWITCH:
        for code in target.languages:
            target.code_switch(code)
    if name in ("universal", "universal-text"):
        for code in target.languages:
            target.queries(ENGLISH if crafted == "english" else code, training=True)
    if crafted == "english":
        _ = target.encode_english
        if not any(query.english for code in target.languages for query in target.queries(code)):
            raise UsageError(f"attack {spec.text}: the queries have no English text; choose crafted=own.")
    if spec.attack.kind == "text" and spec.attack.needs == "gradients":
        _ = target.gradients
    if spec.attack.kind != "text":
        _ = target.tower


@contextmanager
def _watched(display: Progress | None, total: int) -> Iterator[Any]:
    """Yield a function that begins the next piece of work, by its name, and returns its progress callback."""
    if display is None:
        yield lambda _name: None
        return
    everything = display.add_task("attacks", total=total, figures="")
    one = display.add_task("", total=1, figures="", visible=False)
    begun = 0

    def begin(name: str) -> Any:
        nonlocal begun
        display.update(everything, completed=begun)
        begun += 1
        display.reset(one, total=1, description=name, visible=True)
        return lambda done, steps: display.update(one, completed=done, total=steps)

    yield begin
    display.update(everything, completed=total)


@dataclass(eq=False)
class LanguageResult:
    """Queries of one language under one attack; ``target_first``: of targeted attacks, per query."""

    language: str
    examples: list[AttackedExample] = field(default_factory=list)
    target_first: list[bool] = field(default_factory=list)


@dataclass(eq=False)
class Results:
    """Records, per-query scores and examples of one model, clean and under attacks."""

    target: EmojiTarget | CaptionTarget
    grouped: tuple[str, ...]  # the languages of group means
    records: list[Record] = field(default_factory=list)
    per_query: list[PerQueryScores] = field(default_factory=list)
    examples: list[AttackedExample] = field(default_factory=list)
    specs: list[AttackSpec] = field(default_factory=list)

    @property
    def groups(self) -> dict[str, list[str]]:
        return {str(name): list(codes) for name, codes in resource_groups(self.grouped).items() if codes}

    def condition(self, spec: AttackSpec | None = None) -> Condition:
        """Return the condition under an attack; None: clean."""
        clean = condition_of(self.target.system, self.target.task.dataset, self.target.task.split)
        return replace(clean, attack=spec.label, budget=spec.budget) if spec else clean

    def add_clean(self, ranks: Mapping[str, NDArray[np.int64]]) -> None:
        self._add([self._scores(code, own) for code, own in ranks.items()], self.condition())

    def collect(self, parts: Iterable[Attacked], images: Path | None = None) -> dict[AttackSpec, LanguageResult]:
        """Join the parts of one language's results, without the pixels.

        ``images``: a folder that perturbed images are written to, as ``ATTACK/LANGUAGE/NAME.png``.
        """
        results: dict[AttackSpec, LanguageResult] = {}
        folders: dict[AttackSpec, Path] = {}
        with ExitStack() as open_folders:
            for part in parts:
                spec, language = part.spec, part.queries.language
                result = results.setdefault(spec, LanguageResult(language))
                first = len(result.examples)
                queries = self.target.queries(language)[first : first + len(part.texts)]
                if images is not None and part.images is not None:
                    if spec not in folders:
                        place = images / spec.text.replace("/", "-").replace(":", " ") / language
                        folders[spec] = open_folders.enter_context(atomic_path(place))
                        folders[spec].mkdir()
                    assert part.images.pixels is not None
                    for query, pixels in zip(queries, part.images.pixels, strict=True):
                        (folders[spec] / f"{self.target.file_stem(query)}.png").write_bytes(png(to_bytes(pixels)))
                shown = sum(one.image_after is not None for one in result.examples)
                result.examples += self._examples(part, queries, _IMAGES_KEPT - shown)
                result.target_first += [] if part.target_first is None else part.target_first.tolist()
        return results

    def _examples(self, part: Attacked, queries: Sequence[AttackedQuery], shown: int) -> Iterator[AttackedExample]:
        """Yield the queries before and after; the images of the first ``shown`` that are harmed."""
        images, condition = part.images, self.condition(part.spec)
        lengths: list[tuple[float | None, float | None]] = [(None, None)] * len(queries)
        files: dict[int, tuple[bytes, bytes]] = {}
        if images is not None and images.original is not None and images.pixels is not None:
            change = images.change()
            lengths = list(zip(change.abs().amax(1).tolist(), change.norm(dim=1).tolist(), strict=True))
            for n in np.flatnonzero(part.ranks_after > part.ranks_before)[:shown].tolist():
                files[n] = png(to_bytes(images.original[n])), png(to_bytes(images.pixels[n]))
        for n, query in enumerate(queries):
            before, after = files.get(n, (None, None))
            yield AttackedExample(
                condition=condition, language=query.language, query_id=query.id, query=query.text,
                perturbed=part.texts[n].text, edits=part.texts[n].edits, image_id=self.target.image_id(query.image),
                linf=lengths[n][0], l2=lengths[n][1], rank_before=int(part.ranks_before[n]),
                rank_after=int(part.ranks_after[n]), calls=int(part.calls[n]), image_before=before, image_after=after,
            )  # fmt: skip

    def add_attacked(self, spec: AttackSpec, results: Sequence[LanguageResult]) -> None:
        """Add one attack's results, one per language. The clean queries must have been added."""
        condition, scores = self.condition(spec), []
        for one in results:
            more = {CALLS: np.array([example.calls for example in one.examples], dtype=np.float64)}
            if one.target_first:
                more[TARGET_FIRST] = np.array(one.target_first, dtype=np.float64)
            ranks = np.array([example.rank_after for example in one.examples], dtype=np.int64)
            scores.append(self._scores(one.language, ranks, more))
            self.examples += one.examples
        self._add(scores, condition)
        self.specs.append(spec)
        before, after = self._blocks(self.condition()), self._blocks(condition)
        self.records += robustness_records(before, after, self._whole_groups(after))
        self.records += self._gap(condition, before, after)

    def add_areas(self) -> None:
        """Add the area under MAP against budget, of attacks at two or more budgets above zero."""
        clean = self._blocks(self.condition())
        for attack in dict.fromkeys(spec.label for spec in self.specs):
            budgets = sorted({spec.budget for spec in self.specs if spec.label == attack and spec.budget > 0})
            if len(budgets) < 2:
                continue
            under = [replace(self.condition(), attack=attack, budget=budget) for budget in budgets]
            blocks = {one.budget or 0.0: self._blocks(one) for one in under}
            for group, codes in self._whole_groups(clean).items():
                area = accuracy_radius_area(clean, blocks, codes)
                self.records.append(self._record(under[-1], group, AREA, area, _queries(clean, codes)))

    def protocol(self) -> dict[str, Any]:
        target = self.target
        drawn = f"up to {target.most} queries of each language that are no copies of English, drawn by concept"
        return {
            **target.task.protocol(self.target.languages),
            "attacks": {spec.label: attack_facts(spec) for spec in self.specs},
            "attacked": "all queries" if target.most is None else drawn,
            "perturbed images": "of each query one image is perturbed, all others in the gallery stay clean",
            "attack seed": target.seed,
        }

    def _subset(self) -> str:  # that shares and areas are taken of
        return HEADLINE if isinstance(self.target, EmojiTarget) else ALL

    def _scores(
        self, language: str, ranks: NDArray[np.int64], more: Mapping[str, NDArray[np.float64]] | None = None
    ) -> LanguageScores:
        queries, searched = self.target.queries(language), self.target.searched(language)
        documents = len(self.target.gallery) if searched is None else len(searched)
        copied = np.array([query.copied for query in queries], dtype=np.bool_)
        return LanguageScores(
            language=language, query_ids=[query.id for query in queries],
            values={**values_at(ranks, documents), **(more or {})},
            subsets={"copied": copied} if self._subset() == HEADLINE else {},
            clusters=[query.concept for query in queries],
        )  # fmt: skip

    def _add(self, scores: Sequence[LanguageScores], condition: Condition) -> None:
        self.records += summarize(scores, condition, groups=self.groups)
        self.per_query += per_query_scores(scores, condition)

    def _blocks(self, condition: Condition) -> list[PerQueryScores]:
        """Return the MAP of each language, on the subset's queries."""
        wanted = (condition, self._subset(), "MAP")
        return [block for block in self.per_query if (block.condition, block.subset, block.measure) == wanted]

    def _whole_groups(self, blocks: Sequence[PerQueryScores]) -> dict[str, list[str]]:
        """Return each language as a group, and the groups, as far as they have such queries."""
        there = {block.language for block in blocks}
        wanted = {**{code: [code] for code in self.target.languages}, **self.groups}
        return {name: codes for name, codes in wanted.items() if there.issuperset(codes)}

    def _gap(
        self, condition: Condition, before: Sequence[PerQueryScores], after: Sequence[PerQueryScores]
    ) -> Iterator[Record]:
        groups = self._whole_groups(after)
        if LOW in groups and HIGH in groups:
            gap = resource_gap(before, after, groups[LOW], groups[HIGH])
            if gap is not None:
                codes = [*groups[LOW], *groups[HIGH]]
                yield self._record(condition, f"{HIGH} less {LOW}", GAP, gap, _queries(after, codes))

    def _record(self, condition: Condition, group: str, measure: str, interval: Interval, queries: int) -> Record:
        return record_of(condition, interval, queries, subset=self._subset(), language=group, measure=measure)


def attack_facts(spec: AttackSpec) -> dict[str, Any]:
    """Return the header's entry of an attack, with every parameter but the budget."""
    attack = spec.attack
    parameters = {
        one.name: one.written(value)
        for one, value in zip(attack.parameters, spec.values, strict=True)
        if one.name != attack.budget
    }
    return {
        "kind": attack.family, "unit": attack.unit, "description": attack.description, "needs": attack.needs,
        "parameters": parameters,
    }  # fmt: skip


def _queries(blocks: Sequence[PerQueryScores], codes: Sequence[str]) -> int:
    return sum(len(block.values) for block in blocks if block.language in codes)
