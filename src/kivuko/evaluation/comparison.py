"""Two systems on the same queries: the difference, its interval, and a paired test.

The unit is the cluster (of emoji the concept, of captions the image). A cluster's value is its share of the mean over
languages, averaged over seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from kivuko.errors import DataError, UsageError, check_number, check_seed, check_type
from kivuko.evaluation import statistics as stats
from kivuko.evaluation.evaluate import Evaluation
from kivuko.evaluation.group_means import ALL, HEADLINE, PARITY
from kivuko.evaluation.records import Condition, PerQueryScores, data_frame
from kivuko.evaluation.tables import WIDTH, compact_table, fit_columns, label, p_value, plain_text
from kivuko.languages import read_codes, resource_groups

_REFERENCES = ("teacher", "untrained")
_NO_GROUP = ("en", "und")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two systems in one language or group.

    Attributes:
        language: a code, or "low-resource" or "high-resource".
        queries: of the first system.
        a, b: the means.
        difference: a - b, with a 95 % bootstrap interval over clusters.
        relative: a / b - 1, likewise; None where b is zero in some sample.
        p_value: of a paired randomization test over clusters, two-sided.
        p_holm: the same after Holm's correction for all rows of the comparison.
        at_floor: True if both are upper bounds, since no random trial reached the difference.
    """

    dataset: str
    split: str
    attack: str | None
    budget: float | None
    language: str
    queries: int
    a: float
    b: float
    difference: stats.Interval
    relative: stats.Interval | None
    p_value: float
    p_holm: float = 1.0
    at_floor: bool = False


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two systems in each language and group; printing it prints a table.

    ``a``, ``b``: the systems' names. ``rows``: one :class:`Difference` each.
    """

    a: str
    b: str
    measure: str
    subset: str
    rows: list[Difference]
    trials: int

    def to_pandas(self) -> Any:
        """Return the rows as a ``pandas.DataFrame``; ``low`` and ``high`` are the interval's ends."""
        rows = []
        for row in self.rows:
            interval, relative = row.difference, row.relative
            numbers = {"difference": interval.mean, "low": interval.low, "high": interval.high}
            rows.append({**asdict(row), **numbers, "relative": None if relative is None else relative.mean})
        return data_frame(rows)

    def tables(self, width: int = WIDTH) -> list[Table]:
        """Return a Rich table for each data set, split and attack, at most ``width`` columns wide."""
        tables = []
        for key in dict.fromkeys((row.dataset, row.split, row.attack, row.budget) for row in self.rows):
            own = [row for row in self.rows if (row.dataset, row.split, row.attack, row.budget) == key]
            dataset, split, attack, budget = key
            under = "" if attack is None else f", under {attack}" + ("" if budget is None else f" {budget:g}")
            title = f"{self.measure} of {self.a} (a) and {self.b} (b): {dataset}, {split}{under}; {self.subset} queries"
            columns = [
                ["language", *(label(row.language) for row in own)],
                ["n", *(f"{row.queries:,}" for row in own)],
                ["a", *(f"{row.a:.3f}" for row in own)],
                ["b", *(f"{row.b:.3f}" for row in own)],
                ["a - b [95 %]", *(_signed(row.difference) for row in own)],
                ["p, Holm", *(p_value(row.p_holm, row.at_floor) for row in own)],
                ["p", *(p_value(row.p_value, row.at_floor) for row in own)],
            ]
            tables.append(fit_columns(compact_table(title), columns, width))
        return tables

    def lines(self) -> list[str]:
        """Return what is printed below the tables."""
        return [
            f"p: paired randomization test over clusters of queries, {self.trials:,} trials (≤: none reached the "
            f"difference); p, Holm: corrected for the {len(self.rows)} tests of this comparison"
        ]

    def summary(self, width: int = WIDTH) -> str:
        """Return the tables as plain text."""
        return plain_text([*self.tables(width), *self.lines()], width)

    def __str__(self) -> str:
        return self.summary()


def compare(
    result_a: Evaluation | Path | str,
    result_b: Evaluation | Path | str,
    *,
    measure: str = "MAP",
    subset: str | None = None,
    languages: Sequence[str] | None = None,
    objectives: tuple[str, str] | None = None,
    bitext_size: int | None = None,
    trials: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare two evaluations on the same queries, per language and group.

    Several seeds of a system are averaged. Holm's correction is for all rows together.

    Args:
        result_a, result_b: results of :func:`kivuko.evaluate` or :func:`kivuko.attack`, or records files with their
            per-query scores beside them; for two systems of one file, the same one twice.
        measure: one that is measured per query, such as "MAP", "R@1" or "nDCG@10".
        subset: of the queries. None: "headline" (those equal to the English left out) where both have it, else "all".
        languages: codes. None: all that both have. Group means are over the low- and the high-resource ones of these.
        objectives: the systems to compare, as records name them, such as ("optical", "mse"). None: the one that each
            result holds beside "teacher" and "untrained".
        bitext_size: of a study, the number of pairs per language.
        trials: random sign changes of the test.
        seed: of the test.

    Raises:
        UsageError: a result holds several systems or bitext sizes and none is named, or a measure that is not there.
        DataError: no per-query scores, nothing in common, or other queries.

    >>> import kivuko
    >>> result = kivuko.evaluate("my-model", "captions:photos.tsv", records=False, progress=False)
    >>> comparison = kivuko.compare(result, result, measure="R@1", objectives=("contrastive", "untrained"))
    >>> [row.language for row in comparison.rows[:2]]
    ['sw', 'low-resource']
    >>> print(comparison)
    R@1 of ...
    """
    codes = read_codes(languages)
    check_type("measure", measure, str, 'the name of a measure, such as "MAP"')
    check_type("subset", subset, str | None, 'the name of a subset, such as "headline"')
    check_number("bitext_size", bitext_size, least=0, whole=True, optional=True)
    trials, seed = check_number("trials", trials, least=1, whole=True), check_seed(seed)
    if objectives is not None and (isinstance(objectives, str) or len(objectives) != 2):
        raise UsageError(f'objectives={objectives!r}: give the names of two, such as ("optical", "mse").')
    if measure == PARITY:
        raise UsageError("parity is no measure of single queries, so it cannot be tested: compare MAP.")
    sides = [
        _Side.of(result, name) for result, name in zip((result_a, result_b), objectives or (None, None), strict=True)
    ]
    if subset is None:
        subset = HEADLINE if all(HEADLINE in side.values("subset") for side in sides) else ALL
    blocks = [side.chosen(measure, subset, bitext_size) for side in sides]
    rows = differences(blocks[0], blocks[1], codes, trials=trials, seed=seed)
    if not rows:
        raise DataError("the two results have no data set, split and attack in common; measure both on the same")
    adjusted = stats.holm([row.p_value for row in rows])
    rows = [replace(row, p_holm=p) for row, p in zip(rows, adjusted, strict=True)]
    names = [side.name for side in sides]
    if names[0] == names[1]:
        names = [f"{name}, {side.models}" for name, side in zip(names, sides, strict=True)]
    return Comparison(names[0], names[1], measure, subset, rows, trials)


def differences(
    first: Sequence[PerQueryScores],
    second: Sequence[PerQueryScores],
    languages: Sequence[str] | None = None,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    trials: int = 10_000,
    seed: int = 0,
) -> list[Difference]:
    """Test two systems' blocks of one measure and subset in each condition that both have; no Holm correction yet.

    A row per language and resource group of ``languages`` (None: all that both have); or, with ``groups``, one per
    group, over those of its languages that both have.
    """
    sides: list[dict[Condition, list[PerQueryScores]]] = [{}, {}]
    for side, blocks in zip(sides, (first, second), strict=True):
        for block in blocks:
            side.setdefault(_key(block), []).append(block)
    rows = []
    for key in [key for key in sides[0] if key in sides[1]]:
        measured = {block.language for block in sides[1][key]}
        shared = [code for code in dict.fromkeys(block.language for block in sides[0][key]) if code in measured]
        if groups is None:
            named = _languages_and_groups(key, shared, languages)
        else:
            named = {name: [code for code in members if code in shared] for name, members in groups.items()}
        rows += [
            _difference(key, name, sides[0][key], sides[1][key], members, trials, seed)
            for name, members in named.items()
            if members
        ]
    return rows


def _languages_and_groups(key: Condition, shared: list[str], languages: Sequence[str] | None) -> dict[str, list[str]]:
    codes = shared if languages is None else list(languages)
    if absent := [code for code in codes if code not in shared]:
        raise UsageError(f"{key.dataset}: {', '.join(absent)} was not measured in both; both have {', '.join(shared)}.")
    groups = resource_groups(code for code in codes if code not in _NO_GROUP)
    return {**{code: [code] for code in codes}, **{str(name): list(members) for name, members in groups.items()}}


def _difference(
    key: Condition, name: str, first: list[PerQueryScores], second: list[PerQueryScores], languages: list[str],
    trials: int, seed: int,
) -> Difference:  # fmt: skip
    tables, _ = _pair(first, second, languages)
    a, b = (_mean_over_seeds(table) for table in tables)
    seeds, test = len(tables[0]), stats.randomization_test(a, b, trials, seed)
    return Difference(
        dataset=key.dataset, split=key.split, attack=key.attack, budget=key.budget, language=name,
        queries=sum(len(block.values) for block in first if block.language in languages) // seeds,
        a=float(a.mean()), b=float(b.mean()), difference=stats.paired_difference(a, b), relative=_relative(a, b),
        p_value=test.p_value, at_floor=test.at_floor,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Side:
    """One system's blocks of per-query scores."""

    name: str
    blocks: list[PerQueryScores]

    @classmethod
    def of(cls, result: Evaluation | Path | str, objective: str | None) -> Self:
        if isinstance(result, str | Path):
            result = Evaluation.load(result)
        check_type("result", result, Evaluation, "what evaluate or attack returned, or a records file")
        if not result.per_query:
            raise DataError(f"{result.path or 'the result'}: holds no per-query scores, which a paired test needs.")
        there = list(dict.fromkeys(block.condition.objective for block in result.per_query))
        own = [one for one in there if one not in _REFERENCES] if objective is None else [objective]
        if len(own) != 1 or own[0] not in there:
            raise UsageError(
                f"{result.path or 'a result'}: holds {', '.join(there)}; name one for each result with objectives=."
            )
        return cls(own[0], [block for block in result.per_query if block.condition.objective == own[0]])

    @property
    def models(self) -> str:
        return ", ".join(dict.fromkeys(block.condition.model for block in self.blocks))

    def values(self, name: str) -> set[str]:
        return {getattr(block, name) for block in self.blocks}

    def chosen(self, measure: str, subset: str, bitext_size: int | None) -> list[PerQueryScores]:
        for name, value in (("measure", measure), ("subset", subset)):
            if value not in self.values(name):
                raise UsageError(f"{self.name}: no {name} {value!r}; it has {', '.join(sorted(self.values(name)))}.")
        blocks = [block for block in self.blocks if (block.measure, block.subset) == (measure, subset)]
        sizes = {block.condition.bitext_size for block in blocks} - {None}
        if bitext_size is not None:
            blocks = [block for block in blocks if block.condition.bitext_size in (bitext_size, None)]
        elif len(sizes) > 1:
            there = ", ".join(sorted(map(str, sizes)))
            raise UsageError(f"{self.name}: bitext sizes {there}; name one with bitext_size=.")
        return blocks


def _key(block: PerQueryScores) -> Condition:
    """Return the condition without the fields that differ between two systems."""
    return replace(block.condition, model="", objective="", bitext_size=None, seed=None)


def _signed(interval: stats.Interval) -> str:
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


Seed = int | None


@dataclass(frozen=True)
class PairedComparison:
    """Two objectives' mean over languages of one measure."""

    first: str
    second: str
    means: tuple[float, float]
    difference: stats.Interval  # first - second, a bootstrap over clusters
    relative: stats.Interval | None  # first / second - 1; None where second's mean is zero in some sample
    over_seeds: stats.Interval  # of each seed's difference; a side without seeds is paired with each seed of the other
    test: stats.RandomizationTest


def compare_scores(
    first: Sequence[PerQueryScores], second: Sequence[PerQueryScores], languages: Sequence[str]
) -> PairedComparison:
    """Compare two objectives on one measure, subset, data set, split and bitext size; the mean is over ``languages``.

    DataError where a language is missing on one side, queries differ, or the sides share no seed.
    """
    tables, names = _pair(first, second, languages)
    a, b = (_mean_over_seeds(table) for table in tables)
    return PairedComparison(
        names[0], names[1], (float(a.mean()), float(b.mean())),
        difference=stats.paired_difference(a, b), relative=_relative(a, b),
        over_seeds=stats.seed_interval(seed_differences([_seed_means(table) for table in tables], names)),
        test=stats.randomization_test(a, b),
    )  # fmt: skip


def seed_means(blocks: Sequence[PerQueryScores], languages: Sequence[str]) -> dict[Seed, float]:
    """Return the mean over languages of the mean over queries, for each seed."""
    return _seed_means(_by_seed(blocks, languages))


def _seed_means(tables: Mapping[Seed, Mapping[str, float]]) -> dict[Seed, float]:
    return {seed: float(np.mean(list(table.values()))) for seed, table in tables.items()}


def _pair(
    first: Sequence[PerQueryScores], second: Sequence[PerQueryScores], languages: Sequence[str]
) -> tuple[list[dict[Seed, dict[str, float]]], list[str]]:
    """Return each side's clusters by seed, and its name; DataError if they are not the same clusters."""
    tables = [_by_seed(blocks, languages) for blocks in (first, second)]
    names = [_objective(blocks) for blocks in (first, second)]
    clusters = [{cluster for seed in table.values() for cluster in seed} for table in tables]
    if clusters[0] != clusters[1]:
        raise DataError(f"{names[0]} and {names[1]} were not measured on the same queries; measure both again")
    return tables, names


def _by_seed(blocks: Sequence[PerQueryScores], languages: Sequence[str]) -> dict[Seed, dict[str, float]]:
    """Each cluster's share of the mean over languages, times the number of clusters: their mean is that mean."""
    shares: dict[Seed, dict[str, float]] = {}
    seen: dict[Seed, list[str]] = {}
    for block in blocks:
        if block.language not in languages:
            continue
        seed = block.condition.seed
        table = shares.setdefault(seed, {})
        seen.setdefault(seed, []).append(block.language)
        weight = 1 / (len(block.values) * len(languages))
        for cluster, value in zip(block.clusters or block.query_ids, block.values, strict=True):
            table[cluster] = table.get(cluster, 0.0) + float(value) * weight
    if not shares:
        raise DataError(f"no scores in {', '.join(languages)} to compare; measure it again")
    for seed, codes in seen.items():
        if sorted(codes) != sorted(languages):
            raise DataError(
                f"{_objective(blocks)}, seed {seed}: has scores in {', '.join(sorted(codes))}, but "
                f"{', '.join(sorted(languages))} are compared, each once; measure it again"
            )
    return {seed: {name: share * len(table) for name, share in table.items()} for seed, table in shares.items()}


def _mean_over_seeds(table: dict[Seed, dict[str, float]]) -> NDArray[np.float64]:
    clusters = sorted({cluster for seed in table.values() for cluster in seed})
    if any(len(values) != len(clusters) for values in table.values()):
        raise DataError("the seeds of one objective were not measured on the same queries; measure them again")
    return np.array([np.mean([values[cluster] for values in table.values()]) for cluster in clusters])


def _relative(a: NDArray[np.float64], b: NDArray[np.float64]) -> stats.Interval | None:
    means = stats.resampled_means(np.column_stack([a, b]), 2000, np.random.default_rng(0))  # [resamples, 2]
    if not (means[:, 1] > 0).all() or not b.mean() > 0:
        return None
    low, high = stats.percentiles(means[:, 0] / means[:, 1] - 1)
    return stats.Interval(float(a.mean() / b.mean() - 1), low, high, len(a))


def seed_differences(sides: Sequence[Mapping[Seed, float]], names: Sequence[str]) -> list[float]:
    """Return one minus other for each shared seed; a side without seeds is paired with each seed of the other."""
    one, other = sides
    if None in one or None in other:
        return [x - y for x in one.values() for y in other.values()]
    shared = [seed for seed in one if seed in other]
    if not shared:
        raise DataError(f"{names[0]} and {names[1]} share no seed, so they cannot be paired; measure it again")
    return [one[seed] - other[seed] for seed in shared]


def _objective(blocks: Sequence[PerQueryScores]) -> str:
    return next((block.condition.objective for block in blocks), "nothing")
