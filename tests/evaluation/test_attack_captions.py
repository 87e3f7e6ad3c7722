"""Attacks on an image-caption set, by the call and by the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kivuko
from kivuko.encoders.model import About, Model
from kivuko.errors import UsageError
from kivuko.evaluation.attack.run import attack
from kivuko.evaluation.records import read_records

NAMES = {"sw": ["paka mweusi", "mbwa mdogo", "gari la moto", "nyumba kubwa", "moyo mwekundu", "uso wa machozi"],
         "de": ["schwarze Katze", "kleiner Hund", "Feuerwehr", "großes Haus", "rotes Herz", "Gesicht mit Tränen"],
         "en": ["black cat", "small dog", "fire engine", "big house", "red heart", "face with tears"]}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six images with captions in three languages, as one file."""
    folder = tmp_path_factory.mktemp("photos")
    rows = []
    for number in range(6):
        cells = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(cells).resize((64, 64), Image.Resampling.NEAREST).save(folder / f"{number}.png")
        rows += [f"{number}.png\t{code}\t{texts[number]}\n" for code, texts in NAMES.items()]
    file = folder / "photos.tsv"
    file.write_text("image\tlanguage\tcaption\n" + "".join(rows), encoding="utf-8")
    return f"captions:{file},{folder}"


@pytest.fixture(scope="module")
def model():
    """A model with random vectors for text, trained on Swahili alone by its own account."""
    import torch

    from kivuko.datasets.emoji.sources import shipped_image_tower
    from kivuko.encoders.image_tower import load_image_tower
    from kivuko.encoders.model import assemble
    from kivuko.encoders.student import StaticStudent
    from kivuko.encoders.vocabulary import train_vocabulary

    torch.manual_seed(0)
    student = StaticStudent(train_vocabulary([text for texts in NAMES.values() for text in texts], 200), 384)
    about = About("all-MiniLM-L6-v2", "", "static", "mse", 0, {"sw": 6})
    return Model(assemble(student, load_image_tower(shipped_image_tower(), 384)), "model", about=about)


def test_texts_and_the_pixels_of_the_captions_images_are_attacked(model, photos, tmp_path):
    attacks = ["typo:edits=2", "pgd:eps=8/255,steps=2", "greedy:candidates=4", "sga:steps=2,candidates=4"]
    report = attack(model, photos, attacks, languages=["sw", "de"], images=tmp_path / "images", progress=False)
    assert {one.dataset for one in report.records} == {"captions/every-caption/text-to-image"}
    assert {one.language for one in report.records} >= {"sw", "de", "low-resource", "high-resource"}
    assert len(report.examples) == 4 * 2 * 6
    moved = [one for one in report.examples if one.linf]
    assert moved
    assert all(one.linf <= 8 / 255 + 1e-7 for one in moved)
    assert len(list((tmp_path / "images").rglob("*.png"))) == 2 * 2 * 6
    clean = {one.query_id: one.rank_before for one in report.examples if one.language == "sw"}
    mean = next(one for one in report.records if (one.attack, one.language, one.measure) == (None, "sw", "MAP"))
    assert mean.value == pytest.approx(np.mean([1 / rank for rank in clean.values()]))
    assert "typo:edits=2" in report.summary()
    assert max(map(len, report.summary().splitlines()[:20])) <= 80


def test_by_default_the_models_own_languages_are_attacked(model, photos):
    report = attack(model, photos, "typo", progress=False)
    assert {one.language for one in report.records} == {"sw", "low-resource"}


def test_images_may_be_crafted_against_the_english_captions(model, photos, monkeypatch):
    report = attack(model, photos, ["pgd:eps=8/255,steps=2"], languages=["sw", "de"], crafted="english", progress=False)
    by_image = {}
    for one in report.examples:
        by_image.setdefault(one.image_id, set()).add((one.linf, one.l2))
    assert all(len(changes) == 1 for changes in by_image.values())


@pytest.mark.parametrize(
    ("name", "message"), [("code-switch", "training bitext"), ("universal-text", "attack fewer queries")]
)
def test_what_a_caption_set_lacks_is_one_line(model, photos, name, message):
    with pytest.raises(UsageError, match=message):
        attack(model, photos, name, progress=False)


def test_universal_attacks_learn_on_captions_that_are_not_attacked(model, photos):
    report = attack(model, photos, ["universal-text", "universal:eps=8/255,epochs=1"], queries=2, progress=False)
    assert len(report.examples) == 2 * 2


def test_a_data_set_without_images_is_refused(model, tmp_path):
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"_id": "1", "text": "x"}) + "\n")
    with pytest.raises(UsageError):
        attack(model, "nothing-known", "typo", progress=False)


def test_the_command_and_the_call_give_the_same_records(model, photos, tmp_path, monkeypatch):
    from kivuko.cli.main import main

    monkeypatch.setattr("kivuko.encoders.model.load_model", lambda *_, **__: model)
    (tmp_path / "model").mkdir()
    words = ["--attack", "typo:edits=1|2", "pgd:steps=2", "--dataset", photos, "--queries", "4", "-l", "sw", "de"]
    monkeypatch.setattr(sys, "argv", ["kivuko", "attack", str(tmp_path / "model"), *words])
    main()
    file = next((tmp_path / "model" / "evaluation").glob("attacks-*.jsonl"))
    report = attack(model, photos, ["typo:edits=1|2", "pgd:steps=2"], queries=4, languages=["sw", "de"], progress=False)
    header, records = read_records(file)
    assert records == report.records
    assert header.protocol == json.loads(json.dumps(report.header.protocol))
    assert header.command.startswith("kivuko attack")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"attacks": [3]}, "attacks=3: give attacks as text, such as 'typo:edits=2'"),
        ({"attacks": 3}, "attacks=3: give attacks as text"),
        ({"attacks": {"typo": 2}.items()}, "attacks=.'typo', 2.: "),
        ({"queries": 1.5}, "queries=1.5: choose a whole number of at least 1"),
        ({"queries": 0}, "queries=0"), ({"queries": True}, "queries=True"), ({"seed": -1}, "seed=-1"),
        ({"seed": "3"}, "seed='3'"), ({"examples": 3}, "examples=3: give a path"),
        ({"records": 3}, "records=3: give a path"),
    ],
)  # fmt: skip
def test_arguments_of_a_wrong_type_or_range_are_one_line(given, message):
    with pytest.raises(UsageError, match=message) as error:
        attack("no-model", "emoji", **({"attacks": ["typo"]} | given))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("late", "options", "message"),
    [
        ("code-switch:edits=1", {}, "code-switch needs the words of the training bitext"),
        ("universal:eps=1/255", {}, "universal attacks learn on captions"),
        ("universal-text:edits=1", {}, "universal attacks learn on captions"),
        ("pgd:eps=1/255", {"crafted": "english"}, "its teacher is unknown; choose crafted=own"),
    ],
)
def test_an_attack_that_cannot_run_is_refused_before_others_run(model, photos, monkeypatch, late, options, message):
    without_teacher = Model(model.encoder, "model")
    monkeypatch.setattr(
        "kivuko.evaluation.attack.results.AttackRunner.run", lambda *_: pytest.fail("an attack was run")
    )
    with pytest.raises(kivuko.KivukoError, match=message):
        attack(without_teacher, photos, ["typo:edits=1", late], languages=["sw"], progress=False, **options)


def test_an_attack_against_english_needs_english_captions(model, tmp_path, photos, monkeypatch):
    file = Path(photos.removeprefix("captions:").split(",")[0])
    rows = [row for row in file.read_text("utf-8").splitlines(keepends=True) if "\ten\t" not in row]
    (tmp_path / "no-english.tsv").write_text("".join(rows), "utf-8")
    monkeypatch.setattr("kivuko.evaluation.attack.targets.teacher_of", lambda about: None)
    dataset = f"captions:{tmp_path / 'no-english.tsv'},{file.parent}"
    with pytest.raises(UsageError, match="the queries have no English text; choose crafted=own"):
        attack(model, dataset, ["typo:edits=1", "pgd:crafted=english"], languages=["sw"], progress=False)
