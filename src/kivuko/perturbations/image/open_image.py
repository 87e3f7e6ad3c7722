"""Images from files of any origin: one RGB image, or one line with the reason why not."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kivuko.errors import DataError

MOST_PIXELS = 64_000_000  # that are decoded at all: some 250 MB
LONGEST_SIDE = 1024  # that is kept; no image tower sees more, and a folder of images has to fit in memory
# Decoders for images made of pixels. Others (EPS, say) would run a program on the file.
_FORMATS = ("PNG", "JPEG", "MPO", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO")
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_WHITE = (255, 255, 255, 255)


def open_image(path: Path | str) -> Image.Image:
    """Read an image as 8-bit RGB, its longer side at most ``LONGEST_SIDE`` pixels (a larger one is reduced).

    Transparent parts become white; of an animation the first frame is taken; 16 bits become 8; CMYK, gray and palettes
    are converted; a camera's rotation (EXIF) is applied. The format is recognized by content, not by name.
    """
    path = Path(path)
    try:
        if path.is_file() and not path.stat().st_size:
            raise DataError(f"{path}: the file is empty. Take it out, or copy it again.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own word on large or odd files; what is wrong raises
            with Image.open(path, formats=_decoders()) as file:
                _refuse_large(file, path)
                file.draft(None, (LONGEST_SIDE, LONGEST_SIDE))  # JPEG: decode at a half, quarter or eighth
                file.load()
                return _reduced(_rgb(ImageOps.exif_transpose(file)))
    except DataError:
        raise
    except Image.DecompressionBombError as problem:
        raise DataError(f"{path}: {_TOO_LARGE}") from problem
    except UnidentifiedImageError as problem:
        raise DataError(f"{path}: not an image that can be read. Give PNG, JPEG, GIF, WebP, BMP or TIFF.") from problem
    except Exception as problem:  # decoders raise many kinds, all of them the file's fault
        reason = getattr(problem, "strerror", None) or str(problem).strip() or type(problem).__name__
        raise DataError(
            f"{path}: the image cannot be read ({reason.splitlines()[0][:150]}). Take it out, or copy it again."
        ) from problem


_TOO_LARGE = f"the image has more than {MOST_PIXELS // 1_000_000} million pixels. Reduce it first."


def _decoders() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _refuse_large(image: Image.Image, path: Path) -> None:
    """Look at the size, which the file's first bytes tell, before a pixel is decoded."""
    if image.width * image.height > MOST_PIXELS:
        raise DataError(f"{path}: {image.width:,} x {image.height:,} pixels; {_TOO_LARGE}")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        return _from_levels(np.asarray(image).astype(np.float64) / 257)  # 65,535 becomes 255
    if image.mode == "F":
        return _from_levels(np.asarray(image).astype(np.float64) * 255)
    if image.has_transparency_data:
        drawn = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", drawn.size, _WHITE), drawn).convert("RGB")
    return image.convert("RGB")


def _from_levels(levels: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Image.Image:
    """Make a gray image of levels [height, width] in 0-255."""
    if not (levels >= 0).all() or not (levels <= 255).all():  # NaN too
        raise ValueError("its values are neither 16-bit levels nor numbers from 0 to 1")
    return Image.fromarray(levels.round().astype(np.uint8)).convert("RGB")


def _reduced(image: Image.Image) -> Image.Image:
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return image
