"""A model on a text collection: who reads what, records beside ceiling and floor, TREC runs."""

from __future__ import annotations

from pathlib import Path

import ir_measures
import pytest
from tiny_collection import WORDS, make_collection, make_model

from kivuko.errors import DataError, UsageError
from kivuko.evaluation.evaluate import evaluate
from kivuko.evaluation.measures import measure_run_file
from kivuko.evaluation.records import read_per_query, read_records


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


def evaluated(model: Path, folder: Path, languages: tuple[str, ...] | None = None, **options):  # type: ignore[no-untyped-def]
    return evaluate(model, f"trec:{folder}", languages=languages, records=False, **options)


def values(results) -> dict[tuple[str, str], float]:  # type: ignore[no-untyped-def]
    return {(r.objective, r.language): r.value for r in results.records if (r.measure, r.subset) == ("MAP", "all")}


def test_english_documents_are_the_teachers_and_queries_the_students(model: Path, tmp_path: Path) -> None:
    results = evaluated(model, make_collection(tmp_path / "c"))
    measured_values = values(results)
    assert measured_values["optical", "sw"] == pytest.approx(1.0)
    assert measured_values["teacher", "en"] == pytest.approx(1.0)
    assert (
        measured_values["teacher", "sw"] < 0.5
    )  # Swahili words are all unknown to it, hence the same text: pessimistic ties
    assert measured_values["untrained", "sw"] < 0.9
    assert ("optical", "en") not in measured_values  # it never saw English
    parity = [r for r in results.records if (r.measure, r.objective, r.language) == ("parity", "optical", "sw")]
    assert parity[0].value == pytest.approx(1.0)
    assert results.header.protocol["queries"] == {"sw": len(WORDS), "en": len(WORDS)}
    assert results.notes[0] == "left out, without a relevant document in the qrels: 1 query in sw."
    assert {r.dataset for r in results.records} == {"trec:c"}


def test_records_and_runs_say_what_was_measured(model: Path, tmp_path: Path) -> None:
    folder = make_collection(tmp_path / "c")
    results = evaluated(model, folder)
    place = tmp_path / "out" / "c.jsonl"
    results.save(place)
    header, records = read_records(place)
    assert len(records) == len(results.records) == len(set(records))
    assert len(header.protocol["files (SHA-256)"]) == 4
    assert "read by teacher (the teacher)" in header.protocol["documents"]
    assert header.protocol["queries left out"] == {"no relevant document in the qrels": {"sw": 1, "en": 0}}
    assert {one.language for one in read_per_query(place)} == {"sw", "en"}
    runs = results.run_paths()
    assert sorted(path.name for path in runs) == [
        "c.en.teacher.run", "c.sw.optical.run", "c.sw.teacher.run", "c.sw.untrained.run",
    ]  # fmt: skip
    qrels = [one for one in ir_measures.read_trec_qrels(str(folder / "qrels.txt")) if one.query_id != "99"]
    for path in runs:
        language, objective = path.name.split(".")[1:3]
        measured = ir_measures.calc_aggregate([ir_measures.AP], qrels, ir_measures.read_trec_run(str(path)))
        mean = header.protocol["means under trec_eval's rule for ties"][objective][language]["MAP"]
        assert mean == pytest.approx(measured[ir_measures.AP], abs=1e-6)


def test_documents_in_another_language_are_the_students_own(model: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    folder = make_collection(tmp_path / "c", english=False, documents="documents.sw.tsv")
    (folder / "documents.sw.tsv").write_text("".join(f"d{n}\t{word}\n" for n, word in enumerate(WORDS)), "utf-8")
    results = evaluated(model, folder)
    assert values(results) == {("optical", "sw"): pytest.approx(1.0), ("optical", "low-resource"): pytest.approx(1.0)}
    (folder / "documents.sw.tsv").rename(folder / "documents.so.tsv")
    evaluated(model, folder)
    assert "note: model was not trained on so, the documents' language." in capsys.readouterr().err


def test_any_sentence_transformers_folder_reads_both_sides(model: Path, tmp_path: Path) -> None:
    folder = make_collection(tmp_path / "c")
    results = evaluated(model.parent / "teacher", folder, ("en",))
    assert values(results) == {("teacher", "en"): pytest.approx(1.0)}


def test_a_multi_vector_encoder_scores_by_maxsim(model: Path, tmp_path: Path) -> None:
    from kivuko.encoders.model import load_encoder
    from kivuko.encoders.multi_vector import save_multi_vector
    from kivuko.encoders.teacher import load_teacher

    save_multi_vector(tmp_path / "late", load_encoder(model), load_teacher(model.parent / "teacher"))
    results = evaluated(tmp_path / "late", make_collection(tmp_path / "c", english=False))
    assert {record.scoring for record in results.records} == {"maxsim"}
    assert 0.0 < values(results)["late", "sw"] <= 1.0


def test_the_language_of_queries_may_be_given(model: Path, tmp_path: Path) -> None:
    folder = make_collection(tmp_path / "c", english=False, documents="documents.tsv")
    (folder / "queries.sw.tsv").rename(folder / "queries.tsv")
    results = evaluated(model, folder, ("sw",))
    assert values(results)["optical", "sw"] == pytest.approx(1.0)
    assert set(values(evaluated(model, folder))) >= {("optical", "und")}
    with pytest.raises(UsageError, match="no queries in sw, so"):
        evaluated(model, folder, ("sw", "so"))


def test_what_does_not_fit_is_one_line(model: Path, tmp_path: Path) -> None:
    folder = make_collection(tmp_path / "c")
    with pytest.raises(UsageError, match=r"has no queries in mr; it has en, sw"):
        evaluated(model, folder, ("mr",))
    (folder / "qrels.txt").write_text("x 0 d1 1\n", encoding="utf-8")
    with pytest.raises(DataError, match="none of its 6 queries in en has a relevant document"):
        evaluated(model, folder)
    (folder / "qrels.txt").write_text("0 0 d1 1\n1 0 gone 1\n", encoding="utf-8")
    assert evaluated(model, folder).header.protocol["relevant documents not in the collection"] == 1


def test_a_query_that_is_a_document_is_left_out_on_request_and_noted_otherwise(model: Path, tmp_path: Path) -> None:
    folder = make_collection(tmp_path / "c", english=False)
    rows = [f"{number}\t{word}\n" for number, word in enumerate(WORDS.values())]  # each query's own English
    others = [f"d{number}\t{word} {word}\n" for number, word in enumerate(WORDS.values())]
    (folder / "documents.en.tsv").write_text("".join(rows + others), "utf-8")
    (folder / "qrels.txt").write_text("".join(f"{n} 0 d{n} 2\n{n} 0 {n} 1\n" for n in range(len(WORDS))), "utf-8")
    both, alone = (evaluated(model, folder, ignore_identical_ids=ignore) for ignore in (False, True))
    assert (
        "own id is searched too; --ignore-identical-ids (ignore_identical_ids) leaves it out: 6 queries."
        in both.notes[-1]
    )
    assert "own id is left out: 6 queries." in alone.notes[-1]
    assert alone.header.protocol["documents with the id of the query"] == "left out"
    measured = {(r.objective, r.measure): r.value for r in alone.records if (r.language, r.subset) == ("sw", "all")}
    assert measured["optical", "R@1"] == measured["optical", "nDCG@10"] == 1
    run = alone.runs["optical", "sw"]
    assert all(query not in documents and len(documents) == 11 for query, documents in run.items())
    with pytest.raises(UsageError, match="ignore_identical_ids: for text collections"):
        evaluate(model, "emoji", ignore_identical_ids=True, records=False)


def test_a_run_file_is_measured_without_the_querys_own_document(tmp_path: Path) -> None:
    folder = make_collection(tmp_path / "c", english=False)
    (tmp_path / "a.run").write_text("0 Q0 0 1 9 x\n0 Q0 d0 2 8 x\n1 Q0 d1 1 5 x\n", "utf-8")
    both, alone = (measure_run_file(tmp_path / "a.run", f"trec:{folder}", ["MRR"], ignore) for ignore in (False, True))
    assert (both.identical, alone.identical) == (1, 1)
    assert both.values["trec_eval"]["MRR"] == pytest.approx(1.5 / len(WORDS))
    assert alone.values["trec_eval"]["MRR"] == pytest.approx(2 / len(WORDS))


def test_a_model_alone_on_a_collection(model: Path, tmp_path: Path) -> None:
    folder = make_collection(tmp_path / "c")
    assert {r.objective for r in evaluated(model, folder, alone=True).records} == {"optical"}
    swahili = make_collection(tmp_path / "d", english=False, documents="documents.sw.tsv")
    (swahili / "documents.sw.tsv").write_text("".join(f"d{n}\t{word}\n" for n, word in enumerate(WORDS)), "utf-8")
    assert {r.objective for r in evaluated(model, swahili, alone=True).records} == {"optical"}
