"""From encoded queries to records: pictures and documents, one vector and late interaction, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from kivuko.encoders.maxsim import maxsim
from kivuko.evaluation import Condition, LanguageScores, PerQueryScores, Record, per_query_scores, summarise
from kivuko.evaluation import emoji as pictures
from kivuko.evaluation import emoji_documents as documents
from kivuko.evaluation.emoji import measure_queries
from kivuko.languages import resource_groups
from kivuko.studies.low_resource.bench import ENGLISH, Bench
from kivuko.studies.low_resource.encoding import EncodedQueries, encode_queries, query_texts

SETTINGS = ((pictures.DATASET, "cosine"), (documents.DATASET, "cosine"), (documents.DATASET, "maxsim"))
VALIDATION, TEST = "validation", "test"
MAP, HEADLINE = "MAP", "headline"
MEASURES = ("R@1", "R@10", MAP)
SUBSETS = ("all", HEADLINE, "compositional", "lexical")


@dataclass(frozen=True)
class Measured:
    """What one run comes to: its records, its per-query scores, and what is worth telling of how it was made."""

    records: list[Record]
    per_query: list[PerQueryScores]
    notes: dict[str, float | int | str] = field(default_factory=dict)


class Yardstick:
    """Measures systems on one bench. The teacher's English figures, the parity's denominators, are taken once."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._english: dict[tuple[str, str], LanguageScores] = {}

    def measure(self, queries: EncodedQueries, condition: Condition, with_english: bool = False) -> Measured:
        """Measure a system on both splits in every setting.

        Args:
            condition: its data set, split and scoring are set here.
            with_english: the teacher itself, whose English queries are measured and recorded too.
        """
        measured = Measured([], [])
        codes = [ENGLISH, *self.bench.languages] if with_english else list(self.bench.languages)
        for dataset, scoring in SETTINGS:
            scores = _scores(self.bench, queries, dataset, scoring)  # [rows, images]
            for split in (VALIDATION, TEST):
                at = replace(condition, dataset=dataset, scoring=scoring, split=split)
                found = [_in_language(self.bench, queries, scores, code, split) for code in codes]
                if split == VALIDATION:
                    measured.records.extend(self._choice_records(found, at))
                    continue
                english = found[0] if with_english else self._reference(dataset, scoring)
                measured.records.extend(self._records(english, found[int(with_english) :], at, with_english))
                measured.per_query.extend(_headline_map(found, at))
        return measured

    def _choice_records(self, scores: Sequence[LanguageScores], condition: Condition) -> list[Record]:
        """What recipes are chosen by, and nothing else: MAP of headline queries."""
        summary = summarise([_map_only(one) for one in scores], condition, groups=self._groups(), reference=ENGLISH)
        return [record for record in summary.records if (record.subset, record.measure) == (HEADLINE, MAP)]

    def _records(
        self, english: LanguageScores, scores: Sequence[LanguageScores], condition: Condition, keep_english: bool
    ) -> list[Record]:
        """MAP in every subset of queries; the other measures and parity on the headline queries alone."""
        summary = summarise([english, *scores], condition, groups=self._groups(), reference=ENGLISH)
        return [
            record
            for record in summary.records
            if record.subset in SUBSETS
            and (record.subset == HEADLINE or record.measure == MAP)
            and (keep_english or record.language != ENGLISH)
        ]

    def _groups(self) -> dict[str, tuple[str, ...]]:
        return {str(name): codes for name, codes in resource_groups(self.bench.languages).items() if codes}

    def _reference(self, dataset: str, scoring: str) -> LanguageScores:
        if not self._english:
            texts = query_texts(self.bench, [ENGLISH])
            queries = encode_queries(self.bench.teacher, texts, self.bench.mean)
            for setting in SETTINGS:
                scores = _scores(self.bench, queries, *setting)
                self._english[setting] = _in_language(self.bench, queries, scores, ENGLISH, TEST)
        return self._english[dataset, scoring]


def _scores(bench: Bench, queries: EncodedQueries, dataset: str, scoring: str) -> NDArray[np.float32]:
    """Score every query against every picture, or its document: float32 [rows, images], higher is better."""
    found: NDArray[np.float32]
    if scoring == "maxsim":
        found = maxsim(queries.tokens, bench.document_tokens).numpy()
    else:
        found = queries.pooled @ (bench.pictures if dataset == pictures.DATASET else bench.document_vectors).T
    return found


def _in_language(
    bench: Bench, queries: EncodedQueries, scores: NDArray[np.float32], code: str, split: str
) -> LanguageScores:
    found = measure_queries(
        lambda texts: scores[[queries.rows[code, text] for text in texts]], bench.world, code, split
    )
    return replace(found, values={measure: found.values[measure] for measure in MEASURES})


def _map_only(scores: LanguageScores) -> LanguageScores:
    """Return MAP alone, with the one subset that makes headline queries."""
    return replace(scores, values={MAP: scores.values[MAP]}, subsets={"copied": scores.subsets["copied"]})


def _headline_map(scores: Sequence[LanguageScores], condition: Condition) -> list[PerQueryScores]:
    blocks = per_query_scores([_map_only(one) for one in scores], condition)
    return [block for block in blocks if block.subset == HEADLINE]
