"""Image files of every odd kind: a defined RGB image, or one line that names the file."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from kivuko.encoders import images
from kivuko.errors import DataError, KivukoError

LONGEST_SIDE, MOST_PIXELS = 1024, 64_000_000
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def open_image(path):
    """Open an image with the limits of adversarial fine-tuning."""
    return images.open_image(path, most_pixels=MOST_PIXELS, longest_side=LONGEST_SIDE)


def saved(folder, name: str, image: Image.Image, **options: object):
    path = folder / name
    image.save(path, **options)
    return path


def near(result: Image.Image, color: tuple[int, int, int], at: tuple[int, int] = (0, 0), within: int = 3) -> bool:
    assert result.mode == "RGB"
    return all(abs(a - b) <= within for a, b in zip(result.getpixel(at), color, strict=True))


def png_of_size(path, width: int, height: int):
    """Write a PNG that claims a size, with no pixels in it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    return path


def refused(path, *words: str) -> None:
    with pytest.raises(KivukoError) as problem:
        open_image(path)
    message = str(problem.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.webp", "a.bmp", "a.tiff", "a.ppm"])
def test_plain_images(tmp_path, name):
    result = open_image(saved(tmp_path, name, Image.new("RGB", (7, 5), RED)))
    assert result.size == (7, 5)
    assert near(result, RED)


def test_a_single_pixel(tmp_path):
    result = open_image(saved(tmp_path, "dot.png", Image.new("RGB", (1, 1), BLUE)))
    assert (result.size, result.getpixel((0, 0))) == ((1, 1), BLUE)


@pytest.mark.parametrize("size", [(10_000, 10_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path, size):
    refused(png_of_size(tmp_path / "huge.png", *size), "too many pixels", "Reduce it")


def test_a_large_image_is_reduced(tmp_path):
    wide = Image.new("RGB", (4000, 40), BLUE)
    for name in ("wide.png", "wide.jpg"):
        result = open_image(saved(tmp_path, name, wide))
        assert result.size == (LONGEST_SIDE, 10)
        assert near(result, BLUE)
    line = open_image(saved(tmp_path, "line.png", Image.new("L", (9000, 1))))
    assert line.size == (LONGEST_SIDE, 1)


def test_cmyk_becomes_rgb(tmp_path):
    for name in ("inks.jpg", "inks.tiff"):
        assert near(open_image(saved(tmp_path, name, Image.new("CMYK", (8, 8), (0, 255, 255, 0)))), RED)


def test_a_palette_with_transparency_lies_on_white(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([*RED, *BLUE])
    image.putpixel((0, 0), 0)
    result = open_image(saved(tmp_path, "clear.png", image, transparency=0))
    assert result.getpixel((0, 0)) == WHITE
    assert result.getpixel((1, 1)) == BLUE


@pytest.mark.parametrize(("mode", "value"), [("RGBA", (255, 0, 0, 0)), ("LA", (0, 0))])
def test_what_is_transparent_lies_on_white(tmp_path, mode, value):
    assert open_image(saved(tmp_path, "clear.png", Image.new(mode, (3, 3), value))).getpixel((1, 1)) == WHITE


def test_half_transparent_is_half_white(tmp_path):
    result = open_image(saved(tmp_path, "half.png", Image.new("RGBA", (3, 3), (*BLUE, 128))))
    assert near(result, (127, 127, 255))


def test_a_plain_image_with_one_color_declared_transparent(tmp_path):
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), BLUE)
    result = open_image(saved(tmp_path, "key.png", image, transparency=RED))
    assert [result.getpixel((x, 0)) for x in (0, 1)] == [WHITE, BLUE]


@pytest.mark.parametrize("name", ["deep.png", "deep.tiff"])
def test_16_bits_become_8(tmp_path, name):
    levels = np.array([[0, 257, 128 * 257, 65_535]], dtype=np.uint16)
    result = open_image(saved(tmp_path, name, Image.fromarray(levels)))
    assert np.asarray(result)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_floats_and_large_integers_are_scaled(tmp_path):
    result = open_image(saved(tmp_path, "f.tiff", Image.fromarray(np.array([[0, 0.2, 1]], dtype=np.float32))))
    assert np.asarray(result)[0, :, 0].tolist() == [0, 51, 255]
    for number, low_and_high in enumerate(([-1, 0], [0, 3e9], [np.nan, 300])):
        wild = Image.fromarray(np.array([low_and_high], dtype=np.float32))
        result = open_image(saved(tmp_path, f"{number}.tiff", wild))
        assert np.asarray(result)[0, :, 0].tolist() == [0, 255]
    result = open_image(saved(tmp_path, "i.tiff", Image.fromarray(np.array([[0, 70_000]], dtype=np.int32))))
    assert np.asarray(result)[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tiff"])
def test_of_an_animation_the_first_frame(tmp_path, name):
    rest = [Image.new("RGB", (6, 6), BLUE), Image.new("RGB", (6, 6), WHITE)]
    lossless = {"lossless": True} if name.endswith("webp") else {}
    path = saved(tmp_path, name, Image.new("RGB", (6, 6), RED), save_all=True, append_images=rest, **lossless)
    with Image.open(path) as file:
        assert file.n_frames == 3
    assert near(open_image(path), RED)


def test_a_camera_held_upright(tmp_path):
    image = Image.new("RGB", (40, 20), RED)
    image.paste(BLUE, (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    result = open_image(saved(tmp_path, "upright.jpg", image, exif=exif))
    assert result.size == (20, 40)
    assert near(result, BLUE, at=(10, 5), within=12)


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "cut.webp", "cut.gif", "cut.bmp", "cut.tiff"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6])
def test_a_file_cut_short_is_refused(tmp_path, name, share):
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    path = saved(tmp_path, name, Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(path)


def test_flipped_bytes_never_leave_anything_but_a_image_or_a_line(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    rng = np.random.default_rng(2)
    refusals = []
    for name in ("a.png", "a.jpg", "a.gif", "a.webp", "a.tiff", "a.bmp"):
        whole = saved(tmp_path, name, Image.fromarray(noise)).read_bytes()
        for _ in range(40):
            content = bytearray(whole)
            for place in rng.integers(0, len(whole), 3):
                content[place] ^= int(rng.integers(1, 256))
            path = tmp_path / f"broken-{name}"
            path.write_bytes(content)
            try:
                assert open_image(path).mode == "RGB"
            except DataError as problem:
                refusals.append(str(problem))
    assert len(refusals) > 40
    assert not any("\n" in message for message in refusals)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"paka", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is not read as an image; convert it"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "PostScript is not read"),
    ],
)
def test_what_is_no_image(tmp_path, content, message):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    refused(path, message)


def test_the_name_does_not_matter(tmp_path):
    path = saved(tmp_path, "a.png", Image.new("RGB", (3, 3), RED)).rename(tmp_path / "a.txt")
    assert near(open_image(path), RED)


def test_places_without_a_file(tmp_path):
    refused(tmp_path / "none.png", "No such file")
    refused(tmp_path, "directory")
    refused("a\0b.png", "null")
