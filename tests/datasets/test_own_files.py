"""A user's captions file is read alike for evaluation and for an index, whatever tool has written it."""

from __future__ import annotations

import json
import unicodedata

import pytest

import caption_scene as scene
from kivuko.datasets.captions.caption_set import ImageFolder
from kivuko.datasets.spec import evaluation_captions, open_dataset
from kivuko.errors import DataError
from kivuko.search.items import Work
from kivuko.search.sources import open_dataset_source, open_source


def evaluated(file):
    """The captions that evaluation reads: name of the image's file to texts; None for a missing file."""
    result = open_dataset(f"captions:{file}", languages=["sw"])
    own = result.captions["sw"]
    return {one.path and one.path.relative_to(file.parent).as_posix(): own.get(one.id, ()) for one in result.images}


def indexed(file):
    """What an index reads: key to (caption, metadata), and a reason for what is skipped."""
    return {one.key: (one.caption, dict(one.metadata)) if isinstance(one, Work) else one.reason
            for one in open_source(file)}  # fmt: skip


def coco(folder, images, annotations):
    content = {"images": images, "annotations": [{"id": n, **one} for n, one in enumerate(annotations)]}
    (folder / "c.json").write_text(json.dumps(content), "utf-8")
    return f"coco:{folder / 'c.json'}"


CAT, DOG = ("paka, mweusi",), ("mbwa",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.csv", 'image, caption\na.jpg, "paka, mweusi"\nb.jpg, mbwa\n'),  # a space after each comma
        ("c.csv", '\ufeff"image","caption"\r\n"a.jpg","paka, mweusi"\r\n"b.jpg","mbwa"\r\n'),
        ("c.csv", '\n\nimage,caption,,\na.jpg,"paka, mweusi",,\nb.jpg,mbwa,\n'),
        ("c.csv", 'image,caption\na.jpg ,"paka, mweusi"\n b.jpg,mbwa\n'),
        ("c.tsv", '"image"\t"caption"\n"a.jpg"\t"paka, mweusi"\n"b.jpg"\t"mbwa"\n'),
        ("c.jsonl", '{"Image": "a.jpg", "Caption": "paka, mweusi"}\n{"FILE_NAME": "b.jpg", "Text": "mbwa"}\n'),
    ],
)
def test_tables_and_objects_as_tools_write_them(tmp_path, name, content):
    scene.write_images(tmp_path, ["a.jpg", "b.jpg"])
    (tmp_path / name).write_text(content, "utf-8", newline="")
    assert evaluated(tmp_path / name) == {"a.jpg": CAT, "b.jpg": DOG}
    assert {key: value[0] for key, value in indexed(tmp_path / name).items()} == {"a.jpg": CAT[0], "b.jpg": DOG[0]}


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("c.csv", "a.jpg,paka, mweusi", "3 cells for 2 columns"),
        ("c.csv", r'a.jpg,"paka \"mdogo\", mweusi"', "a quotation mark that is never closed, or one within a cell"),
        ("c.tsv", "a.jpg\tpaka\tmweusi", "3 cells for 2 columns"),
    ],
)
def test_a_caption_that_would_be_cut_is_refused(tmp_path, name, row, message):
    scene.write_images(tmp_path, ["a.jpg", "b.jpg"])
    separator = "," if name == "c.csv" else "\t"
    (tmp_path / name).write_text(f"image{separator}caption\n{row}\nb.jpg{separator}mbwa\n", "utf-8")
    with pytest.raises(DataError, match=f"{name}:2: {message}"):
        evaluated(tmp_path / name)
    assert indexed(tmp_path / name) == {f"{name}:2": "line not understood", "b.jpg": ("mbwa", {})}


def test_several_captions_in_a_row(tmp_path):
    scene.write_images(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    rows = [
        ("file_name", "caption_0", "caption_1", "year"), ("a.jpg", "paka", "paka mweusi", "1998"),
        ("b.jpg", "", "mbwa", ""),
    ]  # fmt: skip
    file = scene.write_table(tmp_path / "metadata.csv", rows)
    assert evaluated(file) == {"a.jpg": ("paka", "paka mweusi"), "b.jpg": ("mbwa",)}
    assert indexed(file) == {"a.jpg": ("paka", {"year": 1998}), "b.jpg": ("mbwa", {"year": ""})}
    # As pandas and NumPy write lists, and what only begins like one.
    cells = [json.dumps(["paka", 'paka "mdogo"']), """['mbwa' "mbwa wa d'Arc"]""", "[paka] na ['mbwa'"]
    rows = [("image", "caption"), *zip(("a.jpg", "b.jpg", "c.jpg"), cells, strict=True)]
    file = scene.write_table(tmp_path / "c.csv", rows)
    assert evaluated(file) == {
        "a.jpg": ("paka", 'paka "mdogo"'), "b.jpg": ("mbwa", "mbwa wa d'Arc"), "c.jpg": ("[paka] na ['mbwa'",),
    }  # fmt: skip
    assert indexed(file)["b.jpg"] == ("mbwa", {})


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "c.csv").write_text("image,caption,Caption\na.jpg,paka,paka mweusi\n")
    for read in (evaluated, indexed):
        with pytest.raises(DataError, match=r"c\.csv:1: two columns are named caption; .*caption_1"):
            read(tmp_path / "c.csv")


def test_a_header_without_a_column_for_the_image_is_not_a_row(tmp_path):
    (tmp_path / "c.tsv").write_text("image_id\tcaptions\na.jpg\tpaka\n")
    for read in (evaluated, indexed):
        with pytest.raises(DataError, match=r"c\.tsv:1: no column named image"):
            read(tmp_path / "c.tsv")


def test_a_caption_that_is_missing_is_counted_and_a_number_is_none(tmp_path):
    scene.write_images(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    file = scene.write_json_lines(
        tmp_path / "c.jsonl",
        [{"image": "a.jpg", "caption": None}, {"image": "b.jpg", "caption": float("nan")},
         {"image": "c.jpg", "caption": "null"}],
    )  # fmt: skip
    assert evaluated(file) == {"a.jpg": (), "b.jpg": (), "c.jpg": ("null",)}
    assert open_dataset(f"captions:{file}", languages=["sw"]).left_out == {"blank caption": 2}
    assert indexed(file) == {"a.jpg": (None, {}), "b.jpg": (None, {}), "c.jpg": ("null", {})}
    scene.write_json_lines(file, [{"image": "a.jpg", "caption": 1998}])
    assert indexed(file) == {"a.jpg": (None, {}), "c.jsonl:1": "caption is no text"}
    with pytest.raises(DataError, match=r"c\.jsonl:1: a caption of 'a\.jpg' in sw is no text but 1998"):
        evaluated(file)


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café.jpg") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("stored", "named"),
    [
        ("x/a.jpg", "x\\a.jpg"), ("x/a.jpg", ".\\x\\a.jpg"), (COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED),
        ("a.JPG", "a.jpg"), ("a.jpg", "a.JPG"), ("x/a.jpg", " x/a.jpg"),
    ],
)  # fmt: skip
def test_a_path_as_another_system_writes_it(tmp_path, stored, named):
    scene.write_images(tmp_path, [stored])
    file = scene.write_json_lines(tmp_path / "c.jsonl", [{"image": named, "caption": "paka"}])
    assert evaluated(file) == {stored: ("paka",)}
    assert indexed(file) == {stored: ("paka", {})}


def test_an_image_of_another_folder_is_not_taken_for_a_missing_one(tmp_path):
    scene.write_images(tmp_path, ["test/1.jpg", "photos/x/2.jpg"])
    file = scene.write_table(
        tmp_path / "c.csv", [("image", "caption"), ("train/1.jpg", "paka"), ("test/1.jpg", "mbwa")]
    )
    assert evaluated(file) == {None: ("paka",), "test/1.jpg": ("mbwa",)}
    images = [{"id": 1, "file_name": "train/1.jpg"}, {"id": 2, "file_name": "test/1.jpg"}]
    spec = coco(tmp_path, images, [{"image_id": 1, "caption": "a cat"}, {"image_id": 2, "caption": "a dog"}])
    skip, work = open_dataset_source(spec)
    assert (skip.key, skip.reason, work.key, work.caption) == ("train/1.jpg", "missing", "test/1.jpg", "a dog")
    folder = ImageFolder(tmp_path)
    for name in ("2.jpg", "x/2.jpg", "/home/of/someone/photos/x/2.jpg", "C:\\photos\\x\\2.jpg"):
        assert folder.find(name) == tmp_path / "photos" / "x" / "2.jpg"
    for name in ("y/2.jpg", "photos/2.jpg", "photos/y/2.jpg"):
        assert folder.find(name) is None
    assert ImageFolder(tmp_path / "test").find("val2014/1.jpg") == tmp_path / "test" / "1.jpg"
    scene.write_images(tmp_path, ["images/3.jpg"])
    assert ImageFolder(tmp_path).find("images\\7/3.jpg") == tmp_path / "images" / "3.jpg"


def test_ids_of_cocos_images(tmp_path):
    scene.write_images(tmp_path, ["a.jpg", "b.jpg"])
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": "2", "file_name": "b.jpg"}]
    captions = [{"image_id": 2, "caption": "a dog"}, {"image_id": 1.0, "caption": "a cat"}]
    others = [{"image_id": 1, "bbox": [1, 2, 3, 4]}, {"image_id": 2, "caption": None}]
    result = open_dataset(coco(tmp_path, images, [*captions, *others]))
    assert result.captions["en"] == {"a.jpg": ("a cat",), "b.jpg": ("a dog",)}
    assert result.left_out == {"annotation without a caption": 1, "blank caption": 1}
    images[1]["id"] = 1
    with pytest.raises(DataError, match=r"images entry 1: the id 1 is of two images, a\.jpg and b\.jpg"):
        open_dataset(coco(tmp_path, images, captions))


def test_karpathys_images_of_one_name_in_two_folders(tmp_path):
    scene.write_images(tmp_path, ["x/1.jpg", "y/1.jpg"])
    rows = [
        {"filename": "1.jpg", "filepath": folder, "split": "test", "sentences": [{"raw": text}]}
        for folder, text in (("x", "a cat"), ("y", "a dog"), ("x", "a black cat"))
    ]
    (tmp_path / "k.json").write_text(json.dumps({"images": rows}))
    result = open_dataset(f"coco:{tmp_path / 'k.json'}")
    assert {image.id: image.path for image in result.images} == {
        "1.jpg": tmp_path / "x" / "1.jpg", "y/1.jpg": tmp_path / "y" / "1.jpg",
    }  # fmt: skip
    assert result.captions["en"] == {"1.jpg": ("a cat", "a black cat"), "y/1.jpg": ("a dog",)}


def test_a_captions_file_in_a_folder_of_images_is_named(tmp_path):
    scene.write_images(tmp_path / "f", ["a.jpg"])
    scene.write_json_lines(tmp_path / "f" / "metadata.jsonl", [{"file_name": "a.jpg", "text": "paka"}])
    assert indexed(tmp_path / "f") == {"a.jpg": (None, {}), "metadata.jsonl": "captions file"}
    assert indexed(tmp_path / "f" / "metadata.jsonl") == {"a.jpg": ("paka", {})}


@pytest.mark.parametrize("name", ["c.csv", "c.tsv", "c.jsonl", "c.csv.gz"])
def test_captions_to_look_for_in_bitext_are_those_of_the_file(tmp_path, name):
    rows = [("a.jpg", "paka, mweusi sana"), ("b.jpg", "mbwa anakimbia")]
    if name == "c.jsonl":
        scene.write_json_lines(tmp_path / name, [{"filepath": image, "title": text} for image, text in rows])
    elif name == "c.csv.gz":
        scene.write_lines(tmp_path / name, ["filepath,title", 'a.jpg,"paka, mweusi sana"', "b.jpg,mbwa anakimbia"])
    else:
        scene.write_table(tmp_path / name, [("filepath", "title"), *rows])
    assert list(evaluation_captions([str(tmp_path / name)], "sw")) == [text for _, text in rows]
