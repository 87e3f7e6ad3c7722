"""The inputs that all runs of a study share, and the evaluator that measures a system on them."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kivuko.datasets.emoji.sources import shipped_image_tower
from kivuko.encoders.image_tower import load_image_tower
from kivuko.encoders.model import quiet
from kivuko.encoders.multi_vector import maxsim
from kivuko.encoders.teacher import TextTeacher, load_teacher
from kivuko.encoders.token_batch import Encoder, TokenBatch
from kivuko.errors import ModelError
from kivuko.evaluation.group_means import LanguageScores, per_query_scores, summarize
from kivuko.evaluation.image_tasks import DATASET
from kivuko.evaluation.records import Condition, PerQueryScores, Record
from kivuko.languages import resource_groups
from kivuko.search.building import emoji_vectors
from kivuko.studies.data import ENGLISH, SPLITS, TEST, VALIDATION, EmojiData, StudyData
from kivuko.studies.runs import Measured
from kivuko.text import word_list
from kivuko.training.image_tower import learned_splits
from kivuko.training.initialization import whole_words
from kivuko.training.own_space import OwnSpace
from kivuko.training.recipe import Recipe
from kivuko.training.teacher_vectors import TeacherVectors, teacher_vectors
from kivuko.translation.translate_test import Translator
from kivuko.transport.alignment import TokenLists
from kivuko.vectors import unit_rows


@dataclass(frozen=True, eq=False)
class KnownTexts:
    """The teacher's vectors of texts as arrays, which go to another process more safely than tensors.

    ``tokens`` float16 [total, dim], ``offsets`` int64 [texts + 1], ``pooled`` float32 [texts, dim]; see TeacherVectors.
    """

    texts: tuple[str, ...]
    tokens: NDArray[np.float16]
    offsets: NDArray[np.int64]
    pooled: NDArray[np.float32]

    @classmethod
    def of(cls, vectors: TeacherVectors) -> Self:
        return cls(tuple(vectors.sentences), vectors.tokens.numpy(), vectors.offsets.numpy(), vectors.pooled.numpy())

    def vectors(self, mean: NDArray[np.float32]) -> TeacherVectors:
        rows = {text: row for row, text in enumerate(self.texts)}
        tokens, offsets = torch.from_numpy(self.tokens), torch.from_numpy(self.offsets)
        return TeacherVectors(rows, tokens, offsets, torch.from_numpy(self.pooled), torch.from_numpy(mean))


class KnownTeacher(TextTeacher):
    """A teacher that holds its vectors of known texts, and loads its weights for the first other text only."""

    def __init__(self, name: str, source: str, fingerprint: str, known: Sequence[TeacherVectors]) -> None:
        self.name, self.source, self.fingerprint = name, source, fingerprint
        self.dim = known[0].pooled.shape[1]
        self._known = known
        self._loaded: TextTeacher | None = None

    @property
    def model(self) -> Any:
        return self._whole().model

    @contextlib.contextmanager
    def accelerated(self) -> Iterator[None]:
        """Do nothing: known texts need no device, and several workers would compete for one."""
        yield

    def encode_tokens(self, texts: list[str]) -> TokenBatch:
        """Encode texts; tokens of known texts are rounded to half precision, as in training."""
        for known in self._known:
            rows = known.sentences
            if all(text in rows for text in texts):
                return known.batch(torch.tensor([rows[text] for text in texts]))
        return self._whole().encode_tokens(texts)

    def _whole(self) -> TextTeacher:
        if self._loaded is None:
            with quiet():
                loaded = load_teacher(self.source)
            if loaded.fingerprint != self.fingerprint:
                raise ModelError(f"{self.source}: the teacher has changed since the study began. Run it again.")
            self._loaded = loaded
        return self._loaded


@dataclass(frozen=True, eq=False)
class StudyInputs:
    """The data that all runs learn from and are measured on; plain arrays, since it goes to each worker process."""

    data: StudyData  # of emoji, without their pixels
    images: NDArray[np.float32]  # unit vectors of all images, float32 [images, dim]; of sentences there are none
    documents: KnownTexts  # the distinct English documents
    document_rows: NDArray[np.int64]  # int64 [documents], the row of each document among the distinct ones
    known: KnownTexts  # every English text that a run may encode with the teacher, translations aside
    # float32 [dim], the teacher's mean content token over the English side of training and validation
    mean: NDArray[np.float32]
    teacher_name: str
    teacher_source: str
    teacher_fingerprint: str
    learned_splits: tuple[str, ...] = ()  # of whose images the image tower learned
    words: KnownTexts | None = None  # of the teacher's own vocabulary, where a recipe needs them

    @property
    def languages(self) -> tuple[str, ...]:
        return self.data.languages

    @cached_property
    def teacher(self) -> KnownTeacher:
        known = [one.vectors(self.mean) for one in (self.known, self.words) if one is not None]
        return KnownTeacher(self.teacher_name, self.teacher_source, self.teacher_fingerprint, known)

    @cached_property
    def document_tokens(self) -> TokenLists:
        """The documents' tokens, one per row of the data, centered on the teacher's mean token."""
        starts, ends = self.documents.offsets[self.document_rows], self.documents.offsets[self.document_rows + 1]
        parts = [self.documents.tokens[start:end] for start, end in zip(starts, ends, strict=True)]
        tokens = torch.from_numpy(np.concatenate(parts)).float()
        return TokenLists(tokens, torch.from_numpy(ends - starts), torch.from_numpy(self.mean))

    @cached_property
    def document_vectors(self) -> NDArray[np.float32]:
        """The documents' unit vectors, float32 [documents, dim]."""
        return unit_rows(self.documents.pooled[self.document_rows])

    @cached_property
    def fingerprint(self) -> str:
        """A hash of texts, splits, images and the teacher."""
        digest = hashlib.sha256(json.dumps([self.data.fingerprint, self.teacher_fingerprint]).encode())
        for array in (self.images, self.documents.pooled, self.mean):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def study_inputs(
    data: StudyData,
    teacher: TextTeacher,
    *,
    words: bool = False,  # see :func:`needs_words`
    image_tower: Path | None = None,  # None: the one that ships
    progress: Callable[[int, int], None] | None = None,
) -> StudyInputs:
    """Encode images, documents and sentences, or read them from the cache."""
    bitext = [data.bitext(split) for split in ("train", VALIDATION)]
    learned = dict.fromkeys([*(pair.english for pairs in bitext for pair in pairs.pairs), *data.distractors])
    # Long sentences of many languages would take gigabytes in every worker; the one run that needs them encodes them.
    codes = (ENGLISH, *data.languages) if isinstance(data, EmojiData) else (ENGLISH,)
    queries = [query.text for split in SPLITS for code in codes for query in data.queries(code, split)]
    spoken = sorted({word for pair in bitext[0].pairs for word in word_list(pair.english)})
    known = teacher_vectors(teacher, [*learned, *queries, *spoken], progress=progress)
    own = teacher_vectors(teacher, whole_words(teacher.model.tokenizer), progress=progress) if words else None
    documents = data.documents
    document_vectors = teacher_vectors(teacher, documents, progress=progress)
    images, learned_from = np.zeros((0, teacher.dim), dtype=np.float32), tuple[str, ...]()
    if isinstance(data, EmojiData):
        with quiet():
            tower = load_image_tower(folder := image_tower or shipped_image_tower(), teacher.dim)
        images, learned_from = emoji_vectors(tower, data.world), learned_splits(folder)
        unseen = np.zeros((len(data.world.images), 0, 0, 4), dtype=np.uint8)
        data = replace(data, world=replace(data.world, images=unseen))
    return StudyInputs(
        data=data,
        images=images,
        documents=KnownTexts.of(document_vectors),
        document_rows=np.array([document_vectors.sentences[text] for text in documents], dtype=np.int64),
        known=KnownTexts.of(known),
        mean=known.tokens[: int(known.offsets[len(learned)])].float().mean(0).numpy(),
        teacher_name=teacher.name, teacher_source=teacher.source, teacher_fingerprint=teacher.fingerprint,
        learned_splits=learned_from, words=None if own is None else KnownTexts.of(own),
    )  # fmt: skip


def needs_words(recipes: Sequence[Recipe]) -> bool:
    """Return True if a recipe starts from the words of the teacher's vocabulary."""
    return any(recipe.start.teacher_words or recipe.start.vectors != "random" for recipe in recipes)


Texts = Mapping[str, Sequence[str]]  # language to distinct texts
_BATCH = 128


@dataclass(frozen=True, eq=False)
class EncodedQueries:
    """``rows``: (language, text) to its row; ``pooled``: unit vectors, float32 [rows, dim]; ``tokens``: per row."""

    rows: Mapping[tuple[str, str], int]
    pooled: NDArray[np.float32]
    tokens: TokenLists


def query_texts(inputs: StudyInputs, languages: Sequence[str]) -> dict[str, list[str]]:
    """Return the distinct queries of both splits in each language."""
    return {
        code: list(dict.fromkeys(query.text for split in SPLITS for query in inputs.data.queries(code, split)))
        for code in languages
    }


def own_queries(space: OwnSpace, texts: Texts) -> EncodedQueries:
    """Encode queries in a student's own space, without tokens."""
    rows = {query: row for row, query in enumerate((code, text) for code, own in texts.items() for text in own)}
    pooled = np.concatenate([space.queries(own, code) for code, own in texts.items() if own])
    return EncodedQueries(rows, pooled, TokenLists(torch.zeros(0, 0), torch.zeros(len(rows), dtype=torch.long), None))


def encode_queries(
    encoder: Encoder,
    texts: Texts,
    mean: NDArray[np.float32] | None = None,  # subtracted from every token; None: tokens as they are
    translator: Translator | None = None,  # encode English translations instead; each query is translated once
) -> EncodedQueries:
    """Encode queries with a student in evaluation mode or the teacher; equal texts once."""
    spoken = {
        (code, text): translation
        for code, own in texts.items()
        for text, translation in zip(own, translator.translate(list(own), code) if translator else own, strict=True)
    }
    row_of = {text: row for row, text in enumerate(dict.fromkeys(spoken.values()))}
    pooled, vectors = _encode(encoder, list(row_of))
    lengths = torch.tensor([len(one) for one in vectors], dtype=torch.long)
    tokens = TokenLists(torch.cat(vectors), lengths, None if mean is None else torch.from_numpy(mean))
    return EncodedQueries({query: row_of[text] for query, text in spoken.items()}, unit_rows(pooled.numpy()), tokens)


@torch.no_grad()
def _encode(encoder: Encoder, texts: list[str]) -> tuple[Tensor, list[Tensor]]:
    """Return sentence vectors float32 [texts, dim] and each text's content tokens, from one pass."""
    # Texts of like length go together, which spares padding.
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    pooled, tokens = torch.zeros(len(texts), encoder.dim), [torch.empty(0, encoder.dim)] * len(texts)
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        batch = encoder.encode_tokens([texts[row] for row in rows]).to("cpu")
        pooled[rows] = batch.pooled.float()
        for row, vectors in zip(rows, batch.content().float().split(batch.mask.sum(1).tolist()), strict=True):
            tokens[row] = vectors
    return pooled, tokens


MAP, HEADLINE = "MAP", "headline"
MEASURES = ("R@1", "R@10", MAP)
SUBSETS = ("all", HEADLINE, "compositional", "lexical")


class Evaluator:
    """Measures systems on the same inputs. The teacher's English figures, parity's denominators, are measured once."""

    def __init__(self, inputs: StudyInputs) -> None:
        self.inputs = inputs
        self._english: dict[tuple[str, str], LanguageScores] = {}

    def measure(
        self, queries: EncodedQueries, condition: Condition, teacher: bool = False, student: bool = True,
        documents: NDArray[np.float32] | None = None,
    ) -> Measured:  # fmt: skip
        """Measure a system on both splits in every setting.

        ``teacher``: on English queries too, where they differ from what they should find; ``student``: not a
        translation, whose late interaction over sentences takes minutes of a run and is left out. ``documents``: unit
        vectors to search in place of the teacher's, float32 [documents, dim], by cosine only.
        """
        measured, data = Measured([], []), self.inputs.data
        with_english = teacher and data.has_english_queries
        measured_in = {code for code, _ in queries.rows}
        own = [code for code in data.languages if code in measured_in]
        codes = [ENGLISH, *own] if with_english else own
        for dataset, scoring in data.settings:
            if scoring == "maxsim" and not (student or data.has_english_queries):
                continue
            if documents is not None and (scoring == "maxsim" or dataset == DATASET):
                continue
            scores = _scores(self.inputs, queries, dataset, scoring, documents)  # [rows, images]
            for split in (VALIDATION, TEST):
                at = replace(condition, dataset=dataset, scoring=scoring, split=split)
                scored = [_in_language(self.inputs, queries, scores, code, split) for code in codes]
                if split == VALIDATION:
                    measured.records.extend(self._choice_records(scored, at))
                    continue
                english = scored[:1] if with_english else self._reference(dataset, scoring)
                measured.records.extend(self._records(english, scored[int(with_english) :], at, with_english))
                measured.per_query.extend(headline_map(scored, at))
        return measured

    def _choice_records(self, scores: Sequence[LanguageScores], condition: Condition) -> list[Record]:
        """Return MAP of headline queries, by which recipes are chosen."""
        records = summarize([map_only(one) for one in scores], condition, groups=_groups(scores))
        return [record for record in records if (record.subset, record.measure) == (HEADLINE, MAP)]

    def _records(
        self,
        english: Sequence[LanguageScores],
        scores: Sequence[LanguageScores],
        condition: Condition,
        keep_english: bool,
    ) -> list[Record]:
        """Return MAP in every subset of queries; the other measures and parity on the headline queries alone."""
        records = summarize([*english, *scores], condition, groups=_groups(scores))
        return [
            record
            for record in records
            if record.subset in SUBSETS
            and (record.subset == HEADLINE or record.measure == MAP)
            and (keep_english or record.language != ENGLISH)
        ]

    def _reference(self, dataset: str, scoring: str) -> list[LanguageScores]:
        """Return the teacher's scores of English queries; nothing where these are the documents themselves."""
        if not self.inputs.data.has_english_queries:
            return []
        if not self._english:
            texts = query_texts(self.inputs, [ENGLISH])
            queries = encode_queries(self.inputs.teacher, texts, self.inputs.mean)
            for setting in self.inputs.data.settings:
                scores = _scores(self.inputs, queries, *setting)
                self._english[setting] = _in_language(self.inputs, queries, scores, ENGLISH, TEST)
        return [self._english[dataset, scoring]]


def _groups(scores: Sequence[LanguageScores]) -> dict[str, tuple[str, ...]]:
    groups = resource_groups(one.language for one in scores if one.language != ENGLISH)
    return {str(name): codes for name, codes in groups.items() if codes}


def _scores(
    inputs: StudyInputs, queries: EncodedQueries, dataset: str, scoring: str,
    documents: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """Score every query against every image or document: float32 [rows, images], higher is better."""
    scores: NDArray[np.float32]
    if scoring == "maxsim":
        scores = maxsim(queries.tokens, inputs.document_tokens).numpy()
    else:
        own = inputs.document_vectors if documents is None else documents
        scores = queries.pooled @ (inputs.images if dataset == DATASET else own).T
    return scores


def _in_language(
    inputs: StudyInputs, queries: EncodedQueries, scores: NDArray[np.float32], code: str, split: str
) -> LanguageScores:
    rows = np.array([queries.rows[code, query.text] for query in inputs.data.queries(code, split)], dtype=np.int64)
    measured = inputs.data.measure(scores[np.ix_(rows, inputs.data.rows(split))], code, split)
    return replace(measured, values={measure: measured.values[measure] for measure in MEASURES})


def map_only(scores: LanguageScores) -> LanguageScores:
    """Return MAP alone, with the one subset that headline queries depend on."""
    return replace(scores, values={MAP: scores.values[MAP]}, subsets={"copied": scores.subsets["copied"]})


def headline_map(scores: Sequence[LanguageScores], condition: Condition) -> list[PerQueryScores]:
    blocks = per_query_scores([map_only(one) for one in scores], condition)
    return [block for block in blocks if block.subset == HEADLINE]
