"""Sources walk what they are given in one order, tell what they leave out, and survive loops, pipes and odd lines."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from tiny_encoder import write_images

import caption_scene as scene
from kivuko.datasets.captions.webdataset import LINK
from kivuko.datasets.spec import open_dataset
from kivuko.errors import DataError, UsageError
from kivuko.search import sources as folder_module
from kivuko.search.sources import (
    CaptionsSource,
    EmojiSource,
    FolderSource,
    ShardSource,
    Skip,
    Work,
    open_dataset_source,
    open_source,
)


def keys(source):
    return [one.key for one in source if isinstance(one, Work)]


def skips(source):
    return {one.key: one.reason for one in source if isinstance(one, Skip)}


def test_a_folder_is_walked_by_name_without_hidden_files_and_galleries(tmp_path):
    write_images(tmp_path, range(1, 6))
    write_images(tmp_path / ".hidden", range(1))
    write_images(tmp_path / "x.index", range(1))
    (tmp_path / "x.index" / "index.sqlite").touch()
    (tmp_path / ".dot.png").touch()
    assert keys(FolderSource(tmp_path)) == ["0001.png", "0002.png", "0003.png", "0005.png", "sub1/0004.png"]
    assert FolderSource(tmp_path).count() == 7  # for a bar, the index's own files do not matter


def test_names_sorted_on_disk_come_in_the_same_order(tmp_path, monkeypatch):
    write_images(tmp_path, range(25))
    (tmp_path / "é.png").write_bytes(b"x")
    in_memory = keys(FolderSource(tmp_path))
    monkeypatch.setattr(folder_module, "_IN_MEMORY", 4)
    assert keys(FolderSource(tmp_path)) == in_memory


def test_links_pipes_and_devices(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    write_images(inside, range(1, 3))
    write_images(outside, range(5, 7))
    (inside / "loop").symlink_to(inside)
    (inside / "away").symlink_to(outside)
    (inside / "linked.png").symlink_to(outside / "0005.png")
    (inside / "nowhere.png").symlink_to(tmp_path / "gone")
    (inside / "self.png").symlink_to(inside / "self.png")
    (inside / "device.png").symlink_to("/dev/zero")
    os.mkfifo(inside / "pipe.png")
    source = FolderSource(inside)
    assert keys(source) == ["0001.png", "0002.png", "linked.png"]
    assert skips(source) == {
        "loop": "link to a folder", "away": "link to a folder", "nowhere.png": "broken link", "self.png": "broken link",
        "pipe.png": "not a regular file", "device.png": "not a regular file",
    }  # fmt: skip


@pytest.fixture
def deep(tmp_path):
    """A folder nested deeper than Python calls; gone afterward, for nor can Python delete it."""
    folder = tmp_path / "deep"
    folder.mkdir()
    place = os.open(folder, os.O_RDONLY)
    for _ in range(1500):  # step by step: the whole path is soon longer than one call may name
        os.mkdir("d", dir_fd=place)
        deeper = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = deeper
    os.close(place)
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_folders_nested_deeper_than_python_calls(deep):
    write_images(deep, range(1, 2))
    assert keys(FolderSource(deep)) == ["0001.png"]
    assert FolderSource(deep).count() == 1


def test_names_that_are_no_utf8(tmp_path):
    with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9.png"), "wb") as stream:  # noqa: PTH118, PTH123
        stream.write(b"x")
    (results,) = FolderSource(tmp_path)
    assert results.key == "caf\\xe9.png"
    assert os.path.exists(results.place.path)  # noqa: PTH110


def test_tsv_without_and_with_names(tmp_path):
    write_images(tmp_path, range(1, 4))
    (tmp_path / "plain.tsv").write_text("0001.png\ta  red cat\n0002.png\t\n./0003.png\tdog\tcc0\nno.png\tx\n\n")
    source = CaptionsSource(tmp_path / "plain.tsv")
    assert [(one.key, one.caption) for one in source if isinstance(one, Work)] == [
        ("0001.png", "a red cat"), ("0002.png", None), ("0003.png", "dog"),
    ]  # fmt: skip
    assert skips(source) == {"no.png": "missing"}
    (tmp_path / "named.tsv").write_text("file\ttext\tyear\n0001.png\tpaka\t1998\n")
    (work,) = CaptionsSource(tmp_path / "named.tsv")
    assert (work.caption, work.metadata) == ("paka", {"year": 1998})


def test_csv_with_metadata(tmp_path):
    write_images(tmp_path, range(1, 3))
    (tmp_path / "c.csv").write_text('image,caption,year,zip,score\n0001.png,"a, b",1998,01234,0.5\n0002.png,c,,,\n')
    first, second = CaptionsSource(tmp_path / "c.csv")
    assert (first.caption, first.metadata) == ("a, b", {"year": 1998, "zip": "01234", "score": 0.5})
    assert second.metadata["year"] == ""
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column named image"):
        CaptionsSource(tmp_path / "bad.csv")


def test_jsonl_with_lines_that_are_not_understood(tmp_path):
    write_images(tmp_path, range(1, 2))
    rows = [
        json.dumps({"image": "0001.png", "caption": "paka", "tags": ["a", "b"], "ok": True, "n": None, "x": 2**70}),
        "{broken", "[1]", json.dumps({"caption": "no image"}), json.dumps({"image": "a\0b"}), "[" * 100_000,
        json.dumps({"image": "x" * 5000}),
    ]  # fmt: skip
    (tmp_path / "c.jsonl").write_text("\n".join(rows))
    source = CaptionsSource(tmp_path / "c.jsonl")
    (work,) = (one for one in source if isinstance(one, Work))
    assert work.metadata == {"tags": '["a", "b"]', "ok": True, "n": None, "x": str(2**70)}
    assert sorted(skips(source).values()) == ["cannot be read", *["line not understood"] * 5]


def shard(path, members):
    with tarfile.open(path, "w") as out:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


def test_shards_join_members_by_their_basename(tmp_path):
    one, two = (write_images(tmp_path, range(n, n + 1)) / f"000{n}.png" for n in (1, 2))
    path = shard(tmp_path / "a.tar", [
        ("x/1.png", one.read_bytes()), ("x/1.txt", b"a  cat"), ("x/1.json", b'{"year": 1998, "caption": "no"}'),
        ("x/2.seg.png", two.read_bytes()), ("x/2.json", b'{"caption": "dog"}'), ("x/3.txt", b"alone"),
        ("../../4.png", one.read_bytes()), ("5.png", b""), ("5.json", b"{broken"),
    ])  # fmt: skip
    results = list(ShardSource(path))
    works = {work.key: work for work in results if isinstance(work, Work)}
    assert list(works) == ["a.tar/x/1.png", "a.tar/x/2.seg.png", "a.tar/4.png", "a.tar/5.png"]
    assert (works["a.tar/x/1.png"].caption, works["a.tar/x/1.png"].metadata) == ("a cat", {"year": 1998})
    assert works["a.tar/x/2.seg.png"].caption == "dog"
    place = works["a.tar/x/2.seg.png"].place
    assert path.read_bytes()[place.offset : place.offset + place.length] == two.read_bytes()
    assert skips(results) == {"a.tar/x/3.txt": "sample without an image", "a.tar/5.*": ".json is not JSON"}


def test_links_and_devices_in_a_shard_are_left_out(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as out:
        for name, kind in (("1.png", tarfile.SYMTYPE), ("2.png", tarfile.CHRTYPE), ("3.png", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            out.addfile(info)
    results = list(ShardSource(tmp_path / "a.tar"))
    assert all(isinstance(one, Skip) for one in results)
    assert [one.reason for one in results] == [LINK, "not a regular file", "not a regular file"]


def test_a_shard_cut_short_gives_what_it_has(tmp_path):
    one = write_images(tmp_path, range(1, 2)) / "0001.png"
    path = shard(tmp_path / "a.tar", [("1.png", one.read_bytes()), ("2.png", one.read_bytes() * 20)])
    path.write_bytes(path.read_bytes()[:1700])
    results = list(ShardSource(path))
    assert results[0].key == "a.tar/1.png"
    (tmp_path / "no.tar").write_bytes(b"nothing" * 1000)
    assert skips(ShardSource(tmp_path / "no.tar")) == {"no.tar": "shard that cannot be read (fetch it again)"}


def test_the_emoji_world_gives_each_image_once(tiny_world):
    works = list(EmojiSource(tiny_world))
    assert len(works) == len(tiny_world.images)
    cat = next(one for one in works if one.key == "🐈")
    assert (cat.caption, cat.metadata["keywords"]) == ("cat", "cat, pet")
    assert cat.place.startswith(b"\x89PNG")


def test_a_caption_set_and_a_data_set_of_ones_own_are_sources(tmp_path, monkeypatch):
    folder = scene.write_xm3600(tmp_path / "xm")
    (folder / "images" / "0002b8f2ed1d4af3.jpg").unlink()
    source = open_dataset_source(f"xm3600:{folder}")
    assert source.describe() == {"kind": "dataset", "path": f"xm3600:{folder}"}
    first, *rest = source
    assert (first.key, first.reason) == ("0002b8f2ed1d4af3", "missing")
    assert source.count() == 1 + len(rest)
    assert Path(rest[0].place.path).read_bytes() == scene.jpeg(1)
    assert rest[0].caption == open_dataset(f"xm3600:{folder}").captions["en"][rest[0].key][0]
    (tmp_path / "own_photos.py").write_text(
        "class Photos:\n    name, languages = 'photos', ['sw']\n"
        f"    def images(self): return [('a', {str(rest[0].place.path)!r})]\n"
        "    def queries(self, language): return [('paka', 'a')]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (work,) = open_dataset_source("own_photos:Photos")
    assert (work.key, work.caption) == ("a", "paka")
    scene.write_table(tmp_path / "c.tsv", [("image", "caption"), (rest[0].place.path, "paka")])
    (work,) = open_dataset_source(f"captions:{tmp_path / 'c.tsv'}")
    assert work.caption == "paka"
    for name, line in (("queries.sw.tsv", "q\tpaka"), ("documents.en.tsv", "d\tcat"), ("qrels.txt", "q 0 d 1")):
        scene.write_lines(tmp_path / "t" / name, [line])
    with pytest.raises(UsageError, match="no images to index"):
        open_dataset_source(f"trec:{tmp_path / 't'}")


def test_what_a_path_names(tmp_path):
    with pytest.raises(DataError, match="no such"):
        open_source(tmp_path / "gone")
    (tmp_path / "a.tar.gz").touch()
    with pytest.raises(UsageError, match="unpack"):
        open_source(tmp_path / "a.tar.gz")
    (tmp_path / "a.doc").touch()
    with pytest.raises(UsageError, match="folder of images"):
        open_source(tmp_path / "a.doc")
    assert isinstance(open_source(tmp_path), FolderSource)


@pytest.mark.parametrize("name", ["c.csv", "c.tsv", "c.jsonl"])
@pytest.mark.parametrize(
    ("encoding", "message"),
    [("latin-1", "byte 0xE9 is not UTF-8"), ("utf-16", "UTF-16, not UTF-8"), ("utf-32-be", "UTF-32BE, not UTF-8")],
)
def test_captions_in_another_encoding_are_refused_with_their_line(tmp_path, name, encoding, message):
    rows = {
        "c.csv": "image,caption\na.png,café noir\n", "c.tsv": "image\tcaption\na.png\tcafé noir\n",
        "c.jsonl": '{"image": "a.png", "caption": "paka"}\n{"image": "a.png", "caption": "café"}\n',
    }  # fmt: skip
    (tmp_path / name).write_bytes(rows[name].encode(encoding))
    line = 2 if encoding == "latin-1" else 1
    with pytest.raises(DataError, match=f"{name}:{line}: {message}"):
        list(CaptionsSource(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "first", "message"),
    [
        ("c.csv", "image;caption", "separated by semicolons, not by commas"),
        ("c.csv", '"image";"caption"', "separated by semicolons, not by commas"),
        ("c.csv", "sep=;", "separated by semicolons, not by commas"),
        ("c.csv", "image\tcaption", "separated by tabs, not by commas"),
        ("c.csv", "image|caption", "separated by bars, not by commas"),
        ("c.tsv", "image,caption", "separated by commas, not by tabs"),
        ("c.tsv", "image;caption", "separated by semicolons, not by tabs"),
    ],
)
def test_a_table_with_another_separator_is_named_as_one(tmp_path, name, first, message):
    (tmp_path / name).write_text(f"{first}\na.png;paka\n")
    with pytest.raises(DataError, match=f"{name}:1: the columns are {message}"):
        CaptionsSource(tmp_path / name)
    with pytest.raises(DataError, match=f"{name}:1: the columns are {message}"):
        open_dataset(f"captions:{tmp_path / name}", languages=["sw"])


def test_a_key_that_is_no_text_ends_nothing(tmp_path):
    write_images(tmp_path, range(1, 3))
    lines = ['{"image": "0001.png", "caption": "x", "k\\ud800": 1}', '{"image": "0002.png", "caption": "\\ud800y"}']
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    first, second = CaptionsSource(tmp_path / "c.jsonl")
    assert (first.caption, first.metadata) == ("x", {"k?": 1})
    assert second.caption == "?y"
    assert open_dataset(f"captions:{tmp_path / 'c.jsonl'}", languages=["sw"]).captions["sw"]["0001.png"] == ("x",)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("c.csv", 'image,caption\n0001.png,"', '"\n0001.png,paka\n'),
        ("c.tsv", "image\tcaption\n0001.png\t", "\n0001.png\tpaka\n"),
        ("c.jsonl", '{"image": "0001.png", "caption": "', '"}\n{"image": "0001.png", "caption": "paka"}\n'),
    ],
)
def test_a_line_without_end_takes_no_memory(tmp_path, name, before, after):
    write_images(tmp_path, range(1, 2))
    with (tmp_path / name).open("w") as stream:
        stream.write(before)
        for _ in range(128):
            stream.write("x" * (1 << 20))
        stream.write(after)
    tracemalloc.start()
    results = list(CaptionsSource(tmp_path / name))
    with pytest.raises(DataError, match="a line over 16 MiB; give one text per line"):
        open_dataset(f"captions:{tmp_path / name}", languages=["sw"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [getattr(one, "caption", None) or one.reason for one in results] == ["line not understood", "paka"]
    assert peak < 40 << 20


def test_a_quotation_mark_that_is_never_closed_hides_no_rows(tmp_path):
    write_images(tmp_path, range(1, 4))
    rows = ["image,caption", '0001.png,paka "mdogo" mweusi', '0002.png,"mbwa', "0003.png,samaki"]
    (tmp_path / "c.csv").write_text("\n".join(rows))
    results = list(CaptionsSource(tmp_path / "c.csv"))
    assert [getattr(one, "caption", None) or one.key for one in results] == ['paka "mdogo" mweusi', "c.csv:3"]
    with pytest.raises(DataError, match=r"c\.csv:3: a quotation mark that is never closed"):
        open_dataset(f"captions:{tmp_path / 'c.csv'}", languages=["sw"])
