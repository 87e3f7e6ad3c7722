"""Vectors of a set's images are those of their content, made once, and never another's."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import caption_scene as scene
from kivuko.datasets.captions.formats import open_caption_set
from kivuko.errors import DataError
from kivuko.evaluation.image_tasks import without_broken, without_missing
from kivuko.evaluation.vectors import ImageVectors, VectorCache, encode_images
from kivuko.search.decoding import Limits, Refused, decode_place


@pytest.fixture
def encoder(monkeypatch, tmp_path):
    """A random projection, and a cache of the test's own."""
    from tiny_encoder import TinyEncoder

    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "cache"))
    return TinyEncoder()


def expected(encoder, content):
    return encoder.encode([decode_place(content, encoder.prepare, Limits()).tensors])[0]


def test_images_are_encoded_once_for_each_content(encoder, tmp_path):
    scene.write_xm3600(tmp_path / "xm")
    images = sorted((tmp_path / "xm" / "images").iterdir())
    images[2].write_bytes(images[0].read_bytes())  # the same image under two names
    caption_set = open_caption_set(f"xm3600:{tmp_path / 'xm'}")
    reports = []
    first = encode_images(encoder, caption_set, progress=lambda *figures: reports.append(figures))
    assert first.encoded == 2
    assert reports[-1] == (3, 3)
    np.testing.assert_array_equal(first.vectors[0], first.vectors[2])
    assert not np.allclose(first.vectors[0], first.vectors[1])
    encoder.batches.clear()
    again = encode_images(encoder, caption_set)
    assert (again.encoded, encoder.batches) == (0, [])
    np.testing.assert_array_equal(again.vectors, first.vectors)
    assert again.digest() == first.digest()
    images[1].write_bytes(scene.jpeg(7))
    changed = encode_images(encoder, caption_set)
    assert changed.encoded == 1
    assert changed.digest() != first.digest()
    np.testing.assert_allclose(changed.vectors[1], expected(encoder, scene.jpeg(7)), atol=0.01)


def test_another_model_does_not_get_this_ones_vectors(encoder, tmp_path):
    from tiny_encoder import TinyEncoder

    caption_set = open_caption_set(f"xm3600:{scene.write_xm3600(tmp_path / 'xm')}")
    encode_images(encoder, caption_set)
    assert encode_images(TinyEncoder("another"), caption_set).encoded == 3


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_cache_is_written_again(encoder, tmp_path, damage):
    caption_set = open_caption_set(f"xm3600:{scene.write_xm3600(tmp_path / 'xm')}")
    first = encode_images(encoder, caption_set)
    path = VectorCache(encoder).path
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-1] ^= 1
    path.write_bytes({"cut": content[:-3], "flipped": content, "empty": b""}[damage])
    assert VectorCache(encoder).vectors == {}
    again = encode_images(encoder, caption_set)
    assert again.encoded == 3
    np.testing.assert_array_equal(again.vectors, first.vectors)
    assert len(VectorCache(encoder).vectors) == 3


def test_a_cache_that_cannot_be_written_does_not_end_the_run(encoder, tmp_path):
    caption_set = open_caption_set(f"xm3600:{scene.write_xm3600(tmp_path / 'xm')}")
    (tmp_path / "cache").write_text("a file where the cache should be")
    assert encode_images(encoder, caption_set).encoded == 3


def test_images_in_shards_through_worker_processes(encoder, tmp_path):
    members = {}
    for number in range(4):
        members |= {f"{number}.jpg": scene.jpeg(number), f"{number}.txt": f"picha {number}"}
    scene.write_shard(tmp_path / "a.tar", members)
    caption_set = open_caption_set(f"webdataset:{tmp_path / 'a.tar'}", language="sw")
    vectors = encode_images(encoder, caption_set, workers=1)
    for number in range(4):
        np.testing.assert_allclose(vectors.vectors[number], expected(encoder, scene.jpeg(number)), atol=0.01)


def test_an_image_that_takes_minutes_is_left_out(encoder, tmp_path, monkeypatch):
    scene.write_xm3600(tmp_path / "xm")
    image = sorted((tmp_path / "xm" / "images").iterdir())[0]
    stream = io.BytesIO()
    Image.new("RGB", (2000, 2000)).save(stream, "JPEG", progressive=True)
    content, last = stream.getvalue(), stream.getvalue().rfind(b"\xff\xda")
    image.write_bytes(content[:last] + content[last:-2] * 5000 + content[-2:])  # a scan more takes as long as an image
    monkeypatch.setattr("kivuko.evaluation.vectors._LIMITS", Limits(seconds=1))
    vectors = encode_images(encoder, open_caption_set(f"xm3600:{tmp_path / 'xm'}"))
    assert {row: one.reason for row, one in vectors.refused.items()} == {0: "took too long"}
    assert vectors.encoded == 2


def test_missing_and_broken_images_are_one_line_or_are_counted(encoder, tmp_path):
    scene.write_xm3600(tmp_path / "xm")
    images = sorted((tmp_path / "xm" / "images").iterdir())
    images[0].unlink()
    images[1].write_bytes(scene.jpeg(1)[:200])
    caption_set = open_caption_set(f"xm3600:{tmp_path / 'xm'}")
    with pytest.raises(DataError, match=r"1 of its 3 images.*0002b8f2ed1d4af3\.jpg.*jsonl:1.*missing.*--skip-missing"):
        without_missing(caption_set, skip_missing=False)
    kept = without_missing(caption_set, skip_missing=True)
    assert kept.left_out == {"image: missing": 1}
    vectors = encode_images(encoder, kept)
    with pytest.raises(DataError, match=r"1 of its 2 images.*jsonl:2.*broken image.*--skip-missing"):
        without_broken(kept, vectors, skip_missing=False)
    left, own, digest = without_broken(kept, vectors, skip_missing=True)
    assert left.left_out == {"image: missing": 1, "image: broken image": 1}
    assert [image.id for image in left.images] == ["001a6ed4a07a5b3a"]
    assert own.shape == (1, encoder.dim)
    assert digest == encode_images(encoder, left).digest()
    np.testing.assert_allclose(own[0], expected(encoder, scene.jpeg(2)), atol=0.01)


def test_a_set_without_any_image_says_where_to_name_them(tmp_path):
    scene.write_xm3600(tmp_path / "xm")
    (tmp_path / "xm" / "images").rename(tmp_path / "elsewhere")
    caption_set = open_caption_set(f"xm3600:{tmp_path / 'xm'}")
    with pytest.raises(DataError, match=r"none of its 3 images.*PATH,IMAGES"):
        without_missing(caption_set, skip_missing=True)


def test_broken_images_of_a_shard_are_not_looked_for_in_a_folder(tmp_path):
    path = scene.write_shard(
        tmp_path / "a.tar", {"1.jpg": b"", "1.txt": "paka", "2.jpg": scene.jpeg(0), "2.txt": "mbwa"}
    )
    broken = ImageVectors(np.zeros((2, 3), np.float32), (None, "0"), {0: Refused("empty file")})
    with pytest.raises(DataError, match=r"sample 1: empty file\. Leave them out with --skip-missing$"):
        without_broken(open_caption_set(f"webdataset:{path}", language="sw"), broken, skip_missing=False)
