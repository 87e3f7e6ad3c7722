"""Colors by their profile, transparency on white, deep gray in bounded memory, and formats that are named."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from kivuko.encoders.images import RefusedImage, as_rgb, decode, open_image, readable_formats, thumbnail
from kivuko.search.decoding import Decoded, Limits, decode_place, raw_pixels

RED, GREEN, WHITE = (254, 0, 0), (0, 254, 0), (255, 255, 255)


def written(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def near(one, other, slack: int = 3) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= slack


def swapped_profile() -> bytes:
    """sRGB with the tags of red and green exchanged: red in the file is green on the screen."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * profile[131], 12)}
    for red, green in ((b"rXYZ", b"gXYZ"), (b"rTRC", b"gTRC")):
        profile[tags[red] : tags[red] + 4], profile[tags[green] : tags[green] + 4] = green, red
    return bytes(profile)


def gray_profile(gamma: float) -> bytes:
    """A profile of gray with a gamma."""

    def tagged(kind: bytes, content: bytes) -> bytes:
        return kind + bytes(4) + content

    white = struct.pack(">iii", 63190, 65536, 54061)
    texts = {
        b"desc": tagged(b"desc", struct.pack(">I", 5) + b"gray\0" + bytes(78)),
        b"cprt": tagged(b"text", b"none\0\0\0\0"),
        b"wtpt": tagged(b"XYZ ", white),
        b"kTRC": tagged(b"curv", struct.pack(">IHH", 1, round(gamma * 256), 0)),
    }
    table, body, at = struct.pack(">I", len(texts)), b"", 132 + 12 * len(texts)
    for name, content in texts.items():
        padded = content + bytes(-len(content) % 4)
        table += name + struct.pack(">II", at + len(body), len(content))
        body += padded
    header = struct.pack(">III", 128 + len(table) + len(body), 0, 0x02100000)
    header += b"mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(28) + white
    return header.ljust(128, b"\0") + table + body


def png(depth: int, kind: int, row: bytes, width: int, key: bytes | None = None, palette: bytes = b"") -> bytes:
    """A PNG of one row; ``kind``: 0 gray, 2 RGB, 3 palette."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    parts = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0))
    parts += chunk(b"PLTE", palette) if palette else b""
    parts += chunk(b"tRNS", key) if key is not None else b""
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


def pixels(content: bytes) -> list[tuple[int, ...]]:
    return [tuple(pixel) for pixel in np.asarray(decode(content)).reshape(-1, 3).tolist()]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_a_profile_decides_the_colors_in_every_format(kind):
    readable_formats()  # registers HEIF, where its package is installed
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {kind}")
    content = written(Image.new("RGB", (32, 32), RED), kind, icc_profile=swapped_profile())
    image = decode(content)
    assert near(image.getpixel((16, 16)), GREEN)
    assert "icc_profile" not in image.info, "a second reader would apply it again"
    small = Image.open(io.BytesIO(thumbnail(image, content)))
    assert near(small.convert("RGB").getpixel((16, 16)), GREEN)
    assert "icc_profile" not in small.info


@pytest.mark.parametrize("mode", ["RGBA", "P", "RGBa"])
def test_a_profile_decides_the_colors_of_every_mode(mode):
    image = Image.new("RGBA", (8, 8), (*RED, 255))
    image.paste((*RED, 0), (0, 0, 4, 8))
    image = image.convert("RGB").quantize(4) if mode == "P" else image.convert(mode)
    image.info["icc_profile"] = swapped_profile()
    result = as_rgb(image)
    assert near(result.getpixel((6, 6)), GREEN)
    if mode != "P":
        assert result.getpixel((1, 1)) == WHITE
    assert image.info["icc_profile"] == swapped_profile(), "the caller's image stays as it is"


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_a_profile_of_gray_is_applied_to_gray(mode):
    image = Image.new("L", (4, 4), 255 if mode == "1" else 128).convert(mode)
    image.info["icc_profile"] = gray_profile(1.0)
    expected = 255 if mode == "1" else 188  # linear light of 128/255 in sRGB
    assert near(as_rgb(image).getpixel((1, 1)), (expected,) * 3, 2)


def test_cmyk_and_lab_are_converted_by_their_own_space():
    lab = Image.new("LAB", (4, 4), (138, 128 + 81, 128 + 70))  # sRGB's red
    assert near(pixels(written(lab, "TIFF"))[0], (255, 0, 0), 6)
    assert pixels(written(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"))[0] == (255, 0, 0)


# The ids are given, for a profile holds the second in which it was made, and each process makes its own.
@pytest.mark.parametrize(
    "profile", [b"", b"junk", swapped_profile()[:100], gray_profile(1.0)], ids=["empty", "junk", "cut", "gray"]
)
def test_a_profile_that_is_damaged_or_of_other_colors_changes_nothing(profile):
    image = Image.new("RGB", (4, 4), RED)
    image.info["icc_profile"] = profile
    assert as_rgb(image).getpixel((1, 1)) == RED


def test_srgb_itself_changes_no_value_and_small_files_stay_their_own_thumbnail():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    assert np.array_equal(np.asarray(decode(written(noise, "PNG", icc_profile=srgb))), np.asarray(noise))
    content = written(noise, "JPEG", icc_profile=srgb)
    plain = written(noise, "JPEG")
    assert len(thumbnail(decode(content), content)) <= len(plain)
    swapped = written(noise, "JPEG", icc_profile=swapped_profile())
    assert thumbnail(decode(swapped), swapped) != thumbnail(decode(plain), plain)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(1, 0, b"\x0f", 8, b"\0\0"), [255] * 8),
        (png(2, 0, bytes([0b01011010]), 4, b"\0\1"), [255, 255, 170, 170]),
        (png(4, 0, b"\x5a", 2, b"\0\5"), [255, 170]),
        (png(8, 0, b"\x05\xa0", 2, b"\0\5"), [255, 160]),
        (png(16, 0, struct.pack(">HH", 0, 40000), 2, b"\0\0"), [255, 156]),
        (png(16, 0, struct.pack(">HH", 5, 0), 2, b"\0\5"), [255, 0]),
        (png(16, 0, struct.pack(">HH", 5, 65535), 2), [0, 255]),
    ],
)
def test_a_transparent_gray_is_white_at_every_depth(content, expected):
    assert pixels(content) == [(level,) * 3 for level in expected]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(8, 2, bytes([255, 0, 0, 0, 0, 255]), 2, struct.pack(">HHH", 255, 0, 0)), [WHITE, (0, 0, 255)]),
        (png(16, 2, struct.pack(">6H", 4660, 0, 0, 0, 0, 65535), 2, struct.pack(">HHH", 4660, 0, 0)),
         [WHITE, (0, 0, 255)]),
        (png(8, 3, b"\0\1", 2, b"\0", bytes([255, 0, 0, 0, 0, 255])), [WHITE, (0, 0, 255)]),
        (png(8, 3, b"\0\1", 2, b"\x80\xff", bytes([255, 0, 0, 0, 0, 255])), [(255, 127, 127), (0, 0, 255)]),
    ],
)  # fmt: skip
def test_a_transparent_color_is_white_at_every_depth(content, expected):
    assert pixels(content) == expected


@pytest.mark.parametrize("mode", ["LA", "La", "RGBA", "RGBa", "PA"])
def test_every_mode_with_alpha_is_laid_onto_white(mode):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (4, 0, 8, 8))
    image.paste((0, 0, 0, 128), (4, 4, 8, 8))
    image = image.convert("LA").convert("La") if mode == "La" else image.convert(mode)
    result = as_rgb(image)
    assert [result.getpixel(at) for at in ((1, 1), (6, 1))] == [WHITE, (0, 0, 0)]
    assert near(result.getpixel((6, 6)), (127, 127, 127), 1)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "AVIF"])
def test_the_first_frame_of_an_animation_is_laid_onto_white(kind):
    first, second = Image.new("RGBA", (16, 16), (200, 0, 0, 0)), Image.new("RGBA", (16, 16), (0, 255, 0, 255))
    first.paste((0, 0, 200, 255), (8, 0, 16, 16))
    if kind not in Image.SAVE_ALL:
        pytest.skip(f"this Pillow writes no {kind}")
    image = decode(written(first, kind, save_all=True, append_images=[second]))
    assert near(image.getpixel((2, 8)), WHITE)
    assert near(image.getpixel((13, 8)), (0, 0, 200), 6)


def test_what_the_first_frame_of_a_gif_leaves_out_is_white():
    image = Image.new("P", (2, 2), 0)
    image.putpalette([200, 0, 0])
    content = bytearray(written(image, "GIF"))
    content[6:10] = struct.pack("<HH", 4, 4)  # the canvas
    frame = content.index(b"\x2c", 13)
    content[frame + 1 : frame + 5] = struct.pack("<HH", 1, 1)  # where the frame is
    image = decode(bytes(content))
    assert [image.getpixel(at) for at in ((0, 0), (1, 1), (3, 3))] == [WHITE, (200, 0, 0), WHITE]


def test_an_animated_webp_whose_header_denies_its_alpha_is_laid_onto_white():
    first, second = Image.new("RGBA", (16, 16), (0, 0, 0, 0)), Image.new("RGBA", (16, 16), (0, 255, 0, 255))
    first.paste((0, 0, 200, 255), (2, 2, 6, 6))
    first.paste((0, 0, 200, 255), (10, 10, 14, 14))
    content = bytearray(written(first, "WEBP", save_all=True, append_images=[second], lossless=True))
    content[20] &= ~0x10
    image = decode(bytes(content))
    assert [image.getpixel(at) for at in ((0, 0), (4, 4), (8, 8))] == [WHITE, (0, 0, 200), WHITE]


@pytest.mark.parametrize(
    ("bits", "white_is_zero", "values", "expected"),
    [
        (16, False, struct.pack("<4H", 0, 32768, 65535, 1000), [0, 128, 255, 4]),
        (16, True, struct.pack("<4H", 0, 32768, 65535, 1000), [255, 127, 0, 251]),
        (8, True, bytes([0, 128, 255, 4]), [255, 127, 0, 251]),
        (1, True, b"\x50", [255, 0, 255, 0]),
    ],
)
def test_gray_of_a_tiff_whose_white_is_zero_is_turned(bits, white_is_zero, values, expected):
    tags = {256: 4, 257: 1, 258: bits, 259: 1, 262: int(not white_is_zero), 273: 8, 277: 1, 278: 1, 279: len(values)}
    content = b"II*\0" + struct.pack("<I", 8 + len(values) + len(values) % 2) + values + b"\0" * (len(values) % 2)
    content += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHIHH", n, 3, 1, v, 0) for n, v in tags.items())
    assert pixels(content + bytes(4)) == [(level,) * 3 for level in expected]


def test_every_way_to_an_image_sees_the_same_colors(tmp_path):
    """Indexing, evaluating and uploads decode in workers; hardening and searching by an image open a path."""
    content = written(Image.new("RGB", (32, 32), RED), "PNG", icc_profile=swapped_profile())
    path = tmp_path / "a.png"
    path.write_bytes(content)
    indexed = decode_place(content, raw_pixels, Limits())
    assert isinstance(indexed, Decoded)
    ways = [decode(content), decode(content, longest_side=64), open_image(path), as_rgb(Image.open(path))]
    assert all(near(image.getpixel((5, 5)), GREEN) for image in ways)
    assert near(indexed.tensors["pixels"][0, 5, 5].tolist(), GREEN)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_deep_gray_takes_the_memory_of_its_result(tmp_path):
    """50 megapixels, which took 31 bytes a pixel."""
    rows = zlib.compress((b"\0" + struct.pack(">H", 40000) * 7000) * 7000, 1)

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    path = tmp_path / "deep.png"
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 7000, 7000, 16, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    code = (
        "import re, sys; from kivuko.encoders.images import open_image; image = open_image(sys.argv[1]); "
        "assert image.getpixel((1, 1)) == (156, 156, 156); "
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300 * 1024


@pytest.mark.parametrize(
    ("content", "reason", "remedy"),
    [
        (b"\xff\x0a\xfa\x00" + bytes(60), "JPEG XL", "convert"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(60), "JPEG XL", "convert"),
        (b"\0\0\0\x18ftypheic" + bytes(60), "HEIC", "kivuko[heic]"),
        (b"\0\0\0\x18ftypisom" + bytes(60), "video", "frame"),
        (b"RIFF\0\0\0\0AVI LIST", "video", "frame"),
        (b"%PDF-1.7\n", "PDF", "convert"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript", "convert"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG", "convert"),
        (b"<!DOCTYPE html><html><title>404</title>", "web page", "download"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer", "git lfs pull"),
        (bytes(128) + b"DICM" + bytes(20), "DICOM", "convert"),
        (b"PK\3\4" + bytes(30), "archive", "unpack"),
        (b"II\xbc\1" + bytes(30), "JPEG XR", "convert"),
        (b"paka mweusi", "not an image", ""),
        (b"<notes>", "not an image", ""),
    ],
)
def test_a_format_that_is_not_read_is_named_with_the_remedy(tmp_path, monkeypatch, content, reason, remedy):
    monkeypatch.setattr("kivuko.encoders.images.readable_formats", lambda: ("PNG", "JPEG", "WEBP", "GIF"))
    with pytest.raises(RefusedImage) as refused:
        decode(content)
    assert refused.value.reason == reason
    assert remedy in refused.value.detail
