"""From per-query values to records: per language, per group of languages, per subset of queries.

Intervals are percentile bootstraps. Clusters of queries (the concept that they are for, the same in every language) are
resampled in all languages together; without clusters, queries are resampled within each language.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError, UsageError
from kivuko.evaluation.records import Condition, PerQueryScores, Record, record_of
from kivuko.evaluation.statistics import Interval, check_values, cluster_resampled_means, percentiles, resampled_means

LOW, HIGH = GROUPS = ("low-resource", "high-resource")
ALL, HEADLINE, COPIED = "all", "headline", "copied"
PARITY = "parity"  # a language's MAP divided by the reference language's on the same subset; 1 is equal footing
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageScores:
    """One language's values under one condition; DataError for lengths that differ, or no query or measure.

    The subset "all" is always there; where "copied" is given (queries identical to the reference language's text),
    "headline" is its complement. For the reference language itself, mark nothing as copied.
    """

    language: str
    query_ids: Sequence[str]
    values: Mapping[str, NDArray[np.float64]]  # measure to [queries]
    subsets: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)  # name to [queries]
    clusters: Sequence[str] | None = None  # [queries]; None: independent

    def __post_init__(self) -> None:
        if not self.values:
            raise DataError(f"{self.language!r}: no measure was taken; name at least one")
        if self.clusters is not None:
            self._check_length("clusters", len(self.clusters))
        for name, column in self.values.items():
            self._check_length(f"measure {name!r}", len(check_values(column)))
        for name, mask in self.subsets.items():
            if name in (ALL, HEADLINE):
                raise DataError(f"{self.language!r}: subset {name!r} is derived; do not give it")
            if np.asarray(mask).dtype != np.bool_:
                raise DataError(f"{self.language!r}: subset {name!r} must be a mask of booleans, [queries]")
            self._check_length(f"subset {name!r}", len(mask))

    def _check_length(self, what: str, length: int) -> None:
        if length != len(self.query_ids):
            raise DataError(f"{self.language!r}: {what} has {length} entries for {len(self.query_ids)} queries")

    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """Return every subset's mask, the derived ones first."""
        derived = {ALL: np.ones(len(self.query_ids), dtype=np.bool_)}
        if COPIED in self.subsets:
            derived[HEADLINE] = ~self.subsets[COPIED]
        return {**derived, **self.subsets}


@dataclass(frozen=True, eq=False)
class _Cell:
    """One measure of one language or group on one subset: its value and bootstrap replicates."""

    value: float
    replicates: NDArray[np.float64]  # [resamples]
    queries: int


_Cells = dict[tuple[str, str, str], _Cell]  # keyed by (language, subset, measure)


def summarize(
    scores: Sequence[LanguageScores],
    condition: Condition,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    english: LanguageScores | None = None,
) -> list[Record]:
    """Turn the per-query values of one condition into records; what cannot be computed has none.

    Per language, subset and measure: the mean over queries. Per group: the mean of its languages' means, each language
    counting once, where all of them have such queries. "parity": MAP divided by the MAP of English on the same subset,
    taken from ``english`` where another system's scores are the denominator. A language's interval depends on the
    language and the subset alone, so it does not change when another language is added.
    """
    groups = groups or {}
    _check_languages([entry.language for entry in scores], groups)
    cells: _Cells = {}
    for entry in scores:
        cells |= _language_cells(entry)
    subsets = list(dict.fromkeys(name for entry in scores for name in entry.masks()))
    measures = list(dict.fromkeys(name for entry in scores for name in entry.values))
    for group, languages in groups.items():
        cells |= _group_cells(cells, group, languages, subsets, measures)
    own: str | None = "en" if english is None else english.language
    if english is None or any(entry is english for entry in scores):
        bases = {key: cell for key, cell in cells.items() if key[0] == own}
    else:
        bases, own = _language_cells(english), None
    cells |= _parity_cells(cells, bases, own)
    return [
        record_of(
            condition, Interval(cell.value, *percentiles(cell.replicates), cell.queries), cell.queries,
            language=language, subset=subset, measure=measure,
        )
        for (language, subset, measure), cell in cells.items()
    ]  # fmt: skip


def per_query_scores(scores: Iterable[LanguageScores], condition: Condition) -> list[PerQueryScores]:
    """Return the same values for the Parquet file beside the records, empty subsets left out."""
    return [
        PerQueryScores(
            condition=condition, language=entry.language, subset=subset, measure=measure,
            query_ids=_kept(entry.query_ids, mask), values=column[mask],
            clusters=None if entry.clusters is None else _kept(entry.clusters, mask),
        )
        for entry in scores
        for subset, mask in entry.masks().items()
        if mask.any()
        for measure, column in entry.values.items()
    ]  # fmt: skip


def _language_cells(entry: LanguageScores) -> _Cells:
    cells: _Cells = {}
    table = np.column_stack(list(entry.values.values()))  # [queries, measures]
    for subset, mask in entry.masks().items():
        if not mask.any():
            continue
        kept = table[mask]
        if entry.clusters is None:
            rng = np.random.default_rng([0, *f"{entry.language}/{subset}".encode()])
            means = resampled_means(kept, RESAMPLES, rng)  # [resamples, measures]
        else:
            means = cluster_resampled_means(kept, _kept(entry.clusters, mask), RESAMPLES, seed=0)
        for column, measure in enumerate(entry.values):
            key = (entry.language, subset, measure)
            cells[key] = _Cell(float(kept[:, column].mean()), means[:, column], len(kept))
    return cells


def _kept(names: Sequence[str], mask: NDArray[np.bool_]) -> list[str]:
    return [name for name, kept in zip(names, mask, strict=True) if kept]


def _group_cells(
    cells: _Cells, group: str, languages: Sequence[str], subsets: Sequence[str], measures: Sequence[str]
) -> _Cells:
    means: _Cells = {}
    for subset in subsets:
        for measure in measures:
            members = [
                cells[language, subset, measure] for language in languages if (language, subset, measure) in cells
            ]
            # A mean over the languages that happen to have such queries is a mean over other languages.
            if len(members) == len(languages):
                means[group, subset, measure] = _Cell(
                    float(np.mean([cell.value for cell in members])),
                    np.mean([cell.replicates for cell in members], axis=0),
                    sum(cell.queries for cell in members),
                )
    return means


def _parity_cells(cells: _Cells, bases: _Cells, own: str | None) -> _Cells:
    """Divide each MAP by that of ``bases``, unless that may be zero; ``own``: the language of ``cells`` among them."""
    by_subset = {subset: cell for (_, subset, measure), cell in bases.items() if measure == "MAP"}
    return {
        (language, subset, PARITY): _Cell(cell.value / base.value, cell.replicates / base.replicates, cell.queries)
        for (language, subset, measure), cell in cells.items()
        if measure == "MAP" and language != own
        and (base := by_subset.get(subset)) is not None and (base.replicates > 0).all()
    }  # fmt: skip


def _check_languages(languages: Sequence[str], groups: Mapping[str, Sequence[str]]) -> None:
    if not languages:
        raise DataError("there is no language to summarize; measure at least one")
    if len(set(languages)) < len(languages):
        twice = max(languages, key=languages.count)
        raise DataError(f"language {twice!r} is given twice; merge its queries first")
    for group, members in groups.items():
        if group in languages:
            raise UsageError(f"group {group!r} is named like a language; choose another name")
        if not members:
            raise UsageError(f"group {group!r} has no language; name at least one")
        if absent := [member for member in members if member not in languages]:
            raise UsageError(f"group {group!r} names {', '.join(absent)}, which was not measured")
