"""Each image-caption set is read from a small copy in the published layout."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest

import caption_scene as scene
from kivuko.datasets.captions.caption_set import EVERY_CAPTION, FIRST_CAPTION, choose_languages, code_of
from kivuko.datasets.captions.formats import open_caption_set
from kivuko.errors import DataError, UsageError


def told(caption_set, language, protocol=EVERY_CAPTION):
    """The captions of a language: image id to texts."""
    captions = caption_set.of(language, protocol)
    found: dict[str, list[str]] = {}
    for text, row in zip(captions.texts, captions.owners, strict=True):
        found.setdefault(caption_set.images[row].id, []).append(text)
    return found


def content(image):
    with image.path.open("rb") as stream:
        stream.seek(image.offset)
        return stream.read() if image.length is None else stream.read(image.length)


def all_found(caption_set):
    return [image.id for image in caption_set.images if image.path is None] == []


def test_crossmodal_3600_under_both_protocols(tmp_path):
    found = open_caption_set(f"xm3600:{scene.write_xm3600(tmp_path)}")
    assert (found.name, found.split, len(found.images)) == ("xm3600", "test", 3)
    assert found.languages == ("en", "sw", "bn", "mi", "quz")
    assert told(found, "sw")["0002b8f2ed1d4af3"] == ["paka mweusi", "paka juu ya ukuta"]
    assert told(found, "en")["0002b8f2ed1d4af3"] == ["a black cat", "A cat on a wall."], "as they were written"
    assert told(found, "sw", FIRST_CAPTION)["0002b8f2ed1d4af3"] == ["paka mweusi"]
    assert len(found.of("sw").texts) == 6
    assert len(found.of("sw", FIRST_CAPTION).texts) == 3
    assert found.per_image("bn") == 1
    assert found.per_image("mi") == pytest.approx(4 / 3)
    assert all_found(found)
    assert content(found.images[1]) == scene.jpeg(1)
    notes = " ".join(found.notes)
    assert "Bengali" in notes and "quy" in notes and "--captions first" in notes  # noqa: PT018
    assert found.files == (tmp_path / "captions.jsonl",)


def test_crossmodal_3600_by_its_file_with_images_elsewhere(tmp_path):
    scene.write_xm3600(tmp_path / "here")
    (tmp_path / "here" / "images").rename(tmp_path / "there")
    spec = f"xm3600:{tmp_path / 'here' / 'captions.jsonl'}"
    assert not all_found(open_caption_set(spec))
    assert all_found(open_caption_set(f"{spec},{tmp_path / 'there'}"))


def test_a_path_with_a_comma_is_a_path(tmp_path):
    assert all_found(open_caption_set(f"xm3600:{scene.write_xm3600(tmp_path / 'a,b')}"))


def test_xtd_with_its_relatives(tmp_path):
    found = open_caption_set(f"xtd:{scene.write_xtd(tmp_path)}")
    assert set(found.languages) == {"es", "zh", "de", "en", "ja"}
    assert told(found, "ja") == {scene.COCO[0]: ["猫"], scene.COCO[1]: ["犬"], scene.COCO[2]: ["魚"]}
    assert all_found(found)
    assert any("2 of the 3 images are of MSCOCO's training set" in note for note in found.notes)


def test_xtd_unpacked_into_one_folder(tmp_path):
    scene.write_xtd(tmp_path)
    for file in [*(tmp_path / "XTD10").iterdir(), *(tmp_path / "MIC").iterdir()]:
        shutil.move(file, tmp_path / file.name)
    found = open_caption_set(f"xtd:{tmp_path}")
    assert {"es", "zh", "de", "en"} <= set(found.languages)
    assert all_found(found)


def test_xtd_200_says_that_its_captions_are_translated(tmp_path):
    scene.write_lines(tmp_path / "test_image_names.txt", scene.COCO)
    scene.write_lines(tmp_path / "swh_Latn.txt", ["paka", "mbwa", "samaki"])
    found = open_caption_set(f"xtd:{tmp_path}")
    assert found.languages == ("sw",)
    assert any("machine translations" in note for note in found.notes)


def test_flickr30k_200(tmp_path):
    found = open_caption_set(f"flickr30k200:{scene.write_flickr30k200(tmp_path)}")
    assert {code.removesuffix("-Latn") for code in found.languages} == {"en", "quy", "sw", "zh", "zh-Hant"}
    texts = ("paka", "mbwa", "samaki")
    assert told(found, "sw") == {name: [text] for name, text in zip(scene.FLICKR, texts, strict=True)}
    assert all_found(found)
    assert any("machine translations" in note for note in found.notes)


@pytest.mark.parametrize(
    ("part", "split", "languages", "captions"),
    [
        ("", "test_2016_flickr", {"cs", "de", "en"}, 1),
        ("@test_2017_mscoco", "test_2017_mscoco", {"fr"}, 1),
        ("@task2", "task2/test_2016", {"de", "en"}, 5),
    ],
)
def test_multi30k_and_its_parts(tmp_path, part, split, languages, captions):
    found = open_caption_set(f"multi30k:{scene.write_multi30k(tmp_path)}{part}")
    assert found.split == split
    assert set(found.languages) == languages
    assert {found.per_image(code) for code in languages} == {captions}
    assert all_found(found)
    if captions == 5:
        assert told(found, "de")[scene.FLICKR[1]] == [f"de {number} 1" for number in range(1, 6)]


def test_multi30k_has_no_other_part(tmp_path):
    scene.write_multi30k(tmp_path)
    with pytest.raises(UsageError, match="test_2017_flickr"):
        open_caption_set(f"multi30k:{tmp_path}@nosuch")
    with pytest.raises(DataError, match="val"):
        open_caption_set(f"multi30k:{tmp_path}", split="validation")


def test_xflickrco_leaves_out_its_blank_caption_and_says_so(tmp_path):
    found = open_caption_set(f"xflickrco:{scene.write_xflickrco(tmp_path)}")
    assert set(found.languages) == {"de", "id"}
    assert len(found.images) == 3
    assert told(found, "de") == {scene.FLICKR[0]: ["Eine Katze."], scene.COCO[2]: ["Ein Fisch."]}
    assert found.left_out == {"blank caption": 1}
    assert all_found(found)


def test_wit_of_iglue_has_a_gallery_for_each_language(tmp_path):
    found = open_caption_set(f"wit:{scene.write_wit(tmp_path)}")
    assert found.gallery == "language"
    assert len(found.images) == 3
    assert all_found(found), "by wit_ix, and by the last part of the address, unquoted"
    assert sorted(map(len, told(found, "bg").values())) == [1, 2]
    assert len(told(found, "da")) == 2


def test_wit_of_google(tmp_path):
    found = open_caption_set(f"wit:{scene.write_wit_tsv(tmp_path)}")
    assert found.languages == ("sw",)
    assert [text for texts in told(found, "sw").values() for text in texts] == ["paka mweusi"]
    assert len(found.images) == 1, "an image without a description is searched by no language"
    assert found.left_out == {"blank caption": 1}


def test_cocos_own_way(tmp_path):
    found = open_caption_set(f"coco:{scene.write_coco(tmp_path / 'captions_val2014.json')}")
    assert found.languages == ("en",)
    assert told(found, "en")[scene.COCO[1]] == ["caption 0 of 1", "caption 1 of 1"]
    assert all_found(found)
    other = open_caption_set(f"coco:{tmp_path / 'captions_val2014.json'}", language="ja")
    assert other.languages == ("ja",)


@pytest.mark.parametrize(("split", "name"), [("test", scene.COCO[0]), ("validation", scene.COCO[1])])
def test_karpathys_splits(tmp_path, split, name):
    found = open_caption_set(f"coco:{scene.write_karpathy(tmp_path / 'dataset_coco.json')}", split=split)
    assert [image.id for image in found.images] == [name]
    assert len(found.of("en").texts) == 2
    assert all_found(found)


def test_a_list_of_images_with_their_captions(tmp_path):
    rows = [{"image": f"val2014/{name}", "caption": [f"one {name}", f"two {name}"]} for name in scene.COCO]
    (tmp_path / "coco_karpathy_test.json").write_text(json.dumps(rows), "utf-8")
    scene.write_images(tmp_path / "val2014", scene.COCO)
    found = open_caption_set(f"coco:{tmp_path / 'coco_karpathy_test.json'}")
    assert len(found.of("en").texts) == 6
    assert all_found(found)


def test_a_captions_file_of_ones_own(tmp_path):
    scene.write_images(tmp_path, ["a.jpg", "b.jpg"])
    rows = [("image", "caption", "language", "split"), ("a.jpg", "paka", "swh", "test"), ("a.jpg", "cat", "en", "test")]
    rows += [("b.jpg", "mbwa", "sw", ""), ("b.jpg", "dog", "en", "train")]
    for name in ("captions.tsv", "captions.csv"):
        found = open_caption_set(f"captions:{scene.write_table(tmp_path / name, rows)}")
        assert told(found, "sw") == {"a.jpg": ["paka"], "b.jpg": ["mbwa"]}
        assert told(found, "en") == {"a.jpg": ["cat"]}
        assert found.left_out == {"line of another split": 1}
        assert all_found(found)


def test_a_captions_file_without_headings_or_language(tmp_path):
    scene.write_images(tmp_path, ["a.jpg"])
    file = scene.write_table(tmp_path / "c.tsv", [("a.jpg", 'paka "mweusi')])
    assert told(open_caption_set(f"captions:{file}", language="sw"), "sw") == {"a.jpg": ['"paka ""mweusi"']}
    with pytest.raises(UsageError, match=r"c\.tsv:1.*-l sw"):
        open_caption_set(f"captions:{file}")


def test_json_lines_with_captions_by_language(tmp_path):
    scene.write_images(tmp_path / "photos", ["a.jpg"])
    rows = [{"image": "a.jpg", "caption": {"sw": ["paka", "paka mweusi"], "en": "a cat"}}]
    file = scene.write_json_lines(tmp_path / "captions.jsonl.gz", rows)
    found = open_caption_set(f"captions:{file},{tmp_path / 'photos'}")
    assert told(found, "sw") == {"a.jpg": ["paka", "paka mweusi"]}
    assert told(found, "en") == {"a.jpg": ["a cat"]}
    assert all_found(found)


def test_webdataset_shards_are_read_where_they_lie(tmp_path):
    one = {"000.jpg": scene.jpeg(0), "000.txt": "paka\npaka mweusi\n", "001.jpg": scene.jpeg(1), "001.sw.txt": "mbwa"}
    one["001.en.txt"] = "a dog"
    two = {"002.jpg": scene.jpeg(2), "002.json": {"caption": {"sw": "samaki", "en": ["fish", "a fish"]}}}
    two |= {"003.txt": "hakuna picha", "004.jpg": scene.jpeg(4), "004.json": {"width": 3}}
    scene.write_shard(tmp_path / "s-00.tar", one)
    scene.write_shard(tmp_path / "s-01.tar", two)
    for pattern in ("s-*.tar", "s-{00..01}.tar", ""):
        found = open_caption_set(f"webdataset:{tmp_path / pattern}", language="sw")
        assert [content(image) for image in found.images] == [scene.jpeg(number) for number in range(3)]
        assert told(found, "sw")["s-00.tar/000"] == ["paka", "paka mweusi"]
        assert told(found, "en") == {"s-00.tar/001": ["a dog"], "s-01.tar/002": ["fish", "a fish"]}
        assert found.left_out == {"sample without an image": 1, "sample without a caption": 1}
    with pytest.raises(UsageError, match=r"sample 000.*-l sw"):
        open_caption_set(f"webdataset:{tmp_path / 's-*.tar'}")


def test_languages_are_found_by_their_code_and_not_by_their_neighbors(tmp_path):
    found = open_caption_set(f"flickr30k200:{scene.write_flickr30k200(tmp_path)}")
    assert choose_languages(found, ()) == found.languages
    assert choose_languages(found, ("sw", "zh-Hant", "sw")) == ("sw", "zh-Hant")
    quechua = choose_languages(found, ("quy",))
    assert told(found, quechua[0])[scene.FLICKR[0]] == ["michi"]
    with pytest.raises(UsageError, match="quz"):
        choose_languages(found, ("quz",))


@pytest.mark.parametrize(
    ("written", "code"), [("jp", "ja"), ("swh_Latn", "sw"), ("zho_Hant", "zh-Hant"), ("tgl_Latn", "fil"), ("no", "no")]
)
def test_codes_as_sets_write_them(written, code):
    assert code_of(written, "here") == code


def test_two_images_of_one_name_are_not_guessed_between(tmp_path):
    scene.write_xm3600(tmp_path)
    name = "0002b8f2ed1d4af3.jpg"
    (tmp_path / "one").mkdir()
    shutil.copy(tmp_path / "images" / name, tmp_path / "one" / name)
    assert all_found(open_caption_set(f"xm3600:{tmp_path}")), "images/ is where they belong"
    (tmp_path / "images").rename(tmp_path / "other")
    with pytest.raises(DataError, match="two images"):
        open_caption_set(f"xm3600:{tmp_path}")


def test_a_set_without_some_images_counts_them(tmp_path):
    found = open_caption_set(f"xm3600:{scene.write_xm3600(tmp_path)}")
    left = found.without({"0002b8f2ed1d4af3"}, "image: missing")
    assert len(left.images) == 2
    assert "0002b8f2ed1d4af3" not in left.captions["sw"]
    assert left.left_out == {"image: missing": 1}
    assert left.of("sw").owners == (0, 0, 1, 1)
    assert hashlib.sha256(content(left.images[0])).digest() == hashlib.sha256(scene.jpeg(1)).digest()
