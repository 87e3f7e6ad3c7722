"""Faults of a caption set give one clear line with the place, and never a crash."""

from __future__ import annotations

import io
import json
import random
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import caption_scene as scene
from kivuko.datasets.captions.formats import open_caption_set
from kivuko.errors import DataError, KivukoError, UsageError


def refused(spec, *messages, kind=DataError, **options):
    with pytest.raises(kind) as caught:
        open_caption_set(spec, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in messages:
        assert word in message


@pytest.mark.parametrize(
    ("line", "messages"),
    [
        ("{", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "not a JSON object"),
        ('{"image/id": "a"}', "image/key"),
        ('{"image/key": "a", "sw": ["paka"]}', "list under 'caption'"),
        ('{"image/key": "a", "sw": {"caption": [3]}}', "no text but 3"),
        ('{"image/key": "a", "qx!": {"caption": ["x"]}}', "unknown language code"),
        ('{"image/key": "\\ud800", "sw": {"caption": ["x"]}}', "half of a surrogate"),
        ('{"image/key": "0002b8f2ed1d4af3", "sw": {"caption": ["x"]}}', "second time"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, messages):
    scene.write_xm3600(tmp_path)
    with (tmp_path / "captions.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    refused(f"xm3600:{tmp_path}", "captions.jsonl:4", messages)


def test_an_encoding_that_is_not_utf_8_is_named(tmp_path):
    scene.write_xm3600(tmp_path)
    with (tmp_path / "captions.jsonl").open("ab") as stream:
        stream.write('{"image/key": "é"}\n'.encode("latin-1"))
    refused(f"xm3600:{tmp_path}", "captions.jsonl:4", "not UTF-8")


def test_a_line_of_200_mb_is_refused_without_being_held(tmp_path):
    import tracemalloc

    names, captions = scene.write_xtd(tmp_path) / "XTD10" / "test_image_names.txt", tmp_path / "XTD10"
    assert names.is_file()
    with (captions / "test_1kcaptions_es.txt").open("wb") as stream:
        stream.truncate(200 << 20)  # a sparse file of NUL bytes
    tracemalloc.start()
    refused(f"xtd:{tmp_path}", "test_1kcaptions_es.txt:1")
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
    with (captions / "test_1kcaptions_es.txt").open("wb") as stream:
        for _ in range(200):
            stream.write(b"x" * (1 << 20))
    refused(f"xtd:{tmp_path}", "test_1kcaptions_es.txt:1", "16 MiB")


def test_lines_that_do_not_fit_the_images(tmp_path):
    scene.write_xtd(tmp_path)
    scene.write_lines(tmp_path / "MIC" / "test_1kcaptions_de.txt", ["eine Katze", "ein Hund"])
    refused(f"xtd:{tmp_path}", "test_1kcaptions_de.txt", "2 lines", "3 images")
    scene.write_lines(tmp_path / "MIC" / "test_1kcaptions_de.txt", ["eine Katze", "ein Hund", ""])
    assert open_caption_set(f"xtd:{tmp_path}").left_out == {"blank caption": 1}, "a blank caption is still a line"


def test_a_gzip_that_was_cut(tmp_path):
    scene.write_multi30k(tmp_path)
    file = tmp_path / "data" / "task1" / "raw" / "test_2016_flickr.de.gz"
    file.write_bytes(file.read_bytes()[:-6])
    refused(f"multi30k:{tmp_path}", "test_2016_flickr.de.gz", "cut short")


@pytest.mark.parametrize(
    ("content", "messages"),
    [
        ("3", "COCO's"),
        ("{}", "COCO's"),
        ("[3]", "'image'"),
        ('{"images": [{"file_name": "a.jpg"}], "annotations": []}', "'id'"),
        ('{"images": [{"file_name": "a.jpg", "id": 1}], "annotations": [{"image_id": 2}]}', "image 2"),
        ('{"images": [{"file_name": "a.jpg", "id": 1}], "annotations": [{"image_id": 1}]}', "without a caption: 1"),
        ('{"images": [{"filename": "a.jpg", "split": "test"}]}', "'sentences'"),
        ('{"images": [{"filename": "a.jpg", "split": "train", "sentences": []}]}', "--split"),
        ('{"images": [{"filename": "a.jpg", "split": "test", "sentences": []}]}', "no caption"),
        ('{\n"images": [,]}', "c.json:2"),
        ("[" * 100_000, "not JSON"),
        ("1" * 5_000, "c.json"),
    ],
)
def test_json_that_is_no_captions(tmp_path, content, messages):
    (tmp_path / "c.json").write_text(content, "utf-8")
    refused(f"coco:{tmp_path / 'c.json'}", "c.json", messages)


def test_tables_that_lack_a_column_or_a_cell(tmp_path):
    file = scene.write_table(tmp_path / "c.csv", [("photo", "caption"), ("a.jpg", "paka")])
    refused(f"captions:{file}", "c.csv:1", "image", language="sw")
    for headings in [("photo", "caption", "language"), ("photo", "caption"), ("photo", "words", "lang")]:
        table = scene.write_table(tmp_path / "c.tsv", [headings, ("a.jpg", "paka", "sw")[: len(headings)]])
        refused(f"captions:{table}", "c.tsv:1", "no column named image", language="sw")
    scene.write_table(file, [("image", "sentences"), ("a.jpg", "paka")])
    refused(f"captions:{file}", "c.csv:1", "caption", language="sw")
    scene.write_table(file, [("image", "caption"), ("a.jpg", "paka"), ("b.jpg",)])
    refused(f"captions:{file}", "c.csv:3", "no caption", language="sw")
    scene.write_table(file, [("image", "caption"), ("", "paka")])
    refused(f"captions:{file}", "c.csv:2", "names no image", language="sw")
    refused(f"captions:{scene.write_lines(tmp_path / 'c.xls', ['a'])}", "c.xls", kind=UsageError)


def test_shards_that_are_none(tmp_path):
    refused(f"webdataset:{tmp_path / '*.tar'}", "names no shard")
    refused(f"webdataset:{tmp_path / 'a.tar'}", "no such shard")
    refused(f"webdataset:{tmp_path / 'a-{0..9999999}.tar'}", "100,000")
    (tmp_path / "a.tar").write_bytes(b"no tar file")
    refused(f"webdataset:{tmp_path / 'a.tar'}", "a.tar", "not a tar file")
    scene.write_shard(tmp_path / "b.tar", {"0.jpg": scene.jpeg(0), "0.json": "{", "0.txt": b"\xff"})
    refused(f"webdataset:{tmp_path / 'b.tar'}", "text is not UTF-8: 1", ".json is not JSON: 1", language="sw")
    with tarfile.open(tmp_path / "c.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("0.txt"), io.BytesIO(b""))
    refused(f"webdataset:{tmp_path / 'c.tar'}", "c.tar", "unpack")


@pytest.mark.parametrize("name", ["xm3600", "xtd", "multi30k", "xflickrco", "wit", "flickr30k200", "coco", "captions"])
def test_a_folder_that_is_not_there_or_empty(tmp_path, name):
    refused(f"{name}:{tmp_path / 'nosuch'}", "nosuch")
    refused(f"{name}:{tmp_path}", str(tmp_path))


def test_specs_that_name_nothing(tmp_path):
    refused("xm3600", "NAME:PATH", kind=UsageError)
    refused("xm3600:", "NAME:PATH", kind=UsageError)
    refused("nosuch:a", "xm3600", kind=UsageError)
    refused("xm3600:a\0b", "NUL", kind=UsageError)
    refused(f"xm3600:{tmp_path}", "no split 'validation'", kind=UsageError, split="validation")
    refused(f"xm3600:{'m' * 5000}")


_POISON = (b"\0", b"\xff", b"\r", b'"', b"\n", b"{", b"]", b"\\ud800", b"1e999", b"null")


def _mutated(content: bytes, seed: int) -> bytes:
    """Damage bytes: flip, cut, double, or put in what breaks readers."""
    random_ = random.Random(seed)
    data = bytearray(content)
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(len(data) + 1)
        kind = random_.randrange(5)
        if kind == 0 and data:
            data[at % len(data)] = random_.randrange(256)
        elif kind == 1:
            del data[at : at + random_.randint(1, 40)]
        elif kind == 2:
            data[at:at] = data[at : at + random_.randint(1, 40)]
        elif kind == 3:
            data[at:at] = random_.choice(
                [b"\0", b"\xff", b"\r", b'"', b"\n", b"{", b"]", b"\\ud800", b"1e999", b"null"]
            )
        else:
            del data[at:]
    return bytes(data)


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """A valid copy of each set: (spec, the file that is damaged)."""
    place = tmp_path_factory.mktemp("valid")
    scene.write_xm3600(place / "xm")
    scene.write_xtd(place / "xtd")
    scene.write_multi30k(place / "m30k")
    scene.write_xflickrco(place / "xf")
    scene.write_wit(place / "wit")
    scene.write_wit_tsv(place / "tsv")
    scene.write_flickr30k200(place / "f200")
    scene.write_coco(place / "coco" / "c.json")
    scene.write_karpathy(place / "karpathy" / "k.json")
    (place / "own").mkdir()
    scene.write_table(place / "own" / "c.csv", [("image", "caption", "language"), ("a.jpg", "paka, mweusi", "sw")])
    scene.write_table(place / "own" / "c.tsv", [("image", "caption", "language"), ("a.jpg", "paka mweusi", "sw")])
    scene.write_json_lines(place / "own" / "c.jsonl", [{"image": "a.jpg", "caption": {"sw": ["paka"]}}])
    members = {"0.jpg": scene.jpeg(0), "0.txt": "paka", "1.jpg": scene.jpeg(1), "1.json": {"caption": {"sw": ["a"]}}}
    scene.write_shard(place / "wds" / "a.tar", members)
    return [
        (f"xm3600:{place / 'xm'}", place / "xm" / "captions.jsonl"),
        (f"xtd:{place / 'xtd'}", place / "xtd" / "XTD10" / "test_image_names.txt"),
        (f"xtd:{place / 'xtd'}", place / "xtd" / "MIC" / "test_1kcaptions_de.txt"),
        (f"multi30k:{place / 'm30k'}", place / "m30k" / "data" / "task1" / "raw" / "test_2016_flickr.en.gz"),
        (f"xflickrco:{place / 'xf'}", place / "xf" / "annotations" / "de" / "test.jsonl"),
        (f"wit:{place / 'wit'}", place / "wit" / "annotations" / "test_bg.jsonl"),
        (f"wit:{place / 'tsv'}", place / "tsv" / "wit_v1.test.all-00000-of-00005.tsv.gz"),
        (f"flickr30k200:{place / 'f200'}", place / "f200" / "filenames.txt"),
        (f"coco:{place / 'coco' / 'c.json'}", place / "coco" / "c.json"),
        (f"coco:{place / 'karpathy' / 'k.json'}", place / "karpathy" / "k.json"),
        (f"captions:{place / 'own' / 'c.csv'}", place / "own" / "c.csv"),
        (f"captions:{place / 'own' / 'c.tsv'}", place / "own" / "c.tsv"),
        (f"captions:{place / 'own' / 'c.jsonl'}", place / "own" / "c.jsonl"),
        (f"webdataset:{place / 'wds' / 'a.tar'}", place / "wds" / "a.tar"),
    ]


def _reads_or_says_why(spec, language):
    try:
        result = open_caption_set(spec, language=language)
    except KivukoError:
        return
    for code in result.languages:
        captions = result.of(code)
        assert captions.texts
        assert all(text.strip() for text in captions.texts)
        json.dumps([image.id for image in result.images], ensure_ascii=False).encode("utf-8")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, 13), seed=st.integers(0, 2**32), language=st.sampled_from([None, "sw"]))
def test_no_damage_crashes_a_reader(valid, which, seed, language):
    spec, file = valid[which]
    whole = file.read_bytes()
    try:
        file.write_bytes(_mutated(whole, seed))
        _reads_or_says_why(spec, language)
    finally:
        file.write_bytes(whole)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, 13), content=st.binary(max_size=200))
def test_no_bytes_whatever_crash_a_reader(valid, which, content):
    spec, file = valid[which]
    whole = file.read_bytes()
    try:
        file.write_bytes(content)
        _reads_or_says_why(spec, "sw")
    finally:
        file.write_bytes(whole)


def test_what_is_valid_is_read(valid):
    for spec, _ in valid:
        assert open_caption_set(spec, language="sw").images
