"""Building the emoji world from CLDR and a font, and keeping it in a cache that knows when it is stale."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from kivuko.datasets.emoji.cldr import Annotation, annotation_files, find_cldr, read_annotations
from kivuko.datasets.emoji.concepts import concept_of, has_skin_tone
from kivuko.datasets.emoji.font import EmojiFont, Pixels, find_font
from kivuko.datasets.emoji.splits import split_concepts
from kivuko.datasets.emoji.world import ENGLISH, Emoji, EmojiWorld
from kivuko.errors import CorruptFileError
from kivuko.files import atomic_path, cache_folder, check_sha256, sha256_of, write_text

FORMAT = 1  # raise it when what is cached, or how it is drawn or split, changes
Progress = Callable[[int, int], None]  # (done, total)


def emoji_world(
    languages: Sequence[str],
    *,
    cldr: Path | None = None,
    font: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> EmojiWorld:
    """Return the emoji world with these languages, from the cache if its sources have not changed.

    Args:
        languages: CLDR codes such as "sw"; English is always there.
        cldr: folder that holds ``annotations/``; default: ``$KIVUKO_CLDR`` or the system's.
        font: NotoColorEmoji.ttf; default: ``$KIVUKO_FONT`` or the system's.
        cache: folder for the cache; default: Kivuko's.
        progress: called with (done, total) while pictures are drawn.

    Raises:
        DataError: no CLDR folder, no font, or a language without annotations.
        CorruptFileError: the cache does not hold what was written into it.
    """
    folder, font_file = find_cldr(cldr), find_font(font)
    codes = [ENGLISH, *(code for code in dict.fromkeys(languages) if code != ENGLISH)]
    for code in codes:
        annotation_files(folder, code)  # a language without annotations fails before anything is built
    cache = cache or cache_folder() / "emoji"

    fingerprint = _fingerprint([font_file, *annotation_files(folder, ENGLISH)])
    place = cache / f"world-{fingerprint[:16]}"
    if not place.is_dir():
        _build(place, read_annotations(folder, ENGLISH), font_file, progress)
    emoji, images, left_out = _load(place)
    annotations = {code: _annotations(cache, folder, code) for code in codes}
    return EmojiWorld(emoji, images, annotations, left_out, fingerprint)


def _fingerprint(files: Iterable[Path]) -> str:
    """Hash the contents of the sources, so that an updated font or CLDR is never served from an old cache."""
    return hashlib.sha256("\n".join([str(FORMAT), *map(sha256_of, files)]).encode()).hexdigest()


def _build(place: Path, english: dict[str, Annotation], font_file: Path, progress: Progress | None) -> None:
    font, left_out = EmojiFont(font_file), Counter[str]()
    row_of: dict[bytes, int] = {}
    pictures: list[Pixels] = []
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
        row = row_of.setdefault(pixels.tobytes(), len(pictures))
        if row == len(pictures):
            pictures.append(pixels)
        rows[sequence] = row
    emoji = _with_splits(rows)
    with atomic_path(place) as temporary:
        temporary.mkdir()
        table = pa.table({"png": pa.array([_to_png(pixels) for pixels in pictures], pa.binary())})
        pq.write_table(table, temporary / "images.parquet", compression="none")
        listing = {"emoji": [asdict(one) for one in emoji], "left_out": dict(left_out)}
        (temporary / "emoji.json").write_text(json.dumps(listing, ensure_ascii=False), encoding="utf-8")
        sums = {name: sha256_of(temporary / name) for name in ("images.parquet", "emoji.json")}
        (temporary / "manifest.json").write_text(json.dumps({"format": FORMAT, "sha256": sums}), encoding="utf-8")


def _with_splits(rows: dict[str, int]) -> list[Emoji]:
    """Give each emoji its concept and split; emoji that share a picture share the first one's concept."""
    by_picture: dict[int, str] = {}
    concepts = {seq: by_picture.setdefault(row, concept_of(seq)) for seq, row in rows.items()}
    splits = split_concepts(concepts.values())
    return [Emoji(seq, concepts[seq], splits[concepts[seq]], row) for seq, row in rows.items()]


def _load(place: Path) -> tuple[tuple[Emoji, ...], Pixels, Counter[str]]:
    remedy = f"Delete the folder {place} and run again."
    try:
        manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
        sums = {name: str(manifest["sha256"][name]) for name in ("images.parquet", "emoji.json")}
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise CorruptFileError(f"{place / 'manifest.json'}: corrupted or unreadable. {remedy}") from problem
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
        found = read_annotations(folder, language)
        body = json.dumps({seq: [a.name, *a.keywords] for seq, a in found.items()}, ensure_ascii=False)
        write_text(file, hashlib.sha256(body.encode()).hexdigest() + "\n" + body)
        return found
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
