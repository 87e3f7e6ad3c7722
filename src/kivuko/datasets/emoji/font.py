"""Pictures of emoji, drawn from a color emoji font with bitmap glyphs (Noto Color Emoji)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from kivuko.errors import DataError, MissingDependencyError

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

GLYPH_SIZE = 109  # the one size in pixels at which the font's bitmaps exist
WIDTH, HEIGHT = 136, 128
KNOWN_PLACES = (
    "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/google-noto-emoji/NotoColorEmoji.ttf",
    "/usr/local/share/fonts/NotoColorEmoji.ttf",
)


def find_font(path: Path | None = None) -> Path:
    """Return the color emoji font file: the one given, ``$KIVUKO_FONT``, or the system's.

    Raises:
        DataError: there is none; the message says how to get one.
    """
    named = path or (Path(os.environ["KIVUKO_FONT"]) if os.environ.get("KIVUKO_FONT") else None)
    if named:
        if not named.is_file():
            raise DataError(f"{named}: no such font file. Name NotoColorEmoji.ttf.")
        return named
    for candidate in map(Path, KNOWN_PLACES):
        if candidate.is_file():
            return candidate
    raise DataError(
        "no color emoji font found: run 'apt-get install fonts-noto-color-emoji', or name NotoColorEmoji.ttf "
        "with --font FILE or KIVUKO_FONT."
    )


class EmojiFont:
    """Draws emoji sequences, telling those that the font knows from those that it does not."""

    def __init__(self, path: Path) -> None:
        if not features.check("raqm"):
            raise MissingDependencyError(
                "Pillow finds no raqm, which joins emoji sequences; its wheels bring raqm but not the library that "
                "raqm reads text with: run 'apt-get install libfribidi0'."
            )
        try:
            self._font = ImageFont.truetype(str(path), GLYPH_SIZE, layout_engine=ImageFont.Layout.RAQM)
            self._missing = self._draw("\U0010ffff")  # a noncharacter: whatever the font draws for the unknown
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
