"""Image files, decoded to upright RGB images and scaled to thumbnails, or refused with a reason.

The header's size is checked before a pixel is decoded, and a format is recognized by content, never by name.
"""

import io
import re
import warnings
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kivuko.errors import DataError

_START, _END_OF_IMAGE = b"\xff\xd8", 0xD9
_MOST_BYTES = 32 << 10  # about twice what a thumbnail of 384 x 384 has
_FRAME, _SCAN, _JFIF, _ICC, _ADOBE = 0xC0, 0xDA, 0xE0, 0xE2, 0xEE
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
_TURNS, _PHOTOMETRIC = 0x0112, 0x0106  # EXIF's orientation, and what TIFF says of its colors
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
            with Image.open(io.BytesIO(_with_alpha(content)), formats=formats) as image:
                if image.width * image.height > most_pixels:
                    raise RefusedImage("too many pixels", f"{image.width} x {image.height}, most {most_pixels}")
                if longest_side is not None:
                    image.draft(None, (longest_side, longest_side))  # JPEG: decode at a half, quarter or eighth
                raw, covered = _raw_mode(image), _first_frame(image)
                image.load()
                _scale_key_color(image, raw)
                decoded = as_rgb(image, release=True)
                if covered is not None:
                    decoded, part = Image.new("RGB", decoded.size, "white"), decoded.crop(covered)
                    decoded.paste(part, covered)
                if longest_side is not None:
                    decoded.thumbnail((longest_side, longest_side), Image.Resampling.BICUBIC, reducing_gap=2.0)
                return decoded
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
        if problem.reason in _REMEDY_OF:
            raise DataError(f"{path}: {problem.reason} is not read as an image; {problem.detail}.") from problem
        detail = f": {problem.detail}" if problem.detail else ""
        remedy = _REMEDIES.get(problem.reason, "Remove it, or copy it again.")
        raise DataError(f"{path}: cannot be read as an image ({problem.reason}{detail}). {remedy}") from problem
    except (OSError, ValueError) as problem:
        raise DataError(f"{path}: cannot be read ({getattr(problem, 'strerror', None) or problem}).") from problem


def as_rgb(image: Image.Image, release: bool = False) -> Image.Image:
    """Return a decoded image upright, in 8 bits, its colors in sRGB by its profile, its transparent parts white.

    ``release``: free the memory of ``image`` as soon as its pixels are not needed.
    """
    try:
        turned = image.getexif().get(_TURNS, 1) != 1
        upright = ImageOps.exif_transpose(image) if turned else image
    except Exception:  # a broken EXIF block does not break the image
        upright = image
    profile, key = upright.info.get("icc_profile"), upright.info.get("transparency")
    if upright.mode == "RGB" and not profile and key is None:
        return upright.copy() if upright is image else upright
    if upright.mode == "RGBA" and not profile:
        return _on_white(upright)
    alpha = None
    if upright.mode.startswith("I") or upright.mode == "F":
        upright, alpha = _eight_bits(upright, key, getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0)
        if release:
            image.close()
    elif upright.mode in ("RGBA", "LA", "PA", "La", "RGBa") or key is not None:
        upright, alpha = _parted(upright)
    flat = _in_srgb(upright, profile)
    flat = flat.copy() if flat is image else flat
    for key_of_pixels in ("transparency", "icc_profile"):  # neither is true of the result; files would keep them
        flat.info.pop(key_of_pixels, None)
    return flat if alpha is None else _on_white(flat, alpha)


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
    start = stream.read(4096)
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

    None: it is not a small, baseline JPEG with one scan, in gray or in three colors; or it has a color profile other
    than sRGB, or EXIF or XMP, which may say that it is to be turned.
    """
    if len(content) > _MOST_BYTES or not content.startswith(_START):
        return None
    parts, place = [_START], 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        after = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == _FRAME and content[place + 9 : place + 10] not in (b"\x01", b"\x03"):
            return None
        if marker == _ICC and content.startswith(b"ICC_PROFILE\0", place + 4):
            whole, profile = content[place + 16 : place + 18] == b"\1\1", content[place + 18 : after]
            if not whole or any(_to_srgb(profile, mode) for mode in ("L", "RGB")):
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


_CONVERT, _UNPACK = "convert it to PNG, JPEG or WebP", "unpack it"
_OTHER_FORMATS = (  # files that lie among images and are not read: name, remedy, how they begin
    ("JPEG XL", _CONVERT, (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
    ("JPEG XR", _CONVERT, (b"II\xbc",)),
    ("PDF", _CONVERT, (b"%PDF",)),
    ("PostScript", _CONVERT, (b"%!PS", b"\xc5\xd0\xd3\xc6")),
    ("WMF", _CONVERT, (b"\xd7\xcd\xc6\x9a",)),
    ("GIMP image", _CONVERT, (b"gimp xcf",)),
    ("OpenEXR", _CONVERT, (b"v/1\x01",)),
    ("Radiance HDR", _CONVERT, (b"#?RADIANCE", b"#?RGBE")),
    ("DjVu", _CONVERT, (b"AT&TFORM",)),
    ("camera raw", _CONVERT, (b"FUJIFILMCCD-RAW",)),
    ("video", "take a frame out of it", (b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3")),
    ("archive", _UNPACK, (b"PK\3\4", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf")),
    ("Git LFS pointer", "run git lfs pull to fetch the image", (b"version https://git-lfs",)),
)
_BRANDS = {**dict.fromkeys(_HEIF_BRANDS, "HEIC"), **dict.fromkeys(_AVIF_BRANDS, "AVIF"), b"crx ": "camera raw"}
_REMEDY_OF = {
    "HEIC": "run pip install 'kivuko[heic]' to read it", "AVIF": "run pip install 'pillow>=11.3' to read it",
    "DICOM": _CONVERT, "SVG": _CONVERT, "web page": "download the image itself",
    **{name: remedy for name, remedy, _ in _OTHER_FORMATS},
}  # fmt: skip


def unidentified(content: bytes) -> RefusedImage:
    """Return why the start of a file is not that of an image that is read: its format, if known, and the remedy."""
    name = next((name for name, _, starts in _OTHER_FORMATS if content.startswith(starts)), "")
    if content[4:8] == b"ftyp":  # an ISO media file
        name = _BRANDS.get(content[8:12], "video")
    elif content.startswith(b"RIFF") and content[8:12] == b"AVI ":
        name = "video"
    elif content[128:132] == b"DICM":
        name = "DICOM"
    elif (text := content[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()).startswith(b"<"):
        name = "SVG" if b"<svg" in text else "web page" if b"<html" in text or b"<!doctype html" in text else ""
    return RefusedImage(name, _REMEDY_OF[name]) if name else RefusedImage("not an image")


_BAND = 1 << 20  # pixels that are converted together, so that memory is that of the result


def _bands(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """Yield boxes of whole rows."""
    rows = max(1, _BAND // max(1, image.width))
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(image.height, top + rows)


def _eight_bits(image: Image.Image, key: Any, white_is_zero: bool) -> tuple[Image.Image, Image.Image | None]:
    """Bring whole numbers of 16 or 32 bits, or floats, to 8 bits: by their own range where none is prescribed.

    ``key``: the value that is transparent, if there is one; returns the alpha of each pixel, too.
    """
    low, high = _range_of(image)
    if white_is_zero and image.mode.startswith("I;16"):  # Pillow turns other modes itself
        low, high = high, low
    levels = np.empty((image.height, image.width), dtype=np.uint8)
    alpha = np.empty_like(levels) if isinstance(key, int) else None
    for box in _bands(image):
        values = np.asarray(image.crop(box))
        rows = slice(box[1], box[3])
        if alpha is not None:
            alpha[rows] = np.where(values == key, 0, 255)
        scaled = np.nan_to_num(values.astype(np.float64))
        scaled -= low
        scaled *= 255 / (high - low or 1e-12)
        levels[rows] = np.rint(scaled, out=scaled).clip(0, 255)
    return Image.fromarray(levels), None if alpha is None else Image.fromarray(alpha)


def _range_of(image: Image.Image) -> tuple[float, float]:
    """Return the values that are black and white."""
    if image.mode.startswith("I;16"):
        return 0.0, 65535.0
    parts = (np.nan_to_num(np.asarray(image.crop(box))) for box in _bands(image))
    lows, highs = zip(*((part.min(), part.max()) for part in parts), strict=True)
    low, high = float(min(lows)), float(max(highs))
    if image.mode == "I" and low >= 0 and 255 < high <= 65535:
        return 0.0, 65535.0
    if image.mode == "F" and low >= 0 and high <= 1:
        return 0.0, 1.0
    return (0.0, 255.0) if low >= 0 and high <= 255 else (low, high)


def _parted(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Return the colors (RGB or gray) and the alpha of an image with transparency, of whatever kind."""
    if image.mode in ("1", "L", "La"):
        image = image.convert("LA")
    if image.mode == "LA":
        return image.getchannel("L"), image.getchannel("A")
    above = image if image.mode == "RGBA" else image.convert("RGBA")
    return above.convert("RGB"), above.getchannel("A")


def _on_white(image: Image.Image, alpha: Image.Image | None = None) -> Image.Image:
    """Lay an image, RGB with its alpha or RGBA, onto white."""
    boxes = list(_bands(image))
    whole = image if alpha is not None else Image.new("RGB", image.size)
    for box in boxes:
        above = image if len(boxes) == 1 else image.crop(box)
        if alpha is not None:
            above.putalpha(alpha if len(boxes) == 1 else alpha.crop(box))
        flat = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
        if len(boxes) == 1:
            return flat
        whole.paste(flat, box)
    return whole


def _raw_mode(image: Image.Image) -> str:
    """Return the form of the pixels in a PNG file that is not decoded yet, such as ``L;4``; else nothing."""
    if image.format != "PNG" or not getattr(image, "tile", None):
        return ""
    arguments = image.tile[0][3]  # type: ignore[attr-defined]
    return str(arguments if isinstance(arguments, str) else arguments[0])


def _first_frame(image: Image.Image) -> tuple[int, int, int, int] | None:
    """Return the box of a GIF's first frame if it is not the whole image; the rest is transparent."""
    if image.format != "GIF" or not getattr(image, "tile", None):
        return None
    box: tuple[int, int, int, int] | None = image.tile[0][1]  # type: ignore[attr-defined]
    return None if box is None or tuple(box) == (0, 0, *image.size) else box


def _with_alpha(content: bytes) -> bytes:
    """Say in the header of an animated WebP file that it has alpha: its canvas has, whatever the header says."""
    if content[:4] == b"RIFF" and content[8:16] == b"WEBPVP8X" and content[20] & 0x12 == 0x02:
        return content[:20] + bytes([content[20] | 0x10]) + content[21:]
    return content


def _scale_key_color(image: Image.Image, raw: str) -> None:
    """Bring a PNG's transparent color to 8 bits as its pixels were: gray of 2 or 4 bits, colors of 16."""
    key = image.info.get("transparency")
    if raw in ("L;2", "L;4") and isinstance(key, int):
        image.info["transparency"] = key * {"L;2": 85, "L;4": 17}[raw] % 256
    elif raw == "RGB;16B" and isinstance(key, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in key)


_COLORS = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}  # color space of a profile -> mode of its images
_AS_GOOD_AS_SRGB = 3  # levels of 255


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an opaque image of any mode as RGB; ``profile``: what its colors are."""
    if profile and image.mode not in _COLORS.values():
        image = image.convert("L" if image.mode == "1" else "RGB")
    transform = _to_srgb(profile, image.mode) if profile or image.mode == "LAB" else None
    if transform is not None:
        from PIL import ImageCms

        converted = ImageCms.applyTransform(image, transform)
        assert converted is not None
        return converted
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes | None, mode: str) -> Any:
    """Return the transform to sRGB; None for a profile that is damaged, of other colors, or as good as sRGB."""
    try:
        from PIL import ImageCms
    except ImportError:  # a Pillow built without it
        return None
    try:
        own = ImageCms.getOpenProfile(io.BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
        space = own.profile.xcolor_space.strip() if isinstance(own, ImageCms.ImageCmsProfile) else "Lab"
        if _COLORS.get(space) != mode:
            return _to_srgb(None, mode) if profile and mode == "LAB" else None
        transform = ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), mode, "RGB")
        if mode in ("L", "RGB"):
            steps = np.arange(0, 256, 15, dtype=np.uint8)
            colors = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3) if mode == "RGB" else steps[None]
            grid = Image.fromarray(colors)
            moved = np.asarray(ImageCms.applyTransform(grid, transform), dtype=np.int16)
            if np.abs(moved - np.asarray(grid.convert("RGB"), dtype=np.int16)).max() <= _AS_GOOD_AS_SRGB:
                return None
        return transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):  # the colors stay as they are
        return None
