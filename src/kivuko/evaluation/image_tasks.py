"""Retrieval of images: emoji by names and by phrases, and those of an image-caption set by captions and back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kivuko.datasets.captions.caption_set import FIRST_CAPTION, CaptionSet, LanguageCaptions, choose_languages
from kivuko.datasets.emoji.phrases import PHRASES, SPLIT, Phrase, PhraseSet
from kivuko.datasets.emoji.sources import available_languages, find_cldr
from kivuko.datasets.emoji.world import EmojiWorld, emoji_world, is_copied
from kivuko.datasets.spec import EMOJI
from kivuko.encoders.model import Model
from kivuko.errors import DataError
from kivuko.evaluation.evaluate import Options
from kivuko.evaluation.evaluator import ENGLISH, Bar, EncodedQueries, notes_on_languages, own_languages
from kivuko.evaluation.group_means import LanguageScores
from kivuko.evaluation.measures import MEASURES, PROTOCOL, Qrels, per_query
from kivuko.evaluation.vectors import ImageVectors, encode_images
from kivuko.files import sha256_of
from kivuko.languages import DEFAULT_LANGUAGES
from kivuko.progress import note
from kivuko.search.building import emoji_vectors
from kivuko.search.decoding import Refused
from kivuko.search.encoding import TowerEncoder
from kivuko.text import pluralize

DATASET, DOCUMENTS = "emoji", "emoji-text"
TEXT_TO_IMAGE, IMAGE_TO_TEXT = "text-to-image", "image-to-text"
SUCCESS = ("Success@1", "Success@5", "Success@10")
PHRASE_MEASURES = ("Success@5", "Success@1", "Success@10", "MRR", "MAP")
MEASURES_OF: Mapping[str, tuple[str, ...]] = {TEXT_TO_IMAGE: MEASURES, IMAGE_TO_TEXT: (*SUCCESS, *MEASURES)}
_CHUNK_CELLS = 20_000_000  # of the score matrix held at once: 80 MB

Measured = Iterator[tuple[EncodedQueries, dict[str, LanguageScores]]]


@dataclass(frozen=True, eq=False)
class EmojiTask:
    """One split's queries against all images; ``images``: unit vectors, float32 [images, dim]."""

    world: EmojiWorld
    images: NDArray[np.float32]
    split: str = "test"
    scoring: str = "cosine"
    has_english: bool = True
    dataset: str = DATASET

    def texts(self, language: str) -> list[str]:
        return [query.text for query in self.world.queries(language, self.split)]

    def measure(self, queries: Iterable[EncodedQueries]) -> Measured:
        for one in queries:
            scores = one.vectors @ self.images.T
            yield one, {DATASET: measure_queries(scores, self.world, one.language, self.split)}

    def protocol(self, languages: Sequence[str]) -> dict[str, Any]:
        return {**emoji_protocol(self.world, self.split), "languages": list(languages)}

    def notes(self) -> list[str]:
        return []


def open_emoji(
    model: Any, opened: EmojiWorld | None, options: Options, bar: Bar
) -> tuple[Model, tuple[str, ...], EmojiTask]:
    """Return the model, the languages to measure, and the task."""
    loaded = options.load_with_images(model)
    if options.languages is not None or not loaded.languages:
        codes = options.languages or (DEFAULT_LANGUAGES if opened is None else opened.languages)
    else:
        there = opened.languages if opened is not None else available_languages(find_cldr(options.cldr))
        codes = own_languages(loaded, [code for code in loaded.languages if code in there], EMOJI, there)
        if absent := [code for code in loaded.languages if code not in codes]:
            note(f"note: emoji have no names in {', '.join(absent)}.")
    for line in notes_on_languages(loaded, codes):
        note(f"note: {line}.")
    world = opened or emoji_world(
        [code for code in codes if code != "en"], cldr=options.cldr, font=options.font, progress=bar("drawing emoji")
    )
    return loaded, tuple(codes), EmojiTask(world, emoji_vectors(loaded.encoder, world), options.split)


def measure_queries(scores: ArrayLike, world: EmojiWorld, language: str, split: str) -> LanguageScores:
    """Measure the queries of one language, each of which should retrieve its own image, or that image's document.

    ``scores``: [queries, images], rows as in ``world.queries``, columns as in ``world.image_sequences``. Subsets are
    "copied", "compositional" (seen words only) and "lexical" (with unseen words); clusters are concepts.
    """
    documents = world.image_sequences
    queries = world.queries(language, split)
    ids = [query.id for query in queries]
    qrels = {query.id: {documents[query.image]} for query in queries}
    copied = np.array([query.copied for query in queries], dtype=bool)
    seen = np.array([query.compositional for query in queries], dtype=bool)
    return LanguageScores(
        language=language, query_ids=ids, values=per_query(scores, ids, documents, qrels),
        subsets={"copied": copied, "compositional": seen & ~copied, "lexical": ~seen & ~copied},
        clusters=[query.concept for query in queries],
    )  # fmt: skip


def emoji_protocol(world: EmojiWorld, split: str) -> dict[str, Any]:
    """Return the protocol for the records' header."""
    return {
        **PROTOCOL,
        "dataset": DATASET,
        "split": split,
        "task": "text to image: one query per emoji name, one relevant image per query",
        "gallery": f"all {len(world.images)} distinct emoji images of every split, on white",
        "intervals": "95 % percentile bootstrap over concepts, drawn together in all languages; Poisson, 2,000 samples",
        "headline": "queries equal to the English name (copied) are left out",
        "fingerprint": world.fingerprint,
    }


def documents_protocol(world: EmojiWorld, split: str) -> dict[str, Any]:
    """Return the protocol of searching English documents, an image's names and keywords, in place of images."""
    return {
        **emoji_protocol(world, split),
        "dataset": DOCUMENTS,
        "task": "text to English text: one query per emoji name, one relevant document per query",
        "gallery": f"{len(world.images)} documents, one for each distinct emoji image of every split: the English "
        "names and keywords of the emoji that are drawn so",
    }


@dataclass(frozen=True, eq=False)
class PhraseTask:
    """Everyday phrases against all emoji images; any image that is right for a phrase counts.

    ``phrases``: those that the world has emoji of; ``images``: unit vectors, float32 [images, dim].
    """

    phrases: PhraseSet
    world: EmojiWorld
    images: NDArray[np.float32]
    split: str = SPLIT
    scoring: str = "cosine"
    has_english: bool = True

    @property
    def dataset(self) -> str:
        return self.phrases.name

    def texts(self, language: str) -> list[str]:
        return [phrase.text for phrase in self.phrases.of(language)]

    def measure(self, queries: Iterable[EncodedQueries]) -> Measured:
        for one in queries:
            scores = one.vectors @ self.images.T
            yield one, {self.dataset: measure_phrases(scores, self.world, one.language, self.phrases.of(one.language))}

    def protocol(self, languages: Sequence[str]) -> dict[str, Any]:
        return {
            **PROTOCOL,
            "dataset": self.dataset,
            "split": self.split,
            "task": "text to image: one query per everyday phrase; relevant: every emoji that is right for it",
            "gallery": f"all {len(self.world.images)} distinct emoji images of every split, on white",
            "Success@k": "1 where at least one relevant image is among the first k",
            "intervals": "95 % percentile bootstrap over meanings, drawn together in all languages; Poisson, "
            "2,000 samples",
            "headline": "phrases equal to the English ones (copied) are left out",
            "fingerprint": self.world.fingerprint,
            "images": {"number": len(self.world.images)},  # which titles of tables name
            "left out": self.phrases.left_out,
            "languages": list(languages),
        }

    def notes(self) -> list[str]:
        count = self.phrases.left_out
        return [f"left out: {pluralize(count, 'phrase')} without any emoji in this emoji world."] if count else []


def measure_phrases(scores: ArrayLike, world: EmojiWorld, language: str, phrases: Sequence[Phrase]) -> LanguageScores:
    """Measure phrases of one language, each of which should retrieve the images that are right for it.

    ``scores``: [phrases, images], columns as in ``world.image_sequences``. The subset "copied" holds phrases equal to
    the English ones; clusters are the meanings, which are the same in every language.
    """
    documents = world.image_sequences
    document_of = {emoji.sequence: documents[emoji.image] for emoji in world.emoji}
    ids = [phrase.id for phrase in phrases]
    qrels = {phrase.id: {document_of[sequence] for sequence in phrase.emoji} for phrase in phrases}
    copied = [language != ENGLISH and is_copied(phrase.text, phrase.english) for phrase in phrases]
    return LanguageScores(
        language=language, query_ids=ids, values=per_query(scores, ids, documents, qrels, PHRASE_MEASURES),
        subsets={"copied": np.array(copied, dtype=bool)}, clusters=[phrase.english for phrase in phrases],
    )  # fmt: skip


def open_phrases(
    model: Any, phrases: PhraseSet, options: Options, bar: Bar
) -> tuple[Model, tuple[str, ...], PhraseTask]:
    """Return the model, the languages to measure, and the task."""
    loaded = options.load_with_images(model)
    if options.languages is not None or not loaded.languages:
        codes = options.languages or phrases.languages
    else:
        own = [code for code in loaded.languages if code in phrases.languages]
        codes = own_languages(loaded, own, PHRASES, phrases.languages)
        if absent := [code for code in loaded.languages if code not in codes]:
            note(f"note: {PHRASES} has no phrases in {', '.join(absent)}.")
    for line in notes_on_languages(loaded, codes):
        note(f"note: {line}.")
    world = emoji_world([], cldr=options.cldr, font=options.font, progress=bar("drawing emoji"))
    return loaded, tuple(codes), PhraseTask(phrases.drawn(world), world, emoji_vectors(loaded.encoder, world))


@dataclass(frozen=True, eq=False)
class CaptionTask:
    """A caption set in both directions, one language at a time.

    Text to image: every caption is a query with one relevant image. Image to text: every image is a query, and its
    captions are the relevant ones among all captions in the language.
    """

    caption_set: CaptionSet
    images: NDArray[np.float32]  # unit vectors [images, dim]
    digest: str  # SHA-256 over the images
    captions: str  # which captions of an image are queries
    scoring: str = "cosine"

    @property
    def split(self) -> str:
        return self.caption_set.split

    @property
    def dataset(self) -> str:
        return dataset_name(self.caption_set, self.captions, TEXT_TO_IMAGE)

    @property
    def has_english(self) -> bool:
        return ENGLISH in self.caption_set.captions

    def queries(self, language: str) -> LanguageCaptions:
        return self.caption_set.of(language, self.captions)

    def texts(self, language: str) -> tuple[str, ...]:
        return self.queries(language).texts

    def measure(self, queries: Iterable[EncodedQueries]) -> Measured:
        for one in queries:
            scores = score_captions(self.caption_set, self.queries(one.language), one.vectors, self.images)
            yield one, {dataset_name(self.caption_set, self.captions, way): own for way, own in scores.items()}

    def protocol(self, languages: Sequence[str]) -> dict[str, Any]:
        return captions_protocol(self.caption_set, languages, self.captions, self.digest)

    def notes(self) -> list[str]:
        reasons = self.caption_set.left_out
        if not reasons:
            return []
        line = "left out: " + ", ".join(f"{count:,} x {reason}" for reason, count in reasons.items()) + "."
        if any(reason.startswith("image: ") for reason in reasons):
            line += " Figures with images left out are not those of the whole set."
        return [line]


def open_captions(
    model: Any, caption_set: CaptionSet, options: Options, bar: Bar
) -> tuple[Model, tuple[str, ...], CaptionTask]:
    """Return the model, the languages to measure, and the task, without unreadable images."""

    codes = choose_languages(caption_set, options.languages or ())
    caption_set = without_missing(caption_set, options.skip_missing)
    loaded = options.load_with_images(model)
    if options.languages is None and loaded.languages:
        there = caption_set.languages
        own = [code for code in there if _is_one_of(code, loaded.languages, there)]
        codes = own_languages(loaded, own, caption_set.name, there)
    for line in [*caption_set.notes, *notes_on_languages(loaded, codes)]:
        note(f"note: {line}.")
    vectors = encode_images(
        TowerEncoder(loaded.encoder), caption_set, workers=options.workers,
        progress=bar("encoding images"), reading=bar("reading images"),
    )  # fmt: skip
    kept, images, digest = without_broken(caption_set, vectors, options.skip_missing)
    if gone := [code for code in codes if code not in kept.captions]:
        note(f"note: no image is left that has a caption in {', '.join(gone)}.")
    task = CaptionTask(kept, images, digest, f"{options.captions}-caption")
    return loaded, tuple(code for code in codes if code in kept.captions), task


def _is_one_of(code: str, trained: Sequence[str], there: Sequence[str]) -> bool:
    """Return True for a language of the model's: ``zh-Hans`` is ``zh`` where the set has no other Chinese."""
    if code in trained:
        return True
    primary = code.partition("-")[0]
    return primary in trained and sum(one.partition("-")[0] == primary for one in there) == 1


def dataset_name(caption_set: CaptionSet, protocol: str, direction: str) -> str:
    """Return the name in records, as ``xm3600/every-caption/text-to-image``; incomparable figures differ in it."""
    return f"{caption_set.name}/{protocol}/{direction}"


def score_captions(
    caption_set: CaptionSet, captions: LanguageCaptions, texts: NDArray[np.float32], images: NDArray[np.float32]
) -> dict[str, LanguageScores]:
    """Search the captions of one language in the images, and the other way round: direction to values.

    ``texts``: unit vectors, float32 [captions, dim]; ``images``: [images of the set, dim]. Clusters are the images,
    since the captions of one image, in every language, depend on each other.
    """
    if texts.shape[0] != len(captions.texts) or images.shape[0] != len(caption_set.images):
        raise DataError(
            f"{len(captions.texts)} captions and {len(caption_set.images)} images, but {texts.shape[0]} and "
            f"{images.shape[0]} vectors; give one each"
        )
    if texts.shape[1] != images.shape[1]:
        raise DataError(
            f"captions have vectors of {texts.shape[1]} numbers, images of {images.shape[1]}: they are not in one "
            "space. Use the text and the image side of one model"
        )
    names = [image.id for image in caption_set.images]
    owners = [names[row] for row in captions.owners]
    ids = caption_ids(owners)
    rows = sorted(set(captions.owners))  # the images that have a caption in this language
    gallery = rows if caption_set.gallery == "language" else list(range(len(names)))
    own: dict[str, set[str]] = {}
    for caption, owner in zip(ids, owners, strict=True):
        own.setdefault(owner, set()).add(caption)
    # A text that several images share must score the same in each place, to the last bit, or a tie is none.
    _, first, place = np.unique(np.array(captions.texts, dtype=object), return_index=True, return_inverse=True)
    forth = _measured(
        texts, images[gallery], None, ids, [names[row] for row in gallery],
        {caption: {owner} for caption, owner in zip(ids, owners, strict=True)}, TEXT_TO_IMAGE,
    )  # fmt: skip
    searching = [names[row] for row in rows]
    back = _measured(images[rows], texts[first], place, searching, ids, own, IMAGE_TO_TEXT)
    return {
        direction: LanguageScores(language=captions.language, query_ids=queries, values=values, clusters=list(clusters))
        for direction, queries, values, clusters in (
            (TEXT_TO_IMAGE, ids, forth, owners),
            (IMAGE_TO_TEXT, searching, back, searching),
        )
    }


def captions_protocol(
    caption_set: CaptionSet, languages: Sequence[str], captions: str, images_digest: str
) -> dict[str, Any]:
    """Return the protocol for the records' header; ``images_digest``: SHA-256 over the images' own, in order."""
    whole = caption_set.gallery == "set"
    queries = "the first caption of each image" if captions == FIRST_CAPTION else "every caption"
    total = len(caption_set.images)
    searched = f"all {total:,} images of the split" if whole else "the images that have a caption in the language"
    return {
        **PROTOCOL,
        "dataset": caption_set.name,
        "split": caption_set.split,
        "captions": f"{captions}: {queries} is a query, and a document for images",
        "captions per image": {code: round(caption_set.per_image(code), 3) for code in languages},
        "task": {
            TEXT_TO_IMAGE: f"one query per caption, one relevant image; gallery: {searched}",
            IMAGE_TO_TEXT: "one query per image with a caption in the language; relevant: its captions; "
            "documents: all captions in the language",
        },
        "Success@k": "1 where at least one relevant document is among the first k: what papers on image-text retrieval "
        "call R@k from image to text; R@k here is the share of the image's captions retrieved. From text to image, "
        "with one relevant image, both are the same",
        "gallery": {code: total if whole else len(caption_set.captions[code]) for code in languages},
        "intervals": "95 % percentile bootstrap over images, drawn together in all languages; Poisson, 2,000 samples",
        "languages": list(languages),
        "files": {file.name: sha256_of(file) for file in caption_set.files},
        "images": {"number": total, "sha256": images_digest},
        "left out": dict(caption_set.left_out),
        "notes": list(caption_set.notes),
    }


def caption_ids(owners: Sequence[str]) -> list[str]:
    """Return an id for each caption of these images: ``image#1``, ``image#2``."""
    seen: dict[str, int] = {}
    ids = []
    for owner in owners:
        seen[owner] = seen.get(owner, 0) + 1
        ids.append(f"{owner}#{seen[owner]}")
    return ids


def _measured(
    queries: NDArray[np.float32],
    documents: NDArray[np.float32],
    repeated: NDArray[np.int64] | None,  # the row of ``documents`` that holds each document
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    qrels: Qrels,
    direction: str,
) -> dict[str, NDArray[np.float64]]:
    step = max(1, _CHUNK_CELLS // max(1, len(document_ids)))
    parts = []
    for start in range(0, len(query_ids), step):
        scores = queries[start : start + step] @ documents.T  # [block, documents]
        if repeated is not None:
            scores = scores[:, repeated]
        parts.append(per_query(scores, query_ids[start : start + step], document_ids, qrels, MEASURES_OF[direction]))
    return {name: np.concatenate([part[name] for part in parts]) for name in MEASURES_OF[direction]}


def without_missing(caption_set: CaptionSet, skip_missing: bool) -> CaptionSet:
    """Return the set without the images whose files are missing; DataError unless ``skip_missing``."""
    refused = {row: Refused("missing") for row, one in enumerate(caption_set.images) if one.path is None}
    return _without(caption_set, refused, skip_missing)


def without_broken(
    caption_set: CaptionSet, vectors: ImageVectors, skip_missing: bool
) -> tuple[CaptionSet, NDArray[np.float32], str]:
    """Return the set without unreadable images, the others' vectors [images, dim], and their digest."""
    kept = [row for row in range(len(caption_set.images)) if row not in vectors.refused]
    left = _without(caption_set, vectors.refused, skip_missing)
    return left, vectors.vectors[kept], vectors.digest()


def _without(caption_set: CaptionSet, refused: Mapping[int, Refused], skip_missing: bool) -> CaptionSet:
    if not refused:
        return caption_set
    row = min(refused)
    why, total = refused[row], len(caption_set.images)
    first = f"{caption_set.images[row].named}: {why.reason}{f' ({why.detail})' if why.detail else ''}"
    in_shards = caption_set.images[row].length is not None
    if len(refused) == total:
        remedy = (
            "Make or fetch the shards again"
            if in_shards
            else "Name the folder that holds them after a comma: PATH,IMAGES"
        )
        raise DataError(f"{caption_set.name}: none of its {total:,} images can be read; the first: {first}. {remedy}")
    if not skip_missing:
        remedy = "Leave" if in_shards else "Name their folder after a comma (PATH,IMAGES), or leave"
        raise DataError(
            f"{caption_set.name}: {len(refused):,} of its {total:,} images cannot be read; the first: {first}. "
            f"{remedy} them out with --skip-missing"
        )
    reasons = {caption_set.images[number].id: one.reason for number, one in refused.items()}
    for reason in sorted(set(reasons.values())):
        gone = frozenset(name for name, one in reasons.items() if one == reason)
        caption_set = caption_set.without(gone, f"image: {reason}")
    if not caption_set.captions:
        raise DataError(f"{caption_set.name}: no caption is left, because the images that have one cannot be read")
    return caption_set
