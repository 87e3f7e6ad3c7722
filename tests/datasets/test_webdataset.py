"""Odd webdataset shards: read alike for evaluation and for an index, or left out and counted."""

import io
import tarfile

import pytest

import caption_scene as scene
from kivuko.datasets.captions.formats import open_caption_set
from kivuko.datasets.captions.webdataset import APART, DAMAGED, NO_LANGUAGE, NOT_UTF8, TOO_LONG
from kivuko.errors import DataError
from kivuko.search.items import Skip, Work
from kivuko.search.sources import ShardSource

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
