"""A model with its index: they must belong together, and an image finds itself."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import make_all, make_model

import kivuko
from kivuko.encoders.alignment import Aligner
from kivuko.encoders.model import encode_texts, load_encoder, read_token_mean
from kivuko.encoders.teacher import load_teacher
from kivuko.errors import ImageIndexError, ModelError, UsageError
from kivuko.search.image_index import ImageIndex
from kivuko.search.searcher import Searcher


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with "model", "teacher", "photos" and "my.index"; read only."""
    return make_all(tmp_path_factory.mktemp("searcher"))


@pytest.fixture(scope="module")
def searcher(place):
    with Searcher(place / "my.index") as opened:
        yield opened


def test_words_find_the_images_whose_vectors_are_nearest(searcher):
    query = encode_texts(searcher.model.encoder, ["paka mweusi"])[0]
    ids, vectors = next(searcher.index.store.vectors())
    order = np.argsort(-(vectors @ query), kind="stable")
    hits, again = searcher.search(["paka  mweusi\u200b", "paka mweusi"], 5)
    assert [hit.item.id for hit in hits] == ids[order[:5]].tolist()
    assert [hit.score for hit in hits] == pytest.approx((vectors @ query)[order[:5]].tolist(), abs=1e-5)
    assert hits == again  # cleaned as the bitext was
    assert searcher.search([], 5) == []
    assert all(hit.item.metadata["license"] == "by" for hit in searcher.search("paka", 9, "license=by"))


def test_few_texts_are_encoded_as_many_are(searcher, monkeypatch):
    texts = ["paka", "mweusi anakula", "काळी मांजर", "paka anakula samaki"]
    few = searcher.encode(texts)
    monkeypatch.setattr("kivuko.search.encoding._FEW", 0)
    np.testing.assert_allclose(few, searcher.encode(texts), atol=1e-6)


def test_closeness_compares_the_best_hit_with_random_texts_over_the_whole_index(searcher, place, monkeypatch):
    from kivuko.search.background import random_texts

    vectors = next(searcher.index.store.vectors())[1]
    random = (encode_texts(searcher.model.encoder, random_texts(searcher.model.encoder)) @ vectors.T).max(axis=1)
    assert len(random) == 256
    for hits in (
        searcher.search("paka mweusi", 1),
        searcher.search("काळी", 5),
        searcher.search("paka", 2, "license=by"),
    ):
        closeness = searcher.closeness(hits)
        lower = (random < hits[0].score).mean()
        assert closeness.share == pytest.approx(lower, abs=3 / 256)  # of equal ones, some may be lower by rounding
        assert closeness.close == (closeness.share >= 0.6)
    assert searcher.closeness([]) is None
    monkeypatch.setattr("kivuko.search.background.backend_tokenizer", lambda model: None)
    with Searcher(place / "my.index") as opened:
        assert opened.closeness(opened.search("paka")) is None


def test_loading_prepares_closeness_so_that_no_search_waits_for_it(place, tmp_path):
    shutil.copytree(place / "my.index", tmp_path / "my.index")
    (tmp_path / "my.index" / "background.json").unlink(missing_ok=True)
    with Searcher(tmp_path / "my.index") as opened:
        opened.load()
        assert (tmp_path / "my.index" / "background.json").is_file()


def test_an_image_finds_itself_also_turned_by_its_camera_and_with_transparency(searcher, place):
    file = place / "photos" / "05.png"
    with Image.open(file) as image:
        hit = searcher.index.search(searcher.encode_image(image)[None], 1)[0][0]
        assert hit.item.key.endswith("05.png")
        assert hit.score == pytest.approx(1, abs=1e-3)  # float16 at rest
        exif = Image.Exif()
        exif[0x0112] = 6
        turned = image.convert("RGB").rotate(90, expand=True)
        turned.info["exif"] = exif.tobytes()
        turned.getexif()[0x0112] = 6
        assert searcher.index.search(searcher.encode_image(turned)[None], 1)[0][0].item.id == hit.item.id
        assert searcher.encode_image(image.convert("RGBA")) == pytest.approx(searcher.encode_image(image), abs=1e-5)


@pytest.mark.parametrize(
    ("text", "message"), [("", "empty"), (" \u200b ", "empty"), ("\ud800", "UTF-8"), ("ጥቁር", "vocabulary")]
)
def test_a_query_without_a_known_word_is_refused(searcher, text, message):
    with pytest.raises(UsageError, match=message):
        searcher.search(["paka", text], 3)


def test_alignment_is_that_of_training(searcher, place):
    """The model's own teacher, its mean token taken from both sides."""
    teacher = load_teacher(place / "teacher")
    center = read_token_mean(place / "model", teacher.fingerprint).vector
    assert center is not None
    expected = Aligner(load_encoder(place / "model"), teacher, center).align("paka mweusi", "black cat")
    alignment = searcher.alignment(" paka mweusi ", "black cat")
    assert alignment.centered
    assert alignment.words == ("paka", "mweusi")
    np.testing.assert_allclose(alignment.plan, expected.plan, atol=1e-7)
    with pytest.raises(UsageError, match="empty"):
        searcher.alignment("paka", " ")
    assert searcher.readings("paka") == {}  # this model reads what is written


def test_another_image_side_is_refused_and_another_text_side_is_not(place, tmp_path):
    make_model(tmp_path / "other-tower", place / "teacher", tower_seed=1)
    with pytest.raises(ModelError, match="another image side"):
        Searcher(place / "my.index", tmp_path / "other-tower").search("paka")
    make_model(tmp_path / "other-words", place / "teacher", seed=1)
    with Searcher(place / "my.index", tmp_path / "other-words") as opened:
        assert opened.search(["paka"], 3)


def test_index_and_model_may_move_together(place, tmp_path):
    shutil.copytree(place, tmp_path / "moved")
    (tmp_path / "moved" / "model").rename(tmp_path / "moved" / "elsewhere")
    shutil.copytree(place / "my.index", tmp_path / "alone" / "my.index")
    with Searcher(tmp_path / "moved" / "my.index") as opened:  # still where it was
        assert opened.folder == place / "model"
    for folder in ("moved", "alone"):
        store = tmp_path / folder / "my.index"
        _forget_the_place(store)
        with pytest.raises(ModelError, match="no longer at"):
            Searcher(store).load()
    (tmp_path / "moved" / "elsewhere").rename(tmp_path / "moved" / "model")
    with Searcher(tmp_path / "moved" / "my.index") as opened:
        assert opened.folder == tmp_path / "moved" / "model"


def _forget_the_place(index, model="/nowhere/model") -> None:
    import sqlite3

    database = sqlite3.connect(index / "index.sqlite")
    database.execute("UPDATE meta SET value = ? WHERE key = 'model'", (model,))
    database.commit()
    database.close()


def test_models_of_the_hub_are_taken_from_its_cache_and_never_looked_up(place, tmp_path, monkeypatch):
    lookups = []

    def refuse(host, *_, **__):
        lookups.append(host)
        raise OSError("no network")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    shutil.copytree(place / "my.index", tmp_path / "my.index")
    _forget_the_place(tmp_path / "my.index", "nobody/model")
    for name in ("model", "teacher"):
        with Searcher(tmp_path / "my.index") as opened, pytest.raises(ModelError, match=f"hf download nobody/{name}"):
            opened.alignment("paka", "black cat")
        cached = tmp_path / "hub" / f"models--nobody--{name}"
        shutil.copytree(place / name, cached / "snapshots" / "abc")
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text("abc")
        if (about := cached / "snapshots" / "abc" / "kivuko.json").is_file():
            about.write_text(about.read_text("utf-8").replace(str(place / "teacher"), "nobody/teacher"), "utf-8")
    with Searcher(tmp_path / "my.index") as opened:
        assert opened.search("paka", 1)
        assert opened.alignment("paka", "black cat").words == ("paka",)
    assert lookups == []


def test_a_path_that_is_no_index_is_refused(tmp_path, place):
    with pytest.raises(ImageIndexError, match="no such index"):
        Searcher(tmp_path / "none")
    with pytest.raises(ImageIndexError, match="neither an index nor a model"):
        Searcher(place / "photos")
    with pytest.raises(ImageIndexError, match="not an index"):
        ImageIndex(place / "model")


def test_an_index_of_an_earlier_format_is_refused_until_it_is_rebuilt(place, tmp_path):
    (tmp_path / "old.index").mkdir()
    (tmp_path / "old.index" / "gallery.sqlite").touch()
    with pytest.raises(ImageIndexError, match=r"another version.*--rebuild"):
        Searcher(tmp_path / "old.index")
    with pytest.raises(ImageIndexError, match=r"another version.*--rebuild"):
        kivuko.build_index(place / "model", place / "photos", tmp_path / "old.index", workers=1)
    with kivuko.build_index(
        place / "model", place / "photos", tmp_path / "old.index", workers=1, rebuild=True
    ) as index:
        assert len(index) == index.summary.images == 12
    assert not (tmp_path / "old.index" / "gallery.sqlite").exists()


def test_a_model_of_numbers_that_are_not_finite_is_reported(place, monkeypatch):
    with Searcher(place / "my.index") as opened:
        monkeypatch.setattr(
            "kivuko.search.encoding._encoded", lambda _m, texts: torch.full((len(texts), 12), torch.nan).numpy()
        )
        with pytest.raises(ModelError, match="NaN"):
            opened.search(["paka"], 3)


def test_a_model_stored_in_half_precision_indexes_and_searches(place, tmp_path):
    from kivuko.cli.index import command

    load_encoder(place / "model").half().save(str(tmp_path / "half"), create_model_card=False)
    command.main(
        [str(tmp_path / "half"), str(place / "photos"), "--out", str(tmp_path / "half.index"), "--workers", "1"],
        standalone_mode=False,
    )
    with Searcher(tmp_path / "half.index") as opened, Image.open(place / "photos" / "05.png") as image:
        assert {weight.dtype for weight in opened.model.encoder.parameters()} == {torch.float32}
        assert opened.index.search(opened.encode_image(image)[None], 1)[0][0].item.key == "05.png"
        assert opened.search(["paka"], 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda searcher: searcher.search(None),
        lambda searcher: searcher.search([None]),
        lambda searcher: searcher.search("paka", where=[3]),
        lambda searcher: searcher.search("paka", where=3),
        lambda searcher: searcher.search("paka", k=None),
        lambda searcher: searcher.search_image(None),
        lambda searcher: searcher.index.search(np.zeros((1, searcher.model.dim), np.float32), where=b"width>3"),
        lambda searcher: Searcher(None),
        lambda searcher: ImageIndex(3),
        lambda searcher: kivuko.build_index(searcher.model, None, "x.index"),
        lambda searcher: kivuko.build_index(searcher.model, ["photos", None], "x.index"),
        lambda searcher: kivuko.build_index(searcher.model, "photos", None),
        lambda searcher: kivuko.build_index(None, "photos", "x.index"),
        lambda searcher: kivuko.build_index(searcher.model, "photos", "x.index", workers="2"),
    ],
)
def test_wrong_types_are_refused_in_one_line(searcher, place, monkeypatch, call):
    monkeypatch.chdir(place)
    with pytest.raises(UsageError) as refused:
        call(searcher)
    assert "\n" not in str(refused.value)
    assert not (place / "x.index").exists()


def test_closed_ones_refuse_in_one_line(place):
    searcher = Searcher(place / "my.index").load()
    index = searcher.index
    vector = index.store.vector(1)
    searcher.close()
    for call in (
        lambda: searcher.search("paka"),
        lambda: searcher.like(1),
        lambda: searcher.search_image(Image.new("RGB", (9, 9))),
        lambda: index.search(vector[None]),
        lambda: index.like(1),
        lambda: index.store.items([1]),
        index.refresh,
    ):
        with pytest.raises(ImageIndexError, match="closed"):
            call()


def test_they_show_what_they_hold(place):
    with Searcher(place / "my.index") as searcher:
        assert repr(searcher) == f"Searcher('{place / 'my.index'}')"
        assert repr(searcher.index).startswith(f"ImageIndex('{place / 'my.index'}', ")
        assert repr(searcher.index).endswith(" images, generation 1)")
    assert repr(searcher) == f"Searcher('{place / 'my.index'}', closed)"
    with Searcher(place / "my.index", place / "model") as searcher:
        assert repr(searcher) == f"Searcher('{place / 'my.index'}', model='{place / 'model'}')"
