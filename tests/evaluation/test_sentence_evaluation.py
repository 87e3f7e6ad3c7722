"""Sets of sentences as a data set: pairs, the pool, training on them, and searching English sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kivuko
from kivuko.cli.main import main
from kivuko.datasets.sentences import open_sentences
from kivuko.datasets.spec import evaluation_captions, open_dataset, summarize_collection
from kivuko.errors import UsageError
from kivuko.evaluation.records import read_records
from sentence_files import DOCUMENTS, LENGTH, sentence, write_tico
from tiny_bert import save_teacher

WORDS = sentence("en", 0).split() + [word for number in range(40) for word in sentence("en", number).split()]


@pytest.fixture(scope="module")
def tico(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tico(tmp_path_factory.mktemp("tico"), "sw", "so", slip=(3, 4, 5, 6))


@pytest.fixture(scope="module")
def model(tico: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of Swahili, trained on the set, with its late interaction beside it."""
    place = tmp_path_factory.mktemp("model")
    save_teacher(place / "teacher", list(dict.fromkeys(WORDS)), 24)
    kivuko.distill(
        {"sw": f"tico19:{tico}"}, place / "model", teacher=place / "teacher", steps=20, vocabulary_size=200,
        recipe="contrastive", image_tower="none", multi_vector=place / "late", progress=False,
    )  # fmt: skip
    return place / "model"


def test_pairs_pool_and_queries(tico: Path) -> None:
    sentences = open_sentences(f"tico19:{tico}")
    assert (sentences.name, sentences.languages) == ("tico19", ("so", "sw"))
    sizes = [len(sentences.pairs("sw", split)) for split in ("train", "validation", "test")]
    assert sum(sizes) == DOCUMENTS * LENGTH
    assert sentences.pool == [english for _, english in sentences.pairs("sw", "test")]
    assert {english for _, english in sentences.pairs("so", "test")} < set(sentences.pool), "all are searched"
    judgments, documents = sentences.judgments(), {one.id: one.text for one in sentences.documents()}
    for code in ("sw", "en"):
        for query, text in sentences.queries(code).items():
            (relevant,) = judgments[query]
            assert documents[relevant].split()[0] == text.split()[0], "the number that both begin with"
            assert query not in documents
    assert open_sentences(f"tico19:{tico}", "validation").pool == [e for _, e in sentences.pairs("sw", "validation")]
    with pytest.raises(UsageError, match="has no split 'dev'; it has train, validation, test"):
        sentences.pairs("sw", "dev")
    with pytest.raises(UsageError, match="tico19 has no split 'train' to search; it has validation, test"):
        open_dataset(f"tico19:{tico}", split="train")


def test_it_is_a_collection_and_a_source_of_captions(tico: Path) -> None:
    summary = summarize_collection(f"tico19:{tico}", read_documents=True)
    assert summary.document_count == len(open_sentences(f"tico19:{tico}").pool)
    assert [one.language for one in summary.queries] == ["en", "so", "sw"]
    captions = set(evaluation_captions([f"tico19:{tico}"], "sw"))
    assert {side for pair in open_sentences(f"tico19:{tico}").pairs("sw", "test") for side in pair} == captions


def test_validation_of_a_set_selects(tico: Path, model: Path) -> None:
    about = kivuko.load_model(model).about
    assert about is not None
    assert about.bitext_sizes == {"sw": len(open_sentences(f"tico19:{tico}").pairs("sw", "train"))}


def test_single_vectors_beside_ceiling_and_floor(tico: Path, model: Path) -> None:
    result = kivuko.evaluate(model, f"tico19:{tico}", progress=False)
    values = {(r.objective, r.language, r.measure): r for r in result.records if r.subset == "all"}
    assert values["teacher", "en", "MAP"].value == 1, "an English query is the sentence that it looks for"
    own, floor = values["contrastive", "sw", "MAP"], values["untrained", "sw", "MAP"]
    assert own.low < own.value < own.high
    assert own.value > floor.value
    assert (own.dataset, own.split, own.scoring, own.queries) == ("tico19", "test", "cosine", 60)
    assert ("contrastive", "so", "MAP") not in values, "languages default to the model's own"
    assert values["contrastive", "low-resource", "MAP"].value == own.value
    assert result.path == model / "evaluation" / "tico19-test.jsonl"
    header, records = read_records(result.path)
    assert records == result.records
    assert header.protocol["split rule"].startswith("by document")
    assert header.protocol["pairs left out"]["so"]["misaligned"] == pytest.approx(48, abs=3)
    assert any(line.startswith("note: English queries are the sentences to retrieve") for line in result.lines())
    clusters = {scores.language: scores.clusters for scores in result.per_query if scores.measure == "MAP"}
    assert clusters["sw"] == clusters["en"], "one sentence is drawn in all languages together"


def test_requested_languages_and_validation(tico: Path, model: Path) -> None:
    result = kivuko.evaluate(
        model, f"tico19:{tico}", languages=["sw", "so"], split="validation", alone=True, records=False, progress=False
    )
    assert {(r.language, r.split) for r in result.records if r.subset == "all" and r.measure == "R@1"} == {
        ("sw", "validation"), ("so", "validation"), ("low-resource", "validation"),
    }  # fmt: skip
    assert any("left out in so, in every split" in line for line in result.lines())
    with pytest.raises(UsageError, match="has no queries in yo; it has en, so, sw"):
        kivuko.evaluate(model, f"tico19:{tico}", languages=["yo"], progress=False)


def test_late_interaction_is_maxsim_with_the_teachers_tokens(tico: Path, model: Path) -> None:
    result = kivuko.evaluate(model.with_name("late"), f"tico19:{tico}", records=False, progress=False)
    values = {(r.objective, r.language): r for r in result.records if (r.subset, r.measure) == ("all", "MAP")}
    assert {r.scoring for r in result.records} == {"maxsim"}
    assert "contrastive: tico19, test; late interaction (MaxSim)" in result.summary()
    assert set(values) == {("contrastive", "sw"), ("contrastive", "low-resource"), ("teacher", "en"), ("teacher", "sw"),
                           ("teacher", "low-resource")}  # fmt: skip
    assert values["teacher", "en"].value > 0.95
    assert np.isclose(values["contrastive", "sw"].value, values["contrastive", "low-resource"].value)


def test_the_commands(tico: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    records = tmp_path / "r.jsonl"
    words = ["evaluate", str(model), "--dataset", f"tico19:{tico}", "-l", "sw", "--alone", "--records", str(records)]
    monkeypatch.setattr("sys.argv", ["kivuko", *words])
    main()
    assert "contrastive: tico19, test" in capsys.readouterr().out
    assert kivuko.write_report(records, tmp_path / "r.html").is_file()
    monkeypatch.setattr("sys.argv", ["kivuko", "evaluate", str(model), "--dataset", f"tico19:{tmp_path}"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "the folder holds no file of TICO-19" in capsys.readouterr().err
