"""The texts of a study: the pairs that students learn from, the queries, and the documents that these should find."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext.pairs import Bitext
from kivuko.datasets.emoji.world import EmojiWorld, Query, emoji_world, english_documents, is_copied
from kivuko.datasets.sentences import open_sentences
from kivuko.datasets.spec import EMOJI
from kivuko.evaluation.group_means import LanguageScores
from kivuko.evaluation.image_tasks import DATASET, DOCUMENTS, documents_protocol, emoji_protocol, measure_queries
from kivuko.evaluation.measures import PROTOCOL, per_query
from kivuko.languages import DEFAULT_LANGUAGES
from kivuko.progress import progress_bar
from kivuko.studies.demo import training_names

ENGLISH = "en"
VALIDATION, TEST = SPLITS = ("validation", "test")
Setting = tuple[str, str]  # data set and scoring, as in records


class StudyData(Protocol):
    """One collection, as a study sees it."""

    @property
    def name(self) -> str:
        """The name of the collection, by which texts of headers and the usual grid are looked up."""

    @property
    def languages(self) -> tuple[str, ...]: ...

    @property
    def settings(self) -> tuple[Setting, ...]: ...

    @property
    def has_english_queries(self) -> bool:
        """True if English queries differ from the documents, so that the teacher's figures mean something."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def documents(self) -> Sequence[str]:
        """The English text of each document."""

    @property
    def distractors(self) -> tuple[str, ...]:
        """English training texts, which make the selection in a run as hard as the evaluation."""

    @property
    def english(self) -> tuple[str, ...]:
        """English text without translations, for the projection of a pretrained student."""

    def bitext(self, split: str) -> Bitext: ...

    def queries(self, language: str, split: str) -> Sequence[Query]:
        """Queries of one split; ``Query.image`` is a row of the split's documents."""

    def rows(self, split: str) -> NDArray[np.int64]:
        """The rows of ``documents`` that are searched in a split."""

    def measure(self, scores: NDArray[np.float32], language: str, split: str) -> LanguageScores:
        """Measure one language's queries; ``scores`` float32 [queries, documents of the split]."""

    def protocols(self) -> dict[str, dict[str, Any]]:
        """The protocol of each data set of ``settings``."""

    def concepts(self, split: str) -> int:
        """The number of clusters of queries."""


@dataclass(frozen=True, eq=False)
class EmojiData:
    """Emoji names, which should find images, or the English names and keywords of those."""

    world: EmojiWorld
    languages: tuple[str, ...]
    english: tuple[str, ...] = ()
    name = EMOJI
    has_english_queries = True
    settings = ((DATASET, "cosine"), (DOCUMENTS, "cosine"), (DOCUMENTS, "maxsim"))

    @property
    def documents(self) -> list[str]:
        return english_documents(self.world)

    @property
    def distractors(self) -> tuple[str, ...]:
        return training_names(self.world)

    @cached_property
    def fingerprint(self) -> str:
        emoji = [(one.sequence, one.concept, one.split, one.image) for one in self.world.emoji]
        annotations = {
            code: [(sequence, own.name, own.keywords) for sequence, own in self.world.annotations[code].items()]
            for code in (ENGLISH, *self.languages)
        }
        content = [self.world.fingerprint, emoji, annotations, *([self.english] if self.english else [])]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def bitext(self, split: str) -> Bitext:
        return self.world.bitext(self.languages, split, keywords=split == "train")

    def queries(self, language: str, split: str) -> list[Query]:
        return self.world.queries(language, split)

    def rows(self, split: str) -> NDArray[np.int64]:
        return np.arange(len(self.world.images))

    def measure(self, scores: NDArray[np.float32], language: str, split: str) -> LanguageScores:
        return measure_queries(scores, self.world, language, split)

    def protocols(self) -> dict[str, dict[str, Any]]:
        return {DATASET: emoji_protocol(self.world, TEST), DOCUMENTS: documents_protocol(self.world, TEST)}

    def concepts(self, split: str) -> int:
        return len({one.concept for one in self.world.emoji if one.split == split})


@dataclass(frozen=True, eq=False)
class SentenceData:
    """Sentences, each of which should find its English translation among all English sentences of its split."""

    name: str
    languages: tuple[str, ...]
    pairs: Mapping[str, Bitext]  # "train" and "validation"
    # (language, split) -> sentences, each with the row of its English in the split's pool
    texts: Mapping[tuple[str, str], Sequence[tuple[str, int]]]
    pools: Mapping[str, Sequence[str]]  # split -> its English sentences
    multi_vector: bool = True  # whether late interaction is measured
    english: tuple[str, ...] = ()
    has_english_queries = False

    @property
    def settings(self) -> tuple[Setting, ...]:
        return tuple((self.name, scoring) for scoring in ("cosine", "maxsim")[: 1 + self.multi_vector])

    @property
    def documents(self) -> list[str]:
        return [text for split in SPLITS for text in self.pools[split]]

    @cached_property
    def distractors(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(pair.english for pair in self.pairs["train"].pairs))

    @cached_property
    def fingerprint(self) -> str:
        pairs = [(pair.language, pair.text, pair.english) for own in self.pairs.values() for pair in own.pairs]
        content: list[Any] = [self.name, self.languages, pairs, list(self.texts.values()), list(self.pools.values())]
        content += [self.english] if self.english else []
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def bitext(self, split: str) -> Bitext:
        return self.pairs[split]

    def queries(self, language: str, split: str) -> list[Query]:
        pool = self.pools[split]
        texts = [(text, row) for row, text in enumerate(pool)] if language == ENGLISH else self.texts[language, split]
        return [
            Query(
                id=f"{language}:{row}", language=language, text=text, english=pool[row], image=row,
                concept=f"{split}:{row}", compositional=True,
                copied=language != ENGLISH and is_copied(text, pool[row]),
            )
            for text, row in texts
        ]  # fmt: skip

    def rows(self, split: str) -> NDArray[np.int64]:
        first = 0 if split == VALIDATION else len(self.pools[VALIDATION])
        return np.arange(first, first + len(self.pools[split]))

    def measure(self, scores: NDArray[np.float32], language: str, split: str) -> LanguageScores:
        queries, documents = self.queries(language, split), [str(row) for row in range(len(self.pools[split]))]
        ids = [query.id for query in queries]
        qrels = {query.id: {str(query.image)} for query in queries}
        return LanguageScores(
            language=language, query_ids=ids, values=per_query(scores, ids, documents, qrels),
            subsets={"copied": np.array([query.copied for query in queries], dtype=bool)},
            clusters=[query.concept for query in queries],
        )  # fmt: skip

    def protocols(self) -> dict[str, dict[str, Any]]:
        return {
            self.name: {
                **PROTOCOL,
                "dataset": self.name,
                "task": "text to English text: one query per sentence, one relevant English sentence per query",
                "gallery": f"all {len(self.pools[TEST]):,} English sentences of the test split; in the choice of "
                f"recipes, the {len(self.pools[VALIDATION]):,} of the validation split",
                "intervals": "95 % percentile bootstrap over English sentences, drawn together in all languages; "
                "Poisson, 2,000 samples",
                "headline": "queries equal to the English sentence (copied) are left out",
            }
        }

    def concepts(self, split: str) -> int:
        return len(self.pools[split])


def open_study_data(
    dataset: str,
    languages: Sequence[str] | None = None,
    *,
    multi_vector: bool = True,
    english: Sequence[str] = (),
    progress: bool | None = None,
    cldr: Path | None = None,
    font: Path | None = None,
) -> StudyData:
    """Open "emoji", or sentences such as ``tico19:FOLDER``; ``languages`` None: the usual ones, or all there are."""
    if dataset == EMOJI:
        codes = tuple(languages or DEFAULT_LANGUAGES)
        with progress_bar("drawing emoji", progress) as report:
            return EmojiData(emoji_world(codes, cldr=cldr, font=font, progress=report), codes, tuple(english))
    opened = {split: open_sentences(dataset, split) for split in SPLITS}
    codes = tuple(languages or opened[TEST].languages)
    pools: dict[str, list[str]] = {}
    texts: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for split, sentences in opened.items():
        documents = list(sentences.documents())
        row_of = {document.id: row for row, document in enumerate(documents)}
        relevant = sentences.judgments()
        pools[split] = [document.text for document in documents]
        for code in codes:
            own = sentences.queries(code)
            texts[code, split] = [(text, row_of[next(iter(relevant[name]))]) for name, text in own.items()]
    bitext = {
        split: Bitext(tuple(pair for code in codes for pair in opened[TEST].bitext(code, split).pairs))
        for split in ("train", VALIDATION)
    }
    return SentenceData(opened[TEST].name, codes, bitext, texts, pools, multi_vector, tuple(english))
