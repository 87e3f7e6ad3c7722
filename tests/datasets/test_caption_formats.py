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


def message(caption_set, language, protocol=EVERY_CAPTION):
    """The captions of a language: image id to texts."""
    captions = caption_set.of(language, protocol)
    result: dict[str, list[str]] = {}
    for text, row in zip(captions.texts, captions.owners, strict=True):
        result.setdefault(caption_set.images[row].id, []).append(text)
    return result


def content(image):
    with image.path.open("rb") as stream:
        stream.seek(image.offset)
        return stream.read() if image.length is None else stream.read(image.length)


def has_every_image(caption_set):
    return [image.id for image in caption_set.images if image.path is None] == []


def test_crossmodal_3600_under_both_protocols(tmp_path):
    result = open_caption_set(f"xm3600:{scene.write_xm3600(tmp_path)}")
    assert (result.name, result.split, len(result.images)) == ("xm3600", "test", 3)
    assert result.languages == ("en", "sw", "bn", "mi", "quz")
    assert message(result, "sw")["0002b8f2ed1d4af3"] == ["paka mweusi", "paka juu ya ukuta"]
    assert message(result, "en")["0002b8f2ed1d4af3"] == ["a black cat", "A cat on a wall."], "as they were written"
    assert message(result, "sw", FIRST_CAPTION)["0002b8f2ed1d4af3"] == ["paka mweusi"]
    assert len(result.of("sw").texts) == 6
    assert len(result.of("sw", FIRST_CAPTION).texts) == 3
    assert result.per_image("bn") == 1
    assert result.per_image("mi") == pytest.approx(4 / 3)
    assert has_every_image(result)
    assert content(result.images[1]) == scene.jpeg(1)
    notes = " ".join(result.notes)
    assert "Bengali" in notes and "quy" in notes and "--captions first" in notes  # noqa: PT018
    assert result.files == (tmp_path / "captions.jsonl",)


def test_crossmodal_3600_by_its_file_with_images_elsewhere(tmp_path):
    scene.write_xm3600(tmp_path / "here")
    (tmp_path / "here" / "images").rename(tmp_path / "there")
    spec = f"xm3600:{tmp_path / 'here' / 'captions.jsonl'}"
    assert not has_every_image(open_caption_set(spec))
    assert has_every_image(open_caption_set(f"{spec},{tmp_path / 'there'}"))


def test_a_path_with_a_comma_is_a_path(tmp_path):
    assert has_every_image(open_caption_set(f"xm3600:{scene.write_xm3600(tmp_path / 'a,b')}"))


def test_xtd_with_its_relatives(tmp_path):
    result = open_caption_set(f"xtd:{scene.write_xtd(tmp_path)}")
    assert set(result.languages) == {"es", "zh", "de", "en", "ja"}
    assert message(result, "ja") == {scene.COCO[0]: ["猫"], scene.COCO[1]: ["犬"], scene.COCO[2]: ["魚"]}
    assert has_every_image(result)
    assert any("2 of the 3 images are of MSCOCO's training set" in note for note in result.notes)


def test_xtd_unpacked_into_one_folder(tmp_path):
    scene.write_xtd(tmp_path)
    for file in [*(tmp_path / "XTD10").iterdir(), *(tmp_path / "MIC").iterdir()]:
        shutil.move(file, tmp_path / file.name)
    result = open_caption_set(f"xtd:{tmp_path}")
    assert {"es", "zh", "de", "en"} <= set(result.languages)
    assert has_every_image(result)


def test_xtd_200_says_that_its_captions_are_translated(tmp_path):
    scene.write_lines(tmp_path / "test_image_names.txt", scene.COCO)
    scene.write_lines(tmp_path / "swh_Latn.txt", ["paka", "mbwa", "samaki"])
    result = open_caption_set(f"xtd:{tmp_path}")
    assert result.languages == ("sw",)
    assert any("machine translations" in note for note in result.notes)


def test_flickr30k_200(tmp_path):
    result = open_caption_set(f"flickr30k200:{scene.write_flickr30k200(tmp_path)}")
    assert {code.removesuffix("-Latn") for code in result.languages} == {"en", "quy", "sw", "zh", "zh-Hant"}
    texts = ("paka", "mbwa", "samaki")
    assert message(result, "sw") == {name: [text] for name, text in zip(scene.FLICKR, texts, strict=True)}
    assert has_every_image(result)
    assert any("machine translations" in note for note in result.notes)


@pytest.mark.parametrize(
    ("part", "split", "languages", "captions"),
    [
        ("", "test_2016_flickr", {"cs", "de", "en"}, 1),
        ("@test_2017_mscoco", "test_2017_mscoco", {"fr"}, 1),
        ("@task2", "task2/test_2016", {"de", "en"}, 5),
    ],
)
def test_multi30k_and_its_parts(tmp_path, part, split, languages, captions):
    result = open_caption_set(f"multi30k:{scene.write_multi30k(tmp_path)}{part}")
    assert result.split == split
    assert set(result.languages) == languages
    assert {result.per_image(code) for code in languages} == {captions}
    assert has_every_image(result)
    if captions == 5:
        assert message(result, "de")[scene.FLICKR[1]] == [f"de {number} 1" for number in range(1, 6)]


def test_multi30k_has_no_other_part(tmp_path):
    scene.write_multi30k(tmp_path)
    with pytest.raises(UsageError, match="test_2017_flickr"):
        open_caption_set(f"multi30k:{tmp_path}@nosuch")
    with pytest.raises(DataError, match="val"):
        open_caption_set(f"multi30k:{tmp_path}", split="validation")


def test_xflickrco_leaves_out_its_blank_caption_and_says_so(tmp_path):
    result = open_caption_set(f"xflickrco:{scene.write_xflickrco(tmp_path)}")
    assert set(result.languages) == {"de", "id"}
    assert len(result.images) == 3
    assert message(result, "de") == {scene.FLICKR[0]: ["Eine Katze."], scene.COCO[2]: ["Ein Fisch."]}
    assert result.left_out == {"blank caption": 1}
    assert has_every_image(result)


def test_wit_of_iglue_has_a_gallery_for_each_language(tmp_path):
    result = open_caption_set(f"wit:{scene.write_wit(tmp_path)}")
    assert result.gallery == "language"
    assert len(result.images) == 3
    assert has_every_image(result), "by wit_ix, and by the last part of the address, unquoted"
    assert sorted(map(len, message(result, "bg").values())) == [1, 2]
    assert len(message(result, "da")) == 2


def test_wit_of_google(tmp_path):
    result = open_caption_set(f"wit:{scene.write_wit_tsv(tmp_path)}")
    assert result.languages == ("sw",)
    assert [text for texts in message(result, "sw").values() for text in texts] == ["paka mweusi"]
    assert len(result.images) == 1, "an image without a description is searched by no language"
    assert result.left_out == {"blank caption": 1}


def test_cocos_own_way(tmp_path):
    result = open_caption_set(f"coco:{scene.write_coco(tmp_path / 'captions_val2014.json')}")
    assert result.languages == ("en",)
    assert message(result, "en")[scene.COCO[1]] == ["caption 0 of 1", "caption 1 of 1"]
    assert has_every_image(result)
    other = open_caption_set(f"coco:{tmp_path / 'captions_val2014.json'}", language="ja")
    assert other.languages == ("ja",)


@pytest.mark.parametrize(("split", "name"), [("test", scene.COCO[0]), ("validation", scene.COCO[1])])
def test_karpathys_splits(tmp_path, split, name):
    result = open_caption_set(f"coco:{scene.write_karpathy(tmp_path / 'dataset_coco.json')}", split=split)
    assert [image.id for image in result.images] == [name]
    assert len(result.of("en").texts) == 2
    assert has_every_image(result)


def test_a_list_of_images_with_their_captions(tmp_path):
    rows = [{"image": f"val2014/{name}", "caption": [f"one {name}", f"two {name}"]} for name in scene.COCO]
    (tmp_path / "coco_karpathy_test.json").write_text(json.dumps(rows), "utf-8")
    scene.write_images(tmp_path / "val2014", scene.COCO)
    result = open_caption_set(f"coco:{tmp_path / 'coco_karpathy_test.json'}")
    assert len(result.of("en").texts) == 6
    assert has_every_image(result)


def test_a_captions_file_of_ones_own(tmp_path):
    scene.write_images(tmp_path, ["a.jpg", "b.jpg"])
    rows = [("image", "caption", "language", "split"), ("a.jpg", "paka", "swh", "test"), ("a.jpg", "cat", "en", "test")]
    rows += [("b.jpg", "mbwa", "sw", ""), ("b.jpg", "dog", "en", "train")]
    for name in ("captions.tsv", "captions.csv"):
        result = open_caption_set(f"captions:{scene.write_table(tmp_path / name, rows)}")
        assert message(result, "sw") == {"a.jpg": ["paka"], "b.jpg": ["mbwa"]}
        assert message(result, "en") == {"a.jpg": ["cat"]}
        assert result.left_out == {"line of another split": 1}
        assert has_every_image(result)


def test_a_captions_file_without_headings_or_language(tmp_path):
    scene.write_images(tmp_path, ["a.jpg"])
    file = scene.write_table(tmp_path / "c.tsv", [("a.jpg", 'paka "mweusi')])
    assert message(open_caption_set(f"captions:{file}", language="sw"), "sw") == {"a.jpg": ['"paka ""mweusi"']}
    with pytest.raises(UsageError, match=r"c\.tsv:1.*-l sw"):
        open_caption_set(f"captions:{file}")


def test_json_lines_with_captions_by_language(tmp_path):
    scene.write_images(tmp_path / "photos", ["a.jpg"])
    rows = [{"image": "a.jpg", "caption": {"sw": ["paka", "paka mweusi"], "en": "a cat"}}]
    file = scene.write_json_lines(tmp_path / "captions.jsonl.gz", rows)
    result = open_caption_set(f"captions:{file},{tmp_path / 'photos'}")
    assert message(result, "sw") == {"a.jpg": ["paka", "paka mweusi"]}
    assert message(result, "en") == {"a.jpg": ["a cat"]}
    assert has_every_image(result)


def test_webdataset_shards_are_read_where_they_lie(tmp_path):
    one = {"000.jpg": scene.jpeg(0), "000.txt": "paka\npaka mweusi\n", "001.jpg": scene.jpeg(1), "001.sw.txt": "mbwa"}
    one["001.en.txt"] = "a dog"
    two = {"002.jpg": scene.jpeg(2), "002.json": {"caption": {"sw": "samaki", "en": ["fish", "a fish"]}}}
    two |= {"003.txt": "hakuna picha", "004.jpg": scene.jpeg(4), "004.json": {"width": 3}}
    scene.write_shard(tmp_path / "s-00.tar", one)
    scene.write_shard(tmp_path / "s-01.tar", two)
    for pattern in ("s-*.tar", "s-{00..01}.tar", ""):
        result = open_caption_set(f"webdataset:{tmp_path / pattern}", language="sw")
        assert [content(image) for image in result.images] == [scene.jpeg(number) for number in range(3)]
        assert message(result, "sw")["s-00.tar/000"] == ["paka", "paka mweusi"]
        assert message(result, "en") == {"s-00.tar/001": ["a dog"], "s-01.tar/002": ["fish", "a fish"]}
        assert result.left_out == {"sample without an image": 1, "sample without a caption": 1}
    with pytest.raises(UsageError, match=r"sample 000.*-l sw"):
        open_caption_set(f"webdataset:{tmp_path / 's-*.tar'}")


def test_languages_are_found_by_their_code_and_not_by_their_neighbors(tmp_path):
    result = open_caption_set(f"flickr30k200:{scene.write_flickr30k200(tmp_path)}")
    assert choose_languages(result, ()) == result.languages
    assert choose_languages(result, ("sw", "zh-Hant", "sw")) == ("sw", "zh-Hant")
    quechua = choose_languages(result, ("quy",))
    assert message(result, quechua[0])[scene.FLICKR[0]] == ["michi"]
    with pytest.raises(UsageError, match="quz"):
        choose_languages(result, ("quz",))


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
    assert has_every_image(open_caption_set(f"xm3600:{tmp_path}")), "images/ is where they belong"
    (tmp_path / "images").rename(tmp_path / "other")
    with pytest.raises(DataError, match="two images"):
        open_caption_set(f"xm3600:{tmp_path}")


def test_a_set_without_some_images_counts_them(tmp_path):
    result = open_caption_set(f"xm3600:{scene.write_xm3600(tmp_path)}")
    left = result.without({"0002b8f2ed1d4af3"}, "image: missing")
    assert len(left.images) == 2
    assert "0002b8f2ed1d4af3" not in left.captions["sw"]
    assert left.left_out == {"image: missing": 1}
    assert left.of("sw").owners == (0, 0, 1, 1)
    assert hashlib.sha256(content(left.images[0])).digest() == hashlib.sha256(scene.jpeg(1)).digest()


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1" * 5000, "[" * 50_000 + "]" * 50_000])
def test_a_json_field_that_is_not_needed_refuses_nothing(tmp_path, value):
    lines = [f'{{"image": "a.jpg", "caption": "paka", "width": {value}}}']
    result = open_caption_set(f"captions:{scene.write_lines(tmp_path / 'c.jsonl', lines)}", language="sw")
    assert result.captions == {"sw": {"a.jpg": ("paka",)}}
    images, annotations = '[{"file_name": "a.jpg", "id": 1}]', '[{"image_id": 1, "caption": "paka"}]'
    coco = f'{{"info": {value}, "images": {images}, "annotations": {annotations}}}'
    result = open_caption_set(f"coco:{scene.write_lines(tmp_path / 'c.json', [coco])}", language="sw")
    assert result.captions == {"sw": {"a.jpg": ("paka",)}}


def test_captions_whose_lines_end_in_lone_returns(tmp_path):
    (tmp_path / "c.tsv").write_bytes(b"image\tcaption\ra.jpg\tpaka\rb.jpg\tmbwa\r")
    (tmp_path / "c.csv").write_bytes(b"image,caption\ra.jpg,paka\rb.jpg,mbwa\r")
    for name in ("c.tsv", "c.csv"):
        result = open_caption_set(f"captions:{tmp_path / name}", language="sw")
        assert result.captions == {"sw": {"a.jpg": ("paka",), "b.jpg": ("mbwa",)}}


def test_line_ends_within_quoted_captions(tmp_path):
    content = 'image,caption\na.jpg,"paka\nmweusi, ""mdogo"""\nb.jpg,"mbwa\r\nmweupe\r!"\n'
    (tmp_path / "c.csv").write_bytes(content.encode())
    result = open_caption_set(f"captions:{tmp_path / 'c.csv'}", language="sw")
    assert result.captions == {"sw": {"a.jpg": ('paka mweusi, "mdogo"',), "b.jpg": ("mbwa mweupe !",)}}
