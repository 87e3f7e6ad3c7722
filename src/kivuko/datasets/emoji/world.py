"""The emoji world: images, their names and keywords in many languages, and splits by concept; built once and cached."""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.datasets.emoji.sources import (
    Annotation,
    EmojiFont,
    Pixels,
    annotation_files,
    find_cldr,
    find_font,
    read_annotations,
)
from kivuko.errors import CorruptFileError, UsageError, unreadable
from kivuko.files import atomic_path, cache_folder, check_sha256, refuse_unwritable, sha256_of, write_text
from kivuko.text import word_list

TEST_CONCEPTS = 320
VALIDATION_CONCEPTS = 160
SPLITS = ("train", "validation", "test")

# English words that carry no meaning in an emoji's name.
STOP_WORDS = frozenset(
    ("a", "an", "and", "as", "at", "by", "for", "from", "in", "into", "is", "it", "its", "no", "not", "of", "off", "on",
     "or", "out", "over", "the", "to", "under", "up", "down", "with", "without")
)  # fmt: skip


def split_concepts(concepts: Iterable[str]) -> dict[str, str]:
    """Assign each concept to "train", "validation" or "test", by a hash of the concept.

    So the split depends neither on the machine nor on the language, and new emoji move few others.
    """
    order = sorted(set(concepts), key=lambda concept: hashlib.sha256(b"kivuko:" + concept.encode()).digest())
    bounds = (TEST_CONCEPTS, TEST_CONCEPTS + VALIDATION_CONCEPTS)
    return {
        concept: "test" if rank < bounds[0] else "validation" if rank < bounds[1] else "train"
        for rank, concept in enumerate(order)
    }


def content_words(text: str) -> frozenset[str]:
    """Return the lower-cased words of an English text less its stop words.

    >>> sorted(content_words("flag: Bosnia & Herzegovina"))
    ['bosnia', 'flag', 'herzegovina']
    """
    return frozenset(word_list(text)) - STOP_WORDS


def is_copied(name: str, english: str) -> bool:
    """Return True if a translation is the English name again (case and spaces aside)."""
    return " ".join(name.casefold().split()) == " ".join(english.casefold().split())


def is_compositional(english: str, known_words: frozenset[str]) -> bool:
    """Return True if every content word of an English name occurs among the words seen in training."""
    return content_words(english) <= known_words


ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class Emoji:
    """One emoji: its code points, its concept and split, and the row of its image in the gallery."""

    sequence: str
    concept: str
    split: str
    image: int


@dataclass(frozen=True, slots=True)
class Query:
    """One emoji's name in one language, which should retrieve its image."""

    id: str
    language: str
    text: str
    english: str
    image: int
    concept: str
    compositional: bool  # every English content word of its name occurs in training
    copied: bool  # the name is the English name again


class LanguageCounts(NamedTuple):
    """Numbers of queries of a language; copies are not in the last two."""

    names: int
    keywords: int
    copies: int  # names equal to the English one
    train: int
    validation: int
    test: int
    seen_words: int  # test queries of which training holds every English word
    unseen_words: int


@dataclass(frozen=True)
class EmojiWorld:
    """Emoji that the font draws, each image once, with annotations per language."""

    emoji: tuple[Emoji, ...]
    images: Pixels  # RGBA [images, 128, 136, 4]; emoji that are drawn alike share one
    annotations: dict[str, dict[str, Annotation]]
    left_out: Counter[str] = field(default_factory=Counter)  # CLDR's sequences without an image, by reason
    fingerprint: str = ""

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(code for code in self.annotations if code != ENGLISH)

    @cached_property
    def training_words(self) -> frozenset[str]:
        """Return all English content words in names and keywords of training emoji."""
        own = (self.annotations[ENGLISH][emoji.sequence] for emoji in self.emoji if emoji.split == "train")
        return frozenset(word for one in own for text in (one.name, *one.keywords) for word in content_words(text))

    def bitext(self, languages: Sequence[str], split: str, *, keywords: bool = True) -> Bitext:
        """Return sentence pairs of one split: each emoji's name, and its keywords as a list where both have some."""
        self._check(languages, split)
        english = self.annotations[ENGLISH]
        pairs = []
        for language in languages:
            own = self.annotations[language]
            for emoji in self.emoji:
                if emoji.split != split or emoji.sequence not in own:
                    continue
                text, name = own[emoji.sequence], english[emoji.sequence]
                origin = f"emoji:{emoji.sequence}"
                pairs.append(Pair(language, text.name, name.name, f"{origin}:name"))
                if keywords and text.keywords and name.keywords:
                    own_list, english_list = ", ".join(text.keywords), ", ".join(name.keywords)
                    pairs.append(Pair(language, own_list, english_list, f"{origin}:keywords"))
        return Bitext(tuple(pairs))

    def queries(self, language: str, split: str) -> list[Query]:
        """Return the names of one split's emoji in one language ("en" for the English names) as queries.

        Emoji that share an image and a name there make one query.
        """
        self._check([language], split)
        own, english = self.annotations[language], self.annotations[ENGLISH]
        queries: dict[tuple[int, str], Query] = {}
        for emoji in self.emoji:
            if emoji.split != split or emoji.sequence not in own:
                continue
            text, name = own[emoji.sequence].name, english[emoji.sequence].name
            queries.setdefault(
                (emoji.image, text),
                Query(
                    id=f"{language}:{emoji.sequence}",
                    language=language,
                    text=text,
                    english=name,
                    image=emoji.image,
                    concept=emoji.concept,
                    compositional=is_compositional(name, self.training_words),
                    copied=language != ENGLISH and is_copied(text, name),
                ),
            )
        return list(queries.values())

    def split_sizes(self) -> dict[str, int]:
        return {name: sum(one.split == name for one in self.emoji) for name in SPLITS}

    def counts(self, language: str) -> LanguageCounts:
        drawn = {one.sequence for one in self.emoji}
        own = [annotation for sequence, annotation in self.annotations[language].items() if sequence in drawn]
        train, validation, test = (self.queries(language, split) for split in SPLITS)
        kept = [query for query in test if not query.copied]
        seen = sum(query.compositional for query in kept)
        return LanguageCounts(
            len(own), sum(len(one.keywords) for one in own),
            sum(query.copied for queries in (train, validation, test) for query in queries),
            len(train), len(validation), len(test), seen, len(kept) - seen,
        )  # fmt: skip

    def english_names(self) -> tuple[list[str], np.ndarray[tuple[int], np.dtype[np.int64]]]:
        names = [self.annotations[ENGLISH][emoji.sequence].name for emoji in self.emoji]
        return names, np.array([emoji.image for emoji in self.emoji], dtype=np.int64)

    @cached_property
    def image_sequences(self) -> list[str]:
        """Return the ids of the images [images]: the first emoji sequence that is drawn as each."""
        first: dict[int, str] = {}
        for emoji in self.emoji:
            first.setdefault(emoji.image, emoji.sequence)
        return [first[row] for row in range(len(self.images))]

    def image(self, row: int, background: str = "white") -> Image.Image:
        """Return one image as RGB on a plain background, 136 x 136 pixels."""
        drawn = Image.fromarray(self.images[row])
        side = max(drawn.size)
        canvas = Image.new("RGB", (side, side), background)
        canvas.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2), drawn)
        return canvas

    def _check(self, languages: Sequence[str], split: str) -> None:
        if split not in SPLITS:
            raise UsageError(f"unknown split '{split}': choose one of {', '.join(SPLITS)}.")
        for language in languages:
            if language not in self.annotations:
                raise UsageError(
                    f"language '{language}' is not in this emoji world ({', '.join(self.languages)}): build it with it."
                )


def english_documents(world: EmojiWorld) -> list[str]:
    """Return, for each image, the English names and then keywords of the emoji that share it [images]."""
    english = world.annotations[ENGLISH]
    names: list[list[str]] = [[] for _ in world.images]
    keywords: list[list[str]] = [[] for _ in world.images]
    for emoji in world.emoji:
        annotation = english[emoji.sequence]
        names[emoji.image].append(annotation.name)
        keywords[emoji.image] += annotation.keywords
    return [", ".join(_once([*called, *about])) for called, about in zip(names, keywords, strict=True)]


def _once(texts: list[str]) -> list[str]:
    """Return the texts in their order, the first of those that differ in case only."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(text.casefold(), text)
    return list(first.values())


# Concepts: "man shrugging", "woman shrugging" and "person shrugging" are one. If one of them were in training and
# another in the test, the test would measure memory. Concepts depend on code points, never on names, so they hold in
# every language.

SKIN_TONES = frozenset(map(chr, range(0x1F3FB, 0x1F400)))
_JOINER, _GENDER_SIGNS = "\u200d", frozenset("♀♂")

# One representative for each set of characters that differ in gender alone.
_SAME = {
    "👨👩🧑": "🧑", "👦👧🧒": "🧒", "👴👵🧓": "🧓", "🤴👸🫅": "🫅", "🎅🤶": "🎅", "🕺💃": "💃",
    "🫃🫄🤰": "🫄", "👫👬👭": "👫", "🤵👰": "🤵", "🚹🚺": "🚹",
}  # fmt: skip
_REPRESENTATIVE = {character: kept for group, kept in _SAME.items() for character in group}
# Sequences of a concept that also has a character of its own.
_ALIASES = {"🧑🎄": "🎅", "🧑🤝🧑": "👫", "": "♀"}  # nothing is left of ♀ and ♂ by themselves
_FAMILY, _COUPLE, _KISS = "👪", "💑", "💏"


def has_skin_tone(sequence: str) -> bool:
    """Return True if the sequence carries a skin-tone modifier (the modifiers themselves included)."""
    return any(character in SKIN_TONES for character in sequence)


def concept_of(sequence: str) -> str:
    """Return the concept that an emoji sequence belongs to, itself written as an emoji.

    >>> concept_of("🤷‍♀") == concept_of("🤷‍♂") == concept_of("🤷")
    True
    >>> concept_of("👩‍🚒") == concept_of("🧑‍🚒") != concept_of("🚒")
    True
    """
    parts = [
        "".join(_REPRESENTATIVE.get(character, character) for character in part)
        for part in sequence.replace("\ufe0f", "").split(_JOINER)
        if part not in _GENDER_SIGNS
    ]
    people = [part for part in parts if part in ("🧑", "🧒")]
    if len(people) >= 2 and "🤝" not in parts:
        if "💋" in parts:
            return _KISS
        return _COUPLE if "❤" in parts else _FAMILY
    joined = "".join(parts)
    return _ALIASES.get(joined, joined)


FORMAT = 1  # to be raised when the content of the cache, the drawing or the splits change
Progress = Callable[[int, int], None]  # (done, total)


def emoji_world(
    languages: Sequence[str],
    *,
    cldr: str | Path | None = None,
    font: str | Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> EmojiWorld:
    """Return the emoji world with these languages and English, from the cache if its sources have not changed.

    ``cldr`` and ``font`` are by default ``$KIVUKO_CLDR`` and ``$KIVUKO_FONT`` or the system's.
    """
    folder, font_file = find_cldr(cldr), find_font(font)
    codes = [ENGLISH, *(code for code in dict.fromkeys(languages) if code != ENGLISH)]
    for code in codes:
        annotation_files(folder, code)  # a language without annotations is refused before anything is built
    cache = cache or cache_folder() / "emoji"

    fingerprint = _fingerprint([font_file, *annotation_files(folder, ENGLISH)])
    place = cache / f"world-{fingerprint[:16]}"
    if not place.is_dir():
        _build(place, read_annotations(folder, ENGLISH), font_file, progress)
    emoji, images, left_out = _load(place)
    annotations = {code: _annotations(cache, folder, code) for code in codes}
    return EmojiWorld(emoji, images, annotations, left_out, fingerprint)


def _fingerprint(files: Iterable[Path]) -> str:
    return hashlib.sha256("\n".join([str(FORMAT), *map(sha256_of, files)]).encode()).hexdigest()


def _build(place: Path, english: dict[str, Annotation], font_file: Path, progress: Progress | None) -> None:
    refuse_unwritable(place, folder=True)
    font, left_out = EmojiFont(font_file), Counter[str]()
    row_of: dict[bytes, int] = {}
    images: list[Pixels] = []
    rows: dict[str, int] = {}
    for done, sequence in enumerate(english, start=1):
        if progress and (done % 50 == 0 or done == len(english)):
            progress(done, len(english))
        if has_skin_tone(sequence):
            left_out["skin-tone variant"] += 1
            continue
        if sequence.isascii():
            left_out["plain text character"] += 1  # the font holds * and # only as parts of keycaps
            continue
        pixels = font.render(sequence)
        if pixels is None:
            left_out["not drawn as one glyph by the font"] += 1
            continue
        row = row_of.setdefault(pixels.tobytes(), len(images))
        if row == len(images):
            images.append(pixels)
        rows[sequence] = row
    emoji = _with_splits(rows)
    with atomic_path(place) as temporary:
        temporary.mkdir()
        table = pa.table({"png": pa.array([_to_png(pixels) for pixels in images], pa.binary())})
        pq.write_table(table, temporary / "images.parquet", compression="none")
        listing = {"emoji": [asdict(one) for one in emoji], "left_out": dict(left_out)}
        (temporary / "emoji.json").write_text(json.dumps(listing, ensure_ascii=False), encoding="utf-8")
        sums = {name: sha256_of(temporary / name) for name in ("images.parquet", "emoji.json")}
        (temporary / "manifest.json").write_text(json.dumps({"format": FORMAT, "sha256": sums}), encoding="utf-8")


def _with_splits(rows: dict[str, int]) -> list[Emoji]:
    """Give each emoji its concept and split; emoji that share an image share the first one's concept."""
    by_image: dict[int, str] = {}
    concepts = {seq: by_image.setdefault(row, concept_of(seq)) for seq, row in rows.items()}
    splits = split_concepts(concepts.values())
    return [Emoji(seq, concepts[seq], splits[concepts[seq]], row) for seq, row in rows.items()]


def _load(place: Path) -> tuple[tuple[Emoji, ...], Pixels, Counter[str]]:
    remedy = f"Delete the folder {place} and run again."
    try:
        manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
        sums = {name: str(manifest["sha256"][name]) for name in ("images.parquet", "emoji.json")}
    except (OSError, ValueError, KeyError, TypeError) as problem:
        file = place / "manifest.json"
        raise unreadable(file, problem, f"{file}: corrupted or unreadable. {remedy}") from problem
    for name, expected in sums.items():
        check_sha256(place / name, expected, remedy)
    listing = json.loads((place / "emoji.json").read_text(encoding="utf-8"))
    column = pq.read_table(place / "images.parquet").column("png")
    images = np.stack([np.asarray(Image.open(io.BytesIO(png.as_py()))) for png in column])
    return tuple(Emoji(**one) for one in listing["emoji"]), images, Counter(listing["left_out"])


def _annotations(cache: Path, folder: Path, language: str) -> dict[str, Annotation]:
    """Read one language from the cache, or from CLDR's XML (twenty times slower), which then fills the cache."""
    fingerprint = _fingerprint(annotation_files(folder, language))
    file = cache / f"annotations-{language}-{fingerprint[:16]}.json"
    if not file.is_file():
        annotations = read_annotations(folder, language)
        body = json.dumps({seq: [a.name, *a.keywords] for seq, a in annotations.items()}, ensure_ascii=False)
        write_text(file, hashlib.sha256(body.encode()).hexdigest() + "\n" + body)
        return annotations
    try:
        expected, _, body = file.read_text(encoding="utf-8").partition("\n")
    except (OSError, ValueError):
        expected, body = "", "unreadable"
    if hashlib.sha256(body.encode()).hexdigest() != expected:
        raise CorruptFileError(
            f"{file}: corrupted (its checksum differs from what was written). Delete this file and run again."
        )
    return {seq: Annotation(name, tuple(words)) for seq, (name, *words) in json.loads(body).items()}


def _to_png(pixels: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()
