"""The sources of the emoji world: names and keywords from Unicode CLDR, images from the color emoji font.

CLDR's format: Unicode Technical Standard 35, part 7. A language has ``annotations/LANG.xml`` (written by people) and
``annotationsDerived/LANG.xml`` (composed from them).
"""

import os
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from kivuko.errors import DataError, MissingDependencyError, check_path

FOLDERS = ("annotations", "annotationsDerived")
CLDR_PLACES = (
    "/usr/share/unicode/cldr/common",
    "/usr/share/unicode/cldr",
    "/usr/local/share/unicode/cldr/common",
)


@dataclass(frozen=True, slots=True)
class Annotation:
    """One emoji in one language: its ``name`` and its ``keywords`` (perhaps none)."""

    name: str
    keywords: tuple[str, ...]


def find_cldr(folder: str | Path | None = None) -> Path:
    """Return the CLDR folder that holds ``annotations/``: the one given, ``$KIVUKO_CLDR``, or the system's."""
    named = check_path("cldr", folder or os.environ.get("KIVUKO_CLDR") or None, "CLDR's folder", optional=True)
    candidates = [named, named / "common"] if named else [Path(p) for p in CLDR_PLACES]
    for candidate in candidates:
        if (candidate / "annotations" / "en.xml").is_file():
            return candidate
    if named:
        raise DataError(f"{named}: not a CLDR folder (no annotations/en.xml in it). Name CLDR's 'common' folder.")
    raise DataError(
        "no CLDR annotations: run 'apt-get install unicode-cldr-core', or name a folder that holds "
        "annotations/ with --cldr FOLDER or KIVUKO_CLDR."
    )


def shipped_image_tower() -> Path:
    """Return the folder of the image tower that comes with Kivuko."""
    return Path(__file__).parent / "image_tower"


def available_languages(folder: Path) -> tuple[str, ...]:
    names = {file.stem for file in (folder / "annotations").glob("*.xml")} - {"root"}  # root: what all languages share
    return tuple(sorted(name.replace("_", "-") for name in names))


def annotation_files(folder: Path, language: str) -> list[Path]:
    """Return the files that hold ``language``'s annotations, those written by people first."""
    stem = language.replace("-", "_")
    files = [folder / part / f"{stem}.xml" for part in FOLDERS]
    if not files[0].is_file():
        near = [code for code in available_languages(folder) if code.split("-")[0] == language.split("-")[0]]
        hint = f"near it: {', '.join(near)}" if near else "'kivuko data emoji --list' shows those that have"
        raise DataError(f"{files[0]}: no annotations for language '{language}'; {hint}.")
    return [file for file in files if file.is_file()]


def read_annotations(folder: Path, language: str) -> dict[str, Annotation]:
    """Return {emoji sequence without U+FE0F: Annotation} for one language; emoji without a name are left out."""
    names: dict[str, str] = {}
    keywords: dict[str, tuple[str, ...]] = {}
    for file in annotation_files(folder, language):
        for sequence, is_name, text in _read_file(file):
            if is_name:
                names[sequence] = text
            else:
                keywords[sequence] = tuple(part for word in text.split("|") if (part := word.strip()))
    if not names:
        raise DataError(f"{folder / 'annotations'}: no emoji has a name in language '{language}'. Choose another.")
    return {sequence: Annotation(name, keywords.get(sequence, ())) for sequence, name in names.items()}


def _read_file(file: Path) -> list[tuple[str, bool, str]]:
    try:
        root = ET.parse(file).getroot()
    except ET.ParseError as problem:
        raise DataError(
            f"{file}:{problem.position[0]}: not well-formed XML ({problem}). Install CLDR again."
        ) from problem
    except OSError as problem:
        raise DataError(f"{file}: cannot be read ({problem.strerror}).") from problem
    except (LookupError, ValueError) as problem:  # an encoding that the parser does not know
        raise DataError(f"{file}: not readable as XML ({problem}). Install CLDR again.") from problem
    entries = []
    for element in root.iter("annotation"):
        text = " ".join((element.text or "").split())
        # CLDR writes U+2191 x3 where a value is inherited from the parent locale: not a translation.
        if text and text != "↑↑↑":
            entries.append((element.get("cp", "").replace("\ufe0f", ""), element.get("type") == "tts", text))
    return entries


Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

GLYPH_SIZE = 109  # the one size in pixels at which the font's bitmaps exist
WIDTH, HEIGHT = 136, 128
FONT_PLACES = (
    "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/google-noto-emoji/NotoColorEmoji.ttf",
    "/usr/local/share/fonts/NotoColorEmoji.ttf",
)


def find_font(path: str | Path | None = None) -> Path:
    """Return the color emoji font file: the one given, ``$KIVUKO_FONT``, or the system's."""
    named: Path | None = check_path("font", path or os.environ.get("KIVUKO_FONT") or None, optional=True)
    if named:
        if not named.is_file():
            raise DataError(f"{named}: no such font file. Name NotoColorEmoji.ttf.")
        return named
    for candidate in map(Path, FONT_PLACES):
        if candidate.is_file():
            return candidate
    raise DataError(
        "no color emoji font: run 'apt-get install fonts-noto-color-emoji', or name NotoColorEmoji.ttf "
        "with --font FILE or KIVUKO_FONT."
    )


class EmojiFont:
    """A color emoji font that draws the sequences it knows."""

    def __init__(self, path: Path) -> None:
        if not features.check("raqm"):
            raise MissingDependencyError(
                "Pillow finds no raqm, which joins emoji sequences; its wheels bring raqm but not the library that "
                "raqm reads text with: run 'apt-get install libfribidi0'."
            )
        try:
            self._font = ImageFont.truetype(str(path), GLYPH_SIZE, layout_engine=ImageFont.Layout.RAQM)
            self._missing = self._draw("\U0010ffff")  # a noncharacter, drawn like all that the font lacks
        except OSError as problem:
            raise DataError(
                f"{path}: not a color emoji font with {GLYPH_SIZE}-pixel bitmaps ({problem}). Name NotoColorEmoji.ttf."
            ) from problem
        if self._draw("😀").sum() == self._missing.sum():
            raise DataError(f"{path}: this font draws no emoji. Name NotoColorEmoji.ttf.")

    def render(self, sequence: str) -> Pixels | None:
        """Draw one emoji as RGBA, uint8 [128, 136, 4]; None if the font has no single glyph for it."""
        if self._font.getlength(sequence) > 1.5 * WIDTH:
            return None  # drawn as several glyphs side by side
        pixels = self._draw(sequence)
        return None if np.array_equal(pixels, self._missing) or not pixels[..., 3].any() else pixels

    def _draw(self, sequence: str) -> Pixels:
        canvas = Image.new("RGBA", (WIDTH, HEIGHT), (255, 255, 255, 0))
        ImageDraw.Draw(canvas).text((0, 0), sequence, font=self._font, embedded_color=True)
        return np.asarray(canvas, dtype=np.uint8)
