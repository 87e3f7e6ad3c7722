"""A small JPEG serves as its own thumbnail: the same pixels, and nothing else of the file."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from tiny_encoder import image

from kivuko.encoders.images import RefusedImage, decode, thumbnail, without_metadata

SECRET = b"taken at home"


def jpeg(image, **options):
    stream = io.BytesIO()
    image.save(stream, format="JPEG", **options)
    return stream.getvalue()


def pixels(content):
    return np.asarray(decode(content))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quality": 95, "subsampling": 0},
        {"optimize": True},
        {"restart_marker_blocks": 2},
        {"comment": SECRET},
        {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + SECRET},
        {"keep_rgb": True},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_the_pixels_are_kept_and_all_else_is_left_out(mode, options):
    if mode == "L" and "keep_rgb" in options:
        return
    content = jpeg(image(3, (200, 90)).convert(mode), **options)
    result = without_metadata(content + SECRET)
    assert result is not None
    np.testing.assert_array_equal(pixels(result), pixels(content))
    assert SECRET not in result
    assert len(result) <= len(content)


@pytest.mark.parametrize(
    "content",
    [
        jpeg(image(3, (200, 90)), progressive=True),
        jpeg(image(3, (200, 90)).convert("CMYK")),
        jpeg(image(3), exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
        jpeg(image(3), xmp=b'<x:xmpmeta tiff:Orientation="6"/>'),
        jpeg(Image.effect_noise((384, 384), 90), quality=98),
        jpeg(image(3))[:-2],
        b"\xff\xd8",
        b"\xff\xd8\xff\xe0\x00\x00" * 9,
        b"\x89PNG\r\n\x1a\n",
        b"",
    ],
    ids=["progressive", "cmyk", "exif", "xmp", "large", "no end", "start", "no lengths", "png", "empty"],
)
def test_what_is_not_plain_is_left_to_be_encoded_anew(content):
    assert without_metadata(content) is None


def test_it_is_the_thumbnail_of_a_small_jpeg_only():
    small, large = jpeg(image(3, (384, 90)), comment=SECRET), jpeg(image(3, (400, 90)), comment=SECRET)
    np.testing.assert_array_equal(pixels(thumbnail(decode(small), small)), pixels(small))
    assert max(decode(thumbnail(decode(large), large)).size) == 256
    turned = Image.Exif()
    turned[0x0112] = 6
    lying = jpeg(image(3, (384, 90)), exif=turned)
    assert decode(thumbnail(decode(lying), lying)).size == (90, 384)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_broken_file_gives_the_pixels_it_decodes_to_or_nothing(changes):
    content = bytearray(jpeg(image(4, (40, 30)), optimize=True))
    for place, value in changes:
        content[place % len(content)] = value
    try:
        expected = decode(bytes(content))
    except RefusedImage:
        return
    result = without_metadata(bytes(content))
    if result is not None:
        np.testing.assert_array_equal(pixels(result), np.asarray(expected))
