"""Odd webdataset shards: read alike for evaluation and for an index, or left out and counted."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
from pathlib import Path

import pytest
from tiny_encoder import TinyEncoder

import caption_scene as scene
from kivuko.datasets.captions.formats import open_caption_set
from kivuko.datasets.captions.webdataset import (
    APART,
    DAMAGED,
    LINK,
    NO_LANGUAGE,
    NO_SAMPLE,
    NOT_UTF8,
    SPARSE,
    TOO_LONG,
)
from kivuko.errors import DataError
from kivuko.search.building import index_images
from kivuko.search.items import Skip, Work
from kivuko.search.sources import ShardSource, open_sources
from kivuko.search.store import IndexStore

JPEG = scene.jpeg(0)


def evaluated(path):
    """Return language -> image -> captions, without the shard's name before each image, and the notes."""
    result = open_caption_set(f"webdataset:{path}", language="sw")
    captions = {
        code: {name.rpartition("/")[2]: list(texts) for name, texts in own.items()}
        for code, own in result.captions.items()
    }
    return captions, dict(result.left_out), result.notes


def indexed(path):
    """Return the captions of the images by name, and the reasons why others were left out."""
    items = list(ShardSource(path))
    works = {one.key.rpartition("/")[2]: one.caption for one in items if isinstance(one, Work)}
    return works, [one.reason for one in items if isinstance(one, Skip)]


def built(path, tmp_path):
    """Index a path or a pattern; return the summary, and the captions of the stored images by key."""
    place = tmp_path / "my.index"
    summary = index_images(TinyEncoder(), open_sources(Path(path)), place, model=tmp_path, workers=0)
    with IndexStore.open(place) as store:
        return summary, {one.key: one.caption for one in store.items(store.ids())}


def test_names_with_more_dots_have_their_own_captions(tmp_path, capsys):
    members = {"img.01.png": JPEG, "img.01.txt": "mbwa", "img.02.png": JPEG, "img.02.txt": "paka", "b.jpg": JPEG}
    members |= {"b.txt": "samaki", "c.v2.jpg": JPEG, "c.v2.sw.txt": "kuku", "c.v2.en.txt": "hen"}
    path = scene.write_shard(tmp_path / "a.tar", members)
    captions, left_out, notes = evaluated(path)
    assert captions == {
        "sw": {"img.01": ["mbwa"], "img.02": ["paka"], "b": ["samaki"], "c.v2": ["kuku"]},
        "en": {"c.v2": ["hen"]},
    }
    assert not left_out
    assert len(notes) == 1
    assert "img.01.png is of the sample img, whose name ends at the first dot" in notes[0]
    works, reasons = indexed(path)
    assert works == {"img.01.png": "mbwa", "img.02.png": "paka", "b.jpg": "samaki", "c.v2.jpg": "hen"}
    assert not reasons
    assert "whose name ends at the first dot" in " ".join(capsys.readouterr().err.split())


def test_images_of_one_sample_share_its_captions(tmp_path):
    members = {
        "a.left.png": JPEG,
        "a.right.png": JPEG,
        "a.txt": "paka",
        "b.jpg": JPEG,
        "b.01.txt": "x",
        "b.txt": "mbwa",
    }
    path = scene.write_shard(tmp_path / "a.tar", members)
    captions, left_out, _ = evaluated(path)
    assert captions == {"sw": {"a": ["paka"], "b": ["mbwa"]}}
    assert left_out == {NO_LANGUAGE: 1}
    assert indexed(path) == ({"a.left.png": "paka", "a.right.png": "paka", "b.jpg": "mbwa"}, [NO_LANGUAGE])


def test_the_dots_of_folders_end_no_name(tmp_path):
    path = scene.write_shard(tmp_path / "a.tar", {"v1.0/a.jpg": JPEG, "v1.0/a.txt": "paka"})
    assert evaluated(path)[0] == {"sw": {"a": ["paka"]}}


@pytest.mark.parametrize("first", ["png", "txt"])
def test_members_of_a_sample_that_are_apart(tmp_path, first):
    order = [first, "txt" if first == "png" else "png"]
    members = {f"{number}.{kind}": JPEG if kind == "png" else "paka" for kind in order for number in (1, 2)}
    path = scene.write_shard(tmp_path / "a.tar", members)
    with pytest.raises(DataError, match=r"not next to each other \(sort the shard by name\): 2"):
        evaluated(path)
    works, reasons = indexed(path)
    assert list(works) == ["1.png", "2.png"]
    assert (APART in reasons) == (first == "png")
    whole = {**members, "3.png": JPEG, "3.txt": "mbwa"}
    captions, left_out, _ = evaluated(scene.write_shard(tmp_path / "b.tar", whole))
    assert captions == {"sw": {"3": ["mbwa"]}}
    assert left_out[APART] == 2


@pytest.mark.parametrize("between", [b"", b"\0" * 512, b"\0" * 10_240])
def test_archives_joined_in_one_file(tmp_path, between):
    one = scene.write_shard(tmp_path / "1.tar", {"1.jpg": JPEG, "1.txt": "paka"}).read_bytes()
    two = scene.write_shard(tmp_path / "2.tar", {"2.jpg": JPEG, "2.txt": "mbwa"}).read_bytes()
    path = tmp_path / "in.tar"
    path.write_bytes(one + between + two)
    assert evaluated(path)[0] == {"sw": {"1": ["paka"], "2": ["mbwa"]}}
    assert indexed(path) == ({"1.jpg": "paka", "2.jpg": "mbwa"}, [])


@pytest.mark.parametrize(
    ("about", "first", "every"),
    [
        ({"caption": ["paka mweusi", "paka"]}, "paka mweusi", {"sw": ["paka mweusi", "paka"]}),
        ({"captions": ["paka"]}, "paka", {"sw": ["paka"]}),
        ({"caption": {"sw": "paka", "en": ["a cat", "cat"]}}, "a cat", {"sw": ["paka"], "en": ["a cat", "cat"]}),
        ({"caption": "paka", "lang": "so", "score": float("nan")}, "paka", {"so": ["paka"]}),
        ({"caption": ["", "paka"]}, "paka", {"sw": ["paka"]}),
    ],
)
def test_captions_in_json_are_read_alike(tmp_path, about, first, every):
    path = scene.write_shard(tmp_path / "a.tar", {"1.jpg": JPEG, "1.json": about})
    assert {code: own["1"] for code, own in evaluated(path)[0].items()} == every
    assert indexed(path) == ({"1.jpg": first}, [])


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        ("\ufeffpaka mweusi".encode(), ["paka mweusi"]),
        ("paka\u2028mweusi\u0085analala".encode(), ["paka mweusi analala"]),
        (b"paka\vmweusi\fana\x1clala", ["paka mweusi ana lala"]),
        (b"paka\x01mweusi", ["paka mweusi"]),
        (b"paka\rmbwa\r\nkuku\nsamaki\n", ["paka", "mbwa", "kuku", "samaki"]),
    ],
)
def test_only_line_ends_end_a_caption(tmp_path, text, captions):
    path = scene.write_shard(tmp_path / "a.tar", {"1.jpg": JPEG, "1.txt": text})
    assert evaluated(path)[0] == {"sw": {"1": captions}}
    assert indexed(path) == ({"1.jpg": captions[0]}, [])


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32", "cp1251"])
def test_a_text_in_another_encoding_is_counted_and_never_guessed(tmp_path, encoding):
    text = "черный кот" if encoding == "cp1251" else "café noir à Liège"
    members = {"1.jpg": JPEG, "1.txt": text.encode(encoding), "2.jpg": JPEG, "2.txt": "paka"}
    path = scene.write_shard(tmp_path / "a.tar", members)
    captions, left_out, _ = evaluated(path)
    assert captions == {"sw": {"2": ["paka"]}}
    assert left_out[NOT_UTF8] == 1
    assert indexed(path) == ({"1.jpg": None, "2.jpg": "paka"}, [NOT_UTF8])


def test_a_text_that_is_too_long_is_counted(tmp_path):
    path = scene.write_shard(tmp_path / "a.tar", {"1.jpg": JPEG, "1.txt": "x" * (2 << 20), "1.sw.txt": "paka"})
    assert evaluated(path)[:2] == ({"sw": {"1": ["paka"]}}, {TOO_LONG: 1})
    assert indexed(path) == ({"1.jpg": "paka"}, [TOO_LONG])


def header(kind, size, name="x"):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def shard(tmp_path, number):
    """Return the bytes of two members, without the end of an archive."""
    content = scene.write_shard(tmp_path / "part.tar", {f"{number}.jpg": JPEG, f"{number}.txt": f"neno {number}"})
    return content.read_bytes()[: 512 + -(-len(JPEG) // 512) * 512 + 1024]  # no block of zeros, which ends an archive


@pytest.mark.parametrize(
    "damage",
    [
        header(tarfile.XHDTYPE, 8_000_000_000),  # beyond the file
        header(tarfile.XHDTYPE, 10**12),  # in base 256
        header(tarfile.XHDTYPE, 2**70),  # more than any file holds
        header(tarfile.XHDTYPE, 2 << 20) + bytes(2 << 20),  # more than any name needs
        header(tarfile.REGTYPE, 7_000_000_000, "9.jpg"),
        bytes(range(256)) * 4,
        b"\x80" * 512,
        header(tarfile.GNUTYPE_LONGNAME, 6) + b"x.jpg\0".ljust(512, b"\0") + b"\x80" * 512,  # of a member that is lost
    ],
)
def test_what_is_whole_around_damage_is_kept(tmp_path, damage):
    path = tmp_path / "a.tar"
    path.write_bytes(shard(tmp_path, 1) + damage + shard(tmp_path, 2) + bytes(1024))
    captions, left_out, _ = evaluated(path)
    assert captions == {"sw": {"1": ["neno 1"], "2": ["neno 2"]}}
    assert left_out == {DAMAGED: 1}
    assert indexed(path) == ({"1.jpg": "neno 1", "2.jpg": "neno 2"}, ["damaged shard"])


@pytest.mark.parametrize("kept", [1, 700])
def test_the_last_whole_sample_before_the_end_of_a_cut_shard_is_kept(tmp_path, kept):
    one, two = shard(tmp_path, 1), shard(tmp_path, 2)
    path = tmp_path / "a.tar"
    path.write_bytes(one + two[: 512 + kept])  # of the second, the image is cut
    captions, left_out, _ = evaluated(path)
    assert (captions, left_out) == ({"sw": {"1": ["neno 1"]}}, {DAMAGED: 1})
    assert indexed(path) == ({"1.jpg": "neno 1"}, ["damaged shard"])


def test_a_chain_of_long_names_is_followed(tmp_path):
    chain = (header(tarfile.GNUTYPE_LONGNAME, 4) + b"abc\0".ljust(512, b"\0")) * 3000
    path = tmp_path / "a.tar"
    path.write_bytes(shard(tmp_path, 1) + chain + shard(tmp_path, 2) + bytes(1024))
    assert evaluated(path)[0]["sw"]["1"] == ["neno 1"]
    assert indexed(path)[0] == {"1.jpg": "neno 1"}  # the image after the chain is named "abc" by it


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_is_read(tmp_path, form):
    long = "f" * 90 + "/" + "n" * 60
    with tarfile.open(tmp_path / "a.tar", "w", format=form) as archive:
        for name, content in ((f"{long}é.jpg", JPEG), (f"{long}é.txt", b"paka"), ("b.jpg", JPEG), ("b.txt", b"mbwa")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert evaluated(tmp_path / "a.tar")[:2] == ({"sw": {"n" * 60 + "é": ["paka"], "b": ["mbwa"]}}, {})
    (first, _) = (one for one in ShardSource(tmp_path / "a.tar") if isinstance(one, Work))
    content = (tmp_path / "a.tar").read_bytes()
    assert content[first.place.offset : first.place.offset + first.place.length] == JPEG


def test_files_that_belong_to_no_sample_do_not_part_one(tmp_path):
    members = {"._1.jpg": b"x", "1.jpg": JPEG, "README": "x", "__MACOSX/._1.txt": "x", "1.txt": "paka"}
    path = scene.write_shard(tmp_path / "a.tar", members)
    assert evaluated(path)[:2] == ({"sw": {"1": ["paka"]}}, {})
    assert indexed(path) == ({"1.jpg": "paka"}, [])


def test_a_text_under_another_name_than_a_language_is_counted(tmp_path):
    path = scene.write_shard(
        tmp_path / "a.tar", {"1.input.jpg": JPEG, "1.outputs.txt": "x", "2.jpg": JPEG, "2.txt": "paka"}
    )
    assert evaluated(path)[:2] == ({"sw": {"2": ["paka"]}}, {NO_LANGUAGE: 1, "sample without a caption": 1})
    assert indexed(path) == ({"1.input.jpg": None, "2.jpg": "paka"}, [NO_LANGUAGE])


def test_metadata_may_have_a_longer_name(tmp_path):
    path = scene.write_shard(tmp_path / "a.tar", {"1.jpg": JPEG, "1.info.json": {"caption": "paka", "year": 1998}})
    assert evaluated(path)[:2] == ({"sw": {"1": ["paka"]}}, {})
    (work,) = ShardSource(path)
    assert (work.caption, work.metadata) == ("paka", {"year": 1998})


def test_other_names_of_captions_and_images(tmp_path):
    members = {"1.img": JPEG, "1.cap": "paka", "2.image": JPEG, "2.text": "mbwa", "3.JFIF": JPEG, "3.TXT": "kuku"}
    path = scene.write_shard(tmp_path / "a.tar", {**members, "4.pnm": JPEG, "4.captions": "simba"})
    expected = {"1.img": "paka", "2.image": "mbwa", "3.JFIF": "kuku", "4.pnm": "simba"}
    assert evaluated(path) == ({"sw": {name[0]: [text] for name, text in expected.items()}}, {}, ())
    assert indexed(path) == (expected, [])


@pytest.mark.parametrize(
    ("content", "captions"),
    [
        ({"text": "paka", "url": "u"}, ["paka"]),
        ({"URL": "u", "TEXT": "paka"}, ["paka"]),
        ({"caption": None, "captions": [], "sentence": "paka"}, ["paka"]),
        (["paka", "paka mweusi"], ["paka", "paka mweusi"]),
        ([{"caption": "paka", "id": 1}, {"caption": ["simba"]}, {"id": 2}], ["paka", "simba"]),
        ("paka", ["paka"]),
    ],
)
def test_captions_in_json_of_other_tools(tmp_path, content, captions):
    path = scene.write_shard(tmp_path / "a.tar", {"1.jpg": JPEG, "1.json": json.dumps(content), "1.cls": "7"})
    assert evaluated(path)[:2] == ({"sw": {"1": captions}}, {})
    assert indexed(path) == ({"1.jpg": captions[0]}, [])


def test_the_text_comes_before_the_metadata_unless_it_is_blank(tmp_path):
    members = {"1.jpg": JPEG, "1.json": {"caption": "si hii"}, "1.txt": "paka"}
    members |= {"2.jpg": JPEG, "2.json": {"caption": "mbwa"}, "2.txt": " \n", "3.jpg": JPEG, "3.txt": ""}
    path = scene.write_shard(tmp_path / "a.tar", members)
    assert evaluated(path)[:2] == ({"sw": {"1": ["paka"], "2": ["mbwa"]}}, {"sample without a caption": 1})
    assert indexed(path) == ({"1.jpg": "paka", "2.jpg": "mbwa", "3.jpg": None}, [])


def test_texts_packed_by_gzip_are_read_or_counted(tmp_path):
    pack = gzip.compress
    members = {"1.jpg": JPEG, "1.txt.gz": pack(b"paka\n") + pack(b"mbwa"), "2.jpg": JPEG}
    members |= {"2.json.gz": pack(b'{"caption": "kuku"}'), "3.jpg": JPEG, "3.txt.gz": pack(b"simba")[:-9]}
    members |= {"4.jpg": JPEG, "4.sw.txt.gz": pack(bytes(5 << 20)), "5.jpg": JPEG, "5.txt.gz": b"plain"}
    path = scene.write_shard(tmp_path / "a.tar", members)
    captions, left_out, _ = evaluated(path)
    assert captions == {"sw": {"1": ["paka", "mbwa"], "2": ["kuku"]}}
    assert left_out == {"damaged .gz": 2, TOO_LONG: 1, "sample without a caption": 3}
    works, reasons = indexed(path)
    assert works == {"1.jpg": "paka", "2.jpg": "kuku", "3.jpg": None, "4.jpg": None, "5.jpg": None}
    assert reasons == ["damaged .gz", TOO_LONG, "damaged .gz"]


def members_of(path, members):
    """Write a shard from pairs, which may repeat a name; content that is a pair: the kind of a link, and its target."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                info.type, info.linkname = content
                content = b""
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_a_name_that_comes_twice_is_counted_and_the_first_is_kept(tmp_path):
    pairs = [("1.jpg", JPEG), ("1.txt", b"paka"), ("1.jpg", scene.jpeg(1)), ("1.txt", b"x"), ("2.jpg", scene.jpeg(3))]
    pairs += [("2.txt", b"mbwa"), ("1.jpg", scene.jpeg(2)), ("1.txt", b"kuku"), ("1.v.jpg", scene.jpeg(4))]
    path = members_of(tmp_path / "a.tar", [*pairs, ("1.v.txt", b"bata"), ("2.jpg", JPEG), ("2.txt", b"mbwa")])
    texts, left_out, _ = evaluated(path)
    assert texts == {"sw": {"1": ["paka"], "2": ["mbwa"], "1.v": ["bata"]}}
    assert left_out == {"named twice": 4}
    summary, captions = built(path, tmp_path)
    assert summary.skipped == {"named twice": 4}
    assert set(captions.values()) == {"paka", "mbwa", "bata"}


def test_files_about_the_shard_and_paths_that_begin_with_a_dot(tmp_path):
    members = {
        "__meta__.json": "{}",
        "./1.jpg": JPEG,
        "__x__.txt": "x",
        "1.txt": "paka",
        "./a/2.jpg": JPEG,
        "a/2.txt": "x",
    }
    path = scene.write_shard(tmp_path / "a.tar", {**members, ".//3.jpg": JPEG, "./3.txt": "mbwa"})
    assert evaluated(path)[:2] == ({"sw": {"1": ["paka"], "2": ["x"], "3": ["mbwa"]}}, {})
    assert indexed(path) == ({"1.jpg": "paka", "2.jpg": "x", "3.jpg": "mbwa"}, [])


def test_links_and_sparse_files_say_what_to_do(tmp_path):
    pairs = [("1.jpg", JPEG), ("1.txt", b"paka"), ("2.jpg", (tarfile.LNKTYPE, "1.jpg")), ("2.txt", b"mbwa")]
    path = members_of(tmp_path / "a.tar", [*pairs, ("3.jpg", JPEG), ("3.txt", (tarfile.SYMTYPE, "1.txt"))])
    assert evaluated(path)[:2] == ({"sw": {"1": ["paka"]}}, {LINK: 2, "sample without a caption": 1})
    assert indexed(path) == ({"1.jpg": "paka", "3.jpg": None}, [LINK, LINK])
    pax = b"22 GNU.sparse.major=1\n29 GNU.sparse.name=dir/2.jpg\n"
    content = b"1\n0\n9\n".ljust(512, b"\0") + b"\xff\xd8".ljust(512, b"\0")
    sparse = header(tarfile.XHDTYPE, len(pax)) + pax.ljust(512, b"\0")
    sparse += header(tarfile.REGTYPE, len(content), "dir/GNUSparseFile.7/2.jpg") + content
    text = header(tarfile.REGTYPE, 4, "dir/2.txt") + b"mbwa".ljust(512, b"\0")
    (tmp_path / "b.tar").write_bytes(shard(tmp_path, 1) + sparse + text + bytes(1024))
    assert evaluated(tmp_path / "b.tar")[:2] == ({"sw": {"1": ["neno 1"]}}, {SPARSE: 1})
    assert indexed(tmp_path / "b.tar") == ({"1.jpg": "neno 1"}, [SPARSE])


def test_names_with_many_parts_keep_their_samples_together(tmp_path):
    members = {}
    for number in range(700):  # 2,100 members up to the first dot
        members |= {
            f"img.{number:03}.jpg": JPEG,
            f"img.{number:03}.json": {"n": number},
            f"img.{number:03}.txt": f"a {number}",
        }
    path = scene.write_shard(tmp_path / "a.tar", members)
    expected = {f"img.{number:03}": f"a {number}" for number in range(700)}
    captions, left_out, _ = evaluated(path)
    assert captions == {"sw": {name: [text] for name, text in expected.items()}}
    assert not left_out
    assert indexed(path) == ({f"{name}.jpg": text for name, text in expected.items()}, [])


def test_names_that_are_not_utf8_are_shown_by_their_bytes(tmp_path):
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    path = members_of(tmp_path / "a.tar", [(f"{name}.jpg", JPEG), (f"{name}.txt", b"paka")])
    assert evaluated(path)[0] == {"sw": {r"caf\xe9": ["paka"]}}
    assert indexed(path) == ({r"caf\xe9.jpg": "paka"}, [])


def test_a_shard_without_samples_is_counted(tmp_path):
    (tmp_path / "1.tar").write_bytes(bytes(10_240))
    scene.write_shard(tmp_path / "2.tar", {"a7": JPEG})  # no ending
    scene.write_shard(tmp_path / "3.tar", {"1.jpg": JPEG, "1.txt": "paka"})
    assert evaluated(tmp_path)[:2] == ({"sw": {"1": ["paka"]}}, {NO_SAMPLE: 2})
    for name in ("1.tar", "2.tar"):
        with pytest.raises(
            DataError, match=r"names no image.*shard without a sample \(files named as 1\.jpg, 1\.txt\): 1"
        ):
            evaluated(tmp_path / name)
        with pytest.raises(DataError, match=r"no image.*1 shard without a sample"):
            built(tmp_path / name, tmp_path)


@pytest.mark.parametrize(
    ("pack", "message"),
    [
        (gzip.compress, "a compressed shard cannot be read in any order; unpack it"),
        (lzma.compress, "a compressed shard cannot be read in any order; unpack it"),
        (bz2.compress, "a compressed shard cannot be read in any order; unpack it"),
        (
            lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a Git LFS pointer.*run git lfs pull",
        ),
    ],
)
def test_a_packed_shard_is_refused_by_name(tmp_path, pack, message):
    path = scene.write_shard(tmp_path / "a.tar", {"1.jpg": JPEG, "1.txt": "paka"})
    path.write_bytes(pack(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        evaluated(path)
    with pytest.raises(DataError, match=message):
        built(path, tmp_path)


def test_a_tar_whose_first_name_begins_like_a_compressed_file_is_read(tmp_path):
    path = scene.write_shard(tmp_path / "a.tar", {"BZh9.jpg": JPEG, "BZh9.txt": "paka"})
    assert indexed(path) == ({"BZh9.jpg": "paka"}, [])


@pytest.mark.parametrize(
    ("pattern", "numbers"),
    [
        ("train-{00..02}.tar", "012"), ("train-{0{0,2},01}.tar", "012"), ("train-{00..02..2}.tar", "02"),
        ("{train,val}-00.tar", "0v"), ("train-00.tar::{dir}/val-00.tar", "0v"), ("*-00.tar", "0v"),
        ("train-0[12].tar", "12"), ("", "012v"),
    ],
)  # fmt: skip
def test_patterns_name_the_same_shards_for_an_index(tmp_path, pattern, numbers):
    for name, number in (("train-00", 0), ("train-01", 1), ("train-02", 2), ("val-00", "v")):
        image = scene.jpeg(ord(str(number)))
        scene.write_shard(tmp_path / f"{name}.tar", {f"{number}.jpg": image, f"{number}.txt": f"neno {number}"})
    path = f"{tmp_path}/{pattern.replace('{dir}', str(tmp_path))}"
    assert evaluated(path)[0] == {"sw": {number: [f"neno {number}"] for number in numbers}}
    if pattern:
        _, captions = built(path, tmp_path)
        assert set(captions.values()) == {f"neno {number}" for number in numbers}
        return
    with pytest.raises(DataError, match=r"4 webdataset shard \(name it as a source of its own\)"):
        built(path, tmp_path)


@pytest.mark.parametrize(
    "pattern", ["a-{0..99999999}.tar", "{0..999}{0..999}.tar", "{{0..999},x{0..999}}{a,b}{0..99}.tar"]
)
def test_a_pattern_of_too_many_shards_is_refused_at_once(tmp_path, pattern):
    with pytest.raises(DataError, match=r"names .*shards; most are 100,000"):
        evaluated(f"{tmp_path}/{pattern}")


def test_shards_of_one_name_in_two_folders(tmp_path):
    for number, folder in enumerate("xy"):
        (tmp_path / folder).mkdir()
        scene.write_shard(tmp_path / folder / "a.tar", {"1.jpg": scene.jpeg(number), "1.txt": f"neno {folder}"})
    _, captions = built(f"{tmp_path}/{{x,y}}/a.tar", tmp_path)
    assert captions == {"a.tar/1.jpg": "neno x", "y/a.tar/1.jpg": "neno y"}
    assert len(open_caption_set(f"webdataset:{tmp_path}/*/a.tar", language="sw").images) == 2
