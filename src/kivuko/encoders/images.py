"""Image files, decoded to upright RGB images and scaled to thumbnails, or refused with a reason.

The header's size is checked before a pixel is decoded, and a format is recognized by content, never by name.
"""

import io
import re
import warnings
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kivuko.errors import DataError

_START, _END_OF_IMAGE = b"\xff\xd8", 0xD9
_MOST_BYTES = 32 << 10  # about twice what a thumbnail of 384 x 384 has
_FRAME, _SCAN, _JFIF, _ADOBE = 0xC0, 0xDA, 0xE0, 0xEE
_KEPT = frozenset((0xDB, _FRAME, 0xC4, _SCAN, 0xDD, _ADOBE))  # tables, restart interval, how colors are coded
_METADATA = frozenset((*range(0xE0, 0xF0), 0xFE)) - {0xE1, _ADOBE}  # 0xE1, EXIF and XMP, may turn the image
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7]")
MOST_PIXELS = 178_956_970  # what Pillow itself refuses; an image of 13,377 x 13,377
MOST_BYTES = 512 << 20
THUMBNAIL_SIDE = 256
_LARGER_THUMBNAIL = 384  # to scale what is hardly larger takes longer than to decode it
_NOT_READ = frozenset(("EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"))  # run a program, or known by name only
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_TURNS = 0x0112  # EXIF's orientation
_REMEDIES = {"not an image": "Give PNG, JPEG, GIF, WebP, BMP or TIFF.", "too many pixels": "Reduce it first."}


class RefusedImage(Exception):  # noqa: N818  (not a fault of the program)
    """A file that cannot be read as an image: ``reason`` is one of a few, ``detail`` says more."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, " ".join(detail.split())[:300]


def decode(content: bytes, most_pixels: int = MOST_PIXELS, longest_side: int | None = None) -> Image.Image:
    """Decode the bytes of a file: its first frame, upright, in RGB, on white, reduced to ``longest_side`` at most."""
    if not content:
        raise RefusedImage("empty file")
    formats = readable_formats()
    Image.MAX_IMAGE_PIXELS = most_pixels  # for the images inside an image, as in ICO, whose size comes later
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=formats) as image:
                if image.width * image.height > most_pixels:
                    raise RefusedImage("too many pixels", f"{image.width} x {image.height}, most {most_pixels}")
                if longest_side is None:
                    image.load()
                    return as_rgb(image)
                image.draft(None, (longest_side, longest_side))  # JPEG: decode at a half, quarter or eighth
                image.load()
                reduced = as_rgb(image)
                reduced.thumbnail((longest_side, longest_side), Image.Resampling.BICUBIC, reducing_gap=2.0)
                return reduced
    except RefusedImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as problem:
        raise RefusedImage("too many pixels", str(problem)) from problem
    except UnidentifiedImageError as problem:
        raise unidentified(content) from problem
    except MemoryError as problem:
        raise RefusedImage("too many pixels", "not enough memory to decode it") from problem
    except Exception as problem:  # decoders raise whatever a broken file leads them to
        raise RefusedImage("broken image", f"{type(problem).__name__}: {problem}") from problem


def open_image(path: Path | str, *, most_pixels: int = MOST_PIXELS, longest_side: int | None = None) -> Image.Image:
    """Read an image file as ``decode`` does; raise DataError where that is not possible."""
    try:
        return decode(Path(path).read_bytes(), most_pixels, longest_side)
    except RefusedImage as problem:
        detail = f": {problem.detail}" if problem.detail else ""
        remedy = _REMEDIES.get(problem.reason, "Remove it, or copy it again.")
        raise DataError(f"{path}: cannot be read as an image ({problem.reason}{detail}). {remedy}") from problem
    except (OSError, ValueError) as problem:
        raise DataError(f"{path}: cannot be read ({getattr(problem, 'strerror', None) or problem}).") from problem


def as_rgb(image: Image.Image) -> Image.Image:
    """Return a decoded image upright and in RGB; transparent parts are white, 16 bits become 8."""
    try:
        turned = image.getexif().get(_TURNS, 1) != 1
        upright = ImageOps.exif_transpose(image) if turned else image
    except Exception:  # a broken EXIF block does not break the image
        upright = image
    if upright.mode.startswith("I") or upright.mode == "F":
        upright = _eight_bits(upright)
    if upright.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in upright.info:
        above = upright.convert("RGBA")
        white = Image.new("RGBA", above.size, "white")
        return Image.alpha_composite(white, above).convert("RGB")
    return upright.convert("RGB") if upright.mode != "RGB" else upright.copy() if upright is image else upright


def thumbnail(image: Image.Image, content: bytes = b"", side: int = THUMBNAIL_SIDE) -> bytes:
    """Return an RGB image as a JPEG without metadata: scaled down to ``side`` pixels at most, or as it is up to 384."""
    small = image
    if max(image.size) > max(side, _LARGER_THUMBNAIL):
        scale = side / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        small = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.5)
    elif own := without_metadata(content):
        return own
    stream = io.BytesIO()
    small.save(stream, format="JPEG", quality=80)
    return stream.getvalue()


def identify(stream: BinaryIO) -> None:
    """Read no more than the header, so that a film of gigabytes is refused at once."""
    start = stream.read(16)
    stream.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(stream, formats=readable_formats())
    except UnidentifiedImageError as problem:
        raise unidentified(start) from problem
    except Exception as problem:
        raise RefusedImage("broken image", f"{type(problem).__name__}: {problem}") from problem
    stream.seek(0)


def without_metadata(content: bytes) -> bytes | None:
    """Return a JPEG that has been decoded without its metadata, comments, and whatever follows its end.

    None: it is not a small, baseline JPEG with one scan, in gray or in three colors; or it has EXIF or XMP, which may
    say that it is to be turned.
    """
    if len(content) > _MOST_BYTES or not content.startswith(_START):
        return None
    parts, place = [_START], 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        after = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == _FRAME and content[place + 9 : place + 10] not in (b"\x01", b"\x03"):
            return None
        if marker in _KEPT or (marker == _JFIF and after - place == 18):  # a longer one has an image in it
            parts.append(content[place:after])
        elif marker not in _METADATA:
            return None
        if marker == _SCAN:
            end = _MARKER_IN_SCAN.search(content, after)
            if end is None or content[end.start() + 1] != _END_OF_IMAGE:
                return None
            return b"".join((*parts, content[after : end.end()]))
        place = after
    return None


@cache
def readable_formats() -> tuple[str, ...]:
    Image.init()
    try:
        import pillow_heif
    except ImportError:
        pass  # an extra: ``unidentified`` names it where a file needs it
    else:
        pillow_heif.register_heif_opener()
    return tuple(name for name in Image.OPEN if name not in _NOT_READ)


def unidentified(content: bytes) -> RefusedImage:
    """Return why the start of a file is not that of an image, with the remedy where there is one."""
    brand = content[8:12] if content[4:8] == b"ftyp" else b""  # of an ISO media file
    if brand in _HEIF_BRANDS:
        return RefusedImage("HEIC", "run pip install 'kivuko[heic]' to read it")
    if brand in _AVIF_BRANDS:
        return RefusedImage("AVIF", "run pip install 'pillow>=11.3' to read it")
    return RefusedImage("not an image")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Bring whole numbers of 16 or 32 bits, or floats, to 8 bits: by their own range where none is prescribed."""
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    low, high = values.min(), values.max()
    if image.mode.startswith("I;16") or (image.mode == "I" and low >= 0 and 255 < high <= 65535):
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 1 and image.mode == "F":
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    levels = np.rint((values - low) * (255 / max(high - low, 1e-12))).clip(0, 255)
    return Image.fromarray(levels.astype(np.uint8))
