"""``kivuko search``, as a user meets it."""

from __future__ import annotations

import io
import itertools
import json
import sys
from pathlib import Path

import pytest
from command_checks import help_without_heavy_imports, refused
from PIL import Image

import kivuko
from kivuko.cli import preview

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))  # for tiny_model


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with "model", "teacher", "my.index", and "other", whose image side is another; read only."""
    from tiny_model import make_all, make_model

    place = make_all(tmp_path_factory.mktemp("search"))
    make_model(place / "other", place / "teacher", tower_seed=1)
    return place


@pytest.fixture
def search(run_here, place, monkeypatch):
    """Run ``kivuko search`` on the index."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: object, index: object = None) -> tuple[int, str, str]:
        return run_here("search", str(index or place / "my.index"), *map(str, words))

    return run


def found(result: tuple[int, str, str]) -> list[dict]:
    status, out, err = result
    assert status == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_help_has_examples_and_imports_little():
    text = help_without_heavy_imports("search")
    for example in (
        'kivuko search my.index "paka mweusi"',
        "--where",
        "--like 17",
        "--image photo.jpg",
        "--save results.png",
    ):
        assert example in text.split("Examples", 1)[1]


def test_a_table_and_json_tell_the_same(search):
    hits = found(search("paka", "mweusi", "--json", "-k", 5))
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    assert all(before["score"] >= after["score"] for before, after in itertools.pairwise(hits))
    said = {"rank", "id", "key", "caption", "score", "width", "height", "copies", "metadata", "unknown_words"}
    assert set(hits[0]) == said | {"close", "closeness"}
    status, out, err = search("paka mweusi", "-k", 5, "--anyway")
    assert (status, err) == (0, "")
    for hit in hits:
        line = next(line for line in out.splitlines() if hit["key"] in line)
        assert f"{hit['score']:.3f}" in line
        assert hit["caption"] is None or hit["caption"] in line
    assert "\033" not in out  # no terminal: no images, no colors


@pytest.mark.parametrize("least", [1.01, 0.0], ids=["far", "close"])
def test_a_query_that_nothing_fits_is_answered_with_a_line_and_few_images(search, monkeypatch, least):
    monkeypatch.setattr("kivuko.search.background.CLOSE", least)
    far = least > 1
    hits = found(search("paka mweusi", "--json", "-k", 5))
    assert [hit["close"] for hit in hits] == [not far] * 5  # all results are there, and say so
    assert len({hit["closeness"] for hit in hits}) == 1
    assert 0 <= hits[0]["closeness"] <= 1
    out = search("paka mweusi", "-k", 5)[1]
    assert ("No close match for 'paka mweusi'" in out) == far
    assert ("--anyway" in out) == far
    assert [hit["key"] in out for hit in hits] == [True] * 3 + [not far] * 2
    shown = search("paka mweusi", "-k", 5, "--anyway")[1]
    assert ("No close match" in shown) == far
    assert all(hit["key"] in shown for hit in hits)
    assert "--anyway" not in search("paka mweusi", "-k", 2)[1]  # nothing more to show


def test_searches_by_images_and_without_results_say_nothing_of_a_close_match(search, place, monkeypatch):
    monkeypatch.setattr("kivuko.search.background.CLOSE", 1.01)
    for words in (("--like", 3), ("--image", place / "photos" / "05.png"), ("paka", "--where", "license=none")):
        status, out, err = search(*words)
        assert (status, err) == (0, "")
        assert "close match" not in out
    assert {(hit["close"], hit["closeness"]) for hit in found(search("--like", 3, "--json"))} == {(None, None)}


def test_the_command_and_the_call_find_the_same(search, place):
    with kivuko.Searcher(place / "my.index") as searcher:
        by_text = searcher.search("paka", 7, ["license=by", "year>=2003"])
        by_image = searcher.search_image(place / "photos" / "05.png", 4)
        by_id = searcher.like(3, 4)
    for hits, words in (
        (by_text, ("paka", "-k", 7, "--where", "license=by", "--where", "year>=2003")),
        (by_image, ("--image", place / "photos" / "05.png", "-k", 4)),
        (by_id, ("--like", 3, "-k", 4)),
    ):
        lines = found(search(*words, "--json"))
        assert [line["id"] for line in lines] == [hit.item.id for hit in hits]
        assert [line["score"] for line in lines] == pytest.approx([hit.score for hit in hits], abs=1e-6)


def test_filters(search):
    hits = found(search("paka", "--json", "-k", 50, "--where", "license=by", "--where", "year>=2003"))
    assert sorted(hit["metadata"]["year"] for hit in hits) == [2003, 2006, 2009]
    assert found(search("paka", "--json", "--where", "year>3000")) == []
    status, out, _ = search("paka", "--where", "year>3000")
    assert status == 0
    assert "Nothing passes the filter." in out


def test_unknown_words_are_named_not_dropped(search, place):
    for index in (place / "my.index", place / "model"):
        if index.name == "my.index":
            assert found(search("paka, ጥቁር, ድመት?", "--json", "-k", 1))[0]["unknown_words"] == ["ጥቁር", "ድመት"]
            assert found(search("paka, mweusi?", "--json", "-k", 1))[0]["unknown_words"] == []
        assert "Not in the model's vocabulary: ጥቁር, ድመት\n" in search("paka, ጥቁር, ድመት ጥቁር", index=index)[1]
        assert "vocabulary" not in search("paka mweusi", index=index)[1]


def test_fields_that_no_image_has_are_told_before_the_model_is_loaded(search, monkeypatch):
    assert found(search("paka", "--json", "-k", 1, "--where", "foo!=bar", "--where", "foo="))  # nothing has it
    monkeypatch.setattr("kivuko.encoders.model.load_model", None)
    line = "no image has a field 'foo'; there are: key, caption, width, height, license, year."
    refused(search("paka", "--where", "license=by", "--where", "foo=bar"), "where 'foo=bar'", line)


def test_a_preview_that_cannot_be_is_refused_before_anything_is_opened(search, monkeypatch):
    monkeypatch.setattr("kivuko.search.searcher.Searcher", None)
    refused(search("paka", "--preview"), "--preview", "--save")


def test_more_like_this_and_search_by_a_file(search, place, tmp_path):
    mine = found(search("--image", place / "photos" / "05.png", "--json", "-k", 3))
    assert mine[0]["key"].endswith("05.png")
    like = found(search("--like", mine[0]["id"], "--json", "-k", 2))
    assert [hit["id"] for hit in like] == [hit["id"] for hit in mine[1:]]
    image = tmp_path / "out.png"
    status, out, err = search("--like", mine[0]["id"], "--save", image)
    assert status == 0, err
    assert f"results: {image}" in out
    with Image.open(image) as drawn:
        assert drawn.format == "PNG"
        assert drawn.width > 300
        below = drawn.convert("L").crop((330, 10 + 96, drawn.width, drawn.height))
        assert drawn.height == 10 + 96 + 30 + 10 + 10  # no room for a title that there is not
        assert below.getextrema()[0] < 100  # a caption


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_every_index_gives_nearly_the_same(search, place, tmp_path, kind, storage):
    import shutil

    shutil.copytree(place / "my.index", tmp_path / "g")
    exact = found(search("paka", "--json"))
    hits = found(search("paka", "--json", "--index", kind, "--storage", storage, index=tmp_path / "g"))
    assert {hit["key"]: hit["score"] for hit in hits} == pytest.approx(
        {hit["key"]: hit["score"] for hit in exact}, abs=0.05
    )


def test_bad_questions_get_one_line(search, place, tmp_path):
    note = tmp_path / "note.txt"
    note.write_text("no image")
    refused(search(), "QUERY is missing", "--like ID")
    refused(search("paka", "--like", 3), "more than one")
    refused(search("  "), "empty")
    refused(search("ጥቁር"), "vocabulary")
    refused(search("--like", 999), "my.index", "no image has the id 999")
    refused(search("--image", tmp_path / "none.png"), "none.png", "missing")
    refused(search("--image", note), "note.txt", "not an image")
    refused(search("paka", "--where", "license"), "where 'license'", "operators")
    refused(search("paka", "--index", "tree"), "'tree' is no kind of index", "hnsw")
    refused(search("paka", "--storage", "int4"), "'int4' is no storage", "int8")
    refused(search("paka", "--save", tmp_path / "x.gif"), "x.gif", ".png")
    refused(search("paka", "--image", tmp_path / "x.png"), "more than one", f"--save {tmp_path / 'x.png'}")
    refused(search("paka", "--where", "year>3000", "--save", tmp_path / "x.png"), "no results")
    refused(search("paka", "--model", tmp_path / "none"), "none")
    refused(search("paka", index=tmp_path / "none"), "no such index or model")
    refused(search("paka", index=tmp_path), "neither an index nor a model")
    refused(search("paka", "--model", place / "other", index=place / "model"), "is a model already")
    refused(search(index=place / "model"), "QUERY is missing")


def test_a_model_of_another_space_is_refused(search, place):
    refused(search("paka", "--model", place / "other"), "another image side", "index the images again")


def test_an_index_without_anything_published_is_refused(search, place, tmp_path):
    import shutil
    import sqlite3

    shutil.copytree(place / "my.index", tmp_path / "g")
    database = sqlite3.connect(tmp_path / "g" / "index.sqlite")
    database.execute("UPDATE meta SET value = '0' WHERE key = 'published'")
    database.commit()
    database.close()
    refused(search("paka", index=tmp_path / "g"), "not finished", "kivuko index")


@pytest.mark.parametrize(
    ("environment", "colors", "expected"),
    [
        ({"TERM": "xterm-kitty"}, "truecolor", "kitty"), ({"KITTY_WINDOW_ID": "1"}, None, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "truecolor", "iterm2"), ({"TERM_PROGRAM": "WezTerm"}, "256", "iterm2"),
        ({"TERM_PROGRAM": "iTerm.app", "TMUX": "/tmp/x"}, "truecolor", "blocks"),
        ({"TERM": "xterm-256color"}, "truecolor", "blocks"), ({"TERM": "dumb"}, None, None), ({}, "standard", None),
    ],
)  # fmt: skip
def test_the_terminal_tells_how_it_shows_images(environment, colors, expected):
    assert preview.protocol(environment, colors) == expected


def test_images_come_in_each_protocol():
    import base64
    import re

    images = [Image.new("RGB", (50, 30), color) for color in ("red", "blue")]
    for how in ("kitty", "iterm2"):
        sheet = preview.contact_sheet(images, how)
        sent = "".join(preview.rendered(sheet, how, 28))
        if how == "kitty":
            parts = re.findall(r"\033_G([^;]*);([^\033]*)\033\\", sent)
            assert parts[0][0].startswith("a=T,f=100")
            assert [options[-1] for options, _ in parts] == ["1"] * (len(parts) - 1) + ["0"]
            content = "".join(part for _, part in parts)
            assert all(len(part) <= 4096 for _, part in parts)
        else:
            content = re.fullmatch(r"\033\]1337;File=inline=1;[^:]*:(.*)\a\n", sent)[1]
        with Image.open(io.BytesIO(base64.b64decode(content))) as shown:
            assert shown.size == sheet.size
            assert shown.convert("RGB").getpixel((shown.width * 3 // 4, shown.height // 2)) == (0, 0, 255)
    lines = list(preview.rendered(preview.contact_sheet(images, "blocks"), "blocks", 28))
    assert len(lines) == 7
    assert all(line.count("▀") == 28 for line in lines)
    assert "38;2;255;0;0" in lines[3]
    assert "48;2;0;0;255" in lines[3]


def test_names_and_captions_cannot_drive_the_terminal():
    from kivuko.cli.search import _shown

    assert _shown("a\033[2Jb\n\u202ec") == "a [2Jb  c"
    assert len(_shown("x" * 500)) == 120
