"""``kivuko words``, and dictionaries given to ``kivuko distill``, as a user meets them."""

from __future__ import annotations

import gzip
import json

import pytest
from command_checks import help_without_heavy_imports, refused
from sentence_transformers import SentenceTransformer

import kivuko
from tiny_bert import save_teacher

pytest.importorskip("pyglossary")

PAIRS = [("paka mweusi", "black cat"), ("paka mweupe", "white cat"), ("mbwa mweusi", "black dog"),
         ("mbwa mweupe", "white dog"), *((f"neno{n} paka", f"word{n} cat") for n in range(30))]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model with a word table from sentences and a dictionary, and what it was made from; read only."""
    place = tmp_path_factory.mktemp("words")
    save_teacher(place / "teacher", ["cat", "dog", "black", "white", "zebra", *(f"word{n}" for n in range(30))], 24)
    (place / "sw.tsv").write_text("".join(f"{text}\t{english}\n" for text, english in PAIRS), encoding="utf-8")
    entry = b"punda <n>\n\nzebra\n"
    (place / "freedict-swh-eng.index").write_text("punda\tA\tS\n")
    (place / "freedict-swh-eng.dict.dz").write_bytes(gzip.compress(entry))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIVUKO_CACHE", str(place / "cache"))
        kivuko.distill(
            {"sw": [place / "sw.tsv", f"dict:{place / 'freedict-swh-eng.index'}"]}, place / "model",
            teacher=place / "teacher", image_tower="none", steps=30, vocabulary_size=100, validation_share=0.2,
            progress=False,
        )  # fmt: skip
    return place


def test_the_command_and_the_call_show_the_table(run_here, place):
    status, out, err = run_here("words", str(place / "model"), "sw", "Punda", "paka", "simba")
    assert status == 0, err
    shown = dict(line.split(": ", 1) for line in out.splitlines())
    assert shown["punda"] == "zebra 1.00"
    assert shown["paka"].startswith("cat ")
    assert shown["simba"] == "(not in the table)"
    status, out, _ = run_here("words", str(place / "model"), "sw", "--json")
    assert json.loads(out) == kivuko.load_model(place / "model", device="cpu").words("sw")
    assert {"punda", "paka", "mbwa", "mweusi"} <= json.loads(out).keys()


def test_exported(run_here, place, tmp_path):
    file = tmp_path / "words.tsv"
    status, out, err = run_here("words", str(place / "model"), "sw", "--out", str(file))
    assert status == 0, err
    assert "words of sw" in out
    assert "punda\tzebra\t1.000\n" in file.read_text(encoding="utf-8")


def test_plain_sentence_transformers_has_the_words_too(place):
    plain = SentenceTransformer(str(place / "model"), device="cpu")
    vectors = plain.encode(["punda", "paka mweusi"], normalize_embeddings=True)
    english = SentenceTransformer(str(place / "teacher"), device="cpu")
    ours = kivuko.load_model(place / "model", device="cpu").encode_text(["punda", "paka mweusi"])
    assert abs(vectors - ours).max() < 1e-6
    zebra, cat = english.encode(["zebra", "black cat"], normalize_embeddings=True)
    assert vectors[0] @ zebra > vectors[0] @ cat


def test_a_dictionary_is_part_of_the_job(run_here, place, monkeypatch):
    monkeypatch.setenv("KIVUKO_CACHE", str(place / "cache"))
    options = {
        "teacher": place / "teacher",
        "image_tower": "none",
        "steps": 2,
        "vocabulary_size": 100,
        "progress": False,
    }
    sentences = place / "sw.tsv"
    first = kivuko.distill({"sw": sentences}, place / "another", validation_share=0.2, **options)
    assert first.words("sw", ["punda"]) == {"punda": {}}
    listed = [sentences, f"dict:{place / 'freedict-swh-eng.dict.dz'}"]
    second = kivuko.distill({"sw": listed}, place / "another", validation_share=0.2, **options)
    assert second.words("sw", ["punda"]) == {"punda": {"zebra": 1.0}}
    assert second.about.bitext_sizes == first.about.bitext_sizes
    assert (first.about.dictionaries, second.about.dictionaries) == ({}, {"sw": 1})
    assert "dictionaries too (entries: sw 1)" in (place / "another" / "README.md").read_text(encoding="utf-8")
    assert "punda" in (place / "another" / "words.json").read_text(encoding="utf-8")


def test_another_recipe_learns_from_the_entries(place, monkeypatch):
    monkeypatch.setenv("KIVUKO_CACHE", str(place / "cache"))
    sources = [place / "sw.tsv", f"dict:{place / 'freedict-swh-eng.index'}"]
    options = {
        "teacher": place / "teacher",
        "image_tower": "none",
        "steps": 2,
        "vocabulary_size": 100,
        "progress": False,
    }
    model = kivuko.distill({"sw": sources}, place / "plain", recipe="mse", validation_share=0.2, **options)
    without = kivuko.distill({"sw": sources[0]}, place / "plain", recipe="mse", validation_share=0.2, **options)
    assert model.about.bitext_sizes["sw"] == without.about.bitext_sizes["sw"] + 1


def test_refused(run_here, place, tmp_path):
    model = str(place / "model")
    refused(run_here("words", model, "fi"), "no language 'fi'; it has sw")
    refused(run_here("words", str(place / "plain"), "sw"), "no word table", "optical-words")
    refused(run_here("words", str(tmp_path), "sw"), "not a model folder")
    refused(run_here("words", model, "sw", "--json", "--out", "f.tsv"), "give one of them")
    refused(run_here("words", model, "sw", "--out", str(tmp_path)), str(tmp_path))
    bitext, out = f"sw=dict:{place / 'freedict-swh-eng.index'}", str(tmp_path / "out")
    refused(run_here("distill", "--bitext", bitext, "--out", out), "only dictionaries were given")
    refused(run_here("distill", "--bitext", "sw=dict:none.index", "--out", out), "dict:none.index: no such file")
    assert not (tmp_path / "out").exists()


def test_help():
    assert "kivuko words my-model sw gari jekundu" in help_without_heavy_imports("words")
