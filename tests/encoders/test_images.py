"""Files of any kind become upright RGB images, or a reason why not; nothing is decoded that is too large."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tiny_encoder import image

from kivuko.encoders.images import RefusedImage, decode, readable_formats, thumbnail


def as_bytes(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def reason(content: bytes, **limits) -> str:
    with pytest.raises(RefusedImage) as refused:
        decode(content, **limits)
    return refused.value.reason


def png_that_says(width: int, height: int) -> bytes:
    """A PNG whose header promises any size, with next to nothing behind it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"])
def test_formats_are_recognized_by_content(kind):
    if kind not in Image.SAVE and kind not in readable_formats():
        pytest.skip("this Pillow has no AVIF")
    image = Image.new("RGB", (20, 12), (200, 30, 40))
    result = decode(as_bytes(image, kind))
    assert (result.mode, result.size) == ("RGB", (20, 12))
    assert np.abs(np.asarray(result, dtype=int) - (200, 30, 40)).max() <= 6


def test_heic_is_read_or_the_command_named(monkeypatch):
    content = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40
    monkeypatch.setattr("kivuko.encoders.images.readable_formats", lambda: ("PNG", "JPEG"))
    with pytest.raises(RefusedImage) as refused:
        decode(content)
    assert (refused.value.reason, "kivuko[heic]" in refused.value.detail) == ("HEIC", True)


def test_heic_with_the_extra():
    pillow_heif = pytest.importorskip("pillow_heif")
    stream = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), (10, 200, 30))).save(stream, format="HEIF")
    result = decode(stream.getvalue())
    assert result.size == (64, 48)
    assert np.abs(np.asarray(result, dtype=int) - (10, 200, 30)).max() < 12


def test_eps_is_not_read_for_it_would_run_a_program():
    assert not {"EPS", "WMF"} & set(readable_formats())
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n") == "PostScript"


@pytest.mark.parametrize("side", [50_000, 20_000])
def test_a_bomb_is_refused_by_its_header(side):
    assert reason(png_that_says(side, side)) == "too many pixels"


def test_the_pixel_limit_holds_exactly():
    content = as_bytes(image(1, (10, 10)))
    assert decode(content, most_pixels=100).size == (10, 10)
    assert reason(content, most_pixels=99) == "too many pixels"


def test_a_bomb_inside_an_icon_is_refused():
    inner = png_that_says(50_000, 50_000)
    icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    assert reason(icon) == "too many pixels"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF"])
def test_truncated_files_are_broken(kind):
    content = as_bytes(Image.effect_noise((80, 80), 90).convert("RGB"), kind)
    assert reason(content[: len(content) // 2]) in ("broken image", "not an image")


def test_what_is_no_image():
    assert reason(b"") == "empty file"
    assert reason(b"hello") == "not an image"
    assert reason(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == "SVG"


def test_images_are_turned_upright():
    upright = image(3, (30, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    result = decode(as_bytes(upright, "PNG", exif=exif))
    np.testing.assert_array_equal(np.asarray(result), np.asarray(upright.transpose(Image.Transpose.ROTATE_270)))


def test_transparent_parts_are_white():
    image = Image.new("RGBA", (4, 2), (0, 0, 255, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    for content in (as_bytes(image), as_bytes(image.quantize(4)), as_bytes(image, "GIF")):
        result = decode(content)
        assert result.getpixel((0, 0)) == (255, 255, 255)
        assert result.getpixel((3, 1)) == (0, 0, 255)


def test_sixteen_bits_become_eight():
    values = np.array([[0, 257 * 7], [257 * 128, 65535]], dtype=np.uint16)
    result = decode(as_bytes(Image.fromarray(values)))
    np.testing.assert_array_equal(np.asarray(result)[..., 0], [[0, 7], [128, 255]])


def test_floats_and_cmyk_and_palettes():
    result = decode(as_bytes(Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)), "TIFF"))
    np.testing.assert_array_equal(np.asarray(result)[0, :, 0], [0, 128, 255])
    cmyk = decode(as_bytes(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert np.abs(np.asarray(cmyk, dtype=int) - (255, 0, 0)).max() < 8


def test_of_a_moving_image_the_first_frame():
    frames = [Image.new("RGB", (6, 6), color) for color in ("red", "lime", "blue")]
    result = decode(as_bytes(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert result.getpixel((2, 2)) == (255, 0, 0)


def test_a_broken_exif_block_does_not_break_the_image():
    content = as_bytes(image(5), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fgarbage")
    assert decode(content).size == (24, 16)


def test_thumbnails_are_small_and_keep_proportions():
    small = Image.open(io.BytesIO(thumbnail(image(1, (1000, 500)))))
    assert small.size == (256, 128)
    assert Image.open(io.BytesIO(thumbnail(image(1, (2000, 2))))).size == (256, 1)
    for size in ((30, 20), (384, 300)):  # to scale what is hardly larger is not worth the time
        assert Image.open(io.BytesIO(thumbnail(image(1, size)))).size == size
    assert Image.open(io.BytesIO(thumbnail(image(1, (385, 300))))).size == (256, 199)
