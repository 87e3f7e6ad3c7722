"""``kivuko collection`` and ``kivuko evaluate`` on collections, as a user meets them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from command_checks import help_without_heavy_imports, refused

from kivuko.cli.main import COMMANDS

for folder in ("datasets", "evaluation", "translation"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))  # for wiki_dumps, tiny_collection and tiny_nllb


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "collection", ("kivuko.cli.collection", "Text collections."))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_collection import make_model

    return make_model(tmp_path_factory.mktemp("tiny"))


def test_help_shows_examples_at_once() -> None:
    for name in ("show", "measure", "wikiclir", "translate"):
        assert f"kivuko collection {name} " in help_without_heavy_imports("collection", name)


def test_show_tells_what_is_in_it(run_here, tmp_path: Path) -> None:
    from tiny_collection import make_collection

    folder = make_collection(tmp_path / "c")
    status, out, _ = run_here("collection", "show", f"trec:{folder}", "--documents")
    assert status == 0
    assert "Judgments of 7 queries: grade 2: 6, grade 0: 2." in out
    assert "Read 6 documents" in out
    assert "6 of 6 relevant documents present" in out
    refused(run_here("collection", "show", "trec:nowhere"), "nowhere: no such folder")
    refused(run_here("collection", "show", "marco"), "not a text collection")


def test_show_and_measure_print_what_the_calls_return(run_here, tmp_path: Path) -> None:
    from tiny_collection import make_collection

    from kivuko.datasets.spec import summarize_collection
    from kivuko.evaluation.measures import measure_run_file

    spec = f"trec:{make_collection(tmp_path / 'c')}"
    summary = summarize_collection(spec, read_documents=True)
    shown = run_here("collection", "show", spec, "--documents")[1]
    assert f"Judgments of {summary.judged_queries} queries" in shown
    for code, *counts, example in summary.queries:
        assert [code, *map(str, counts)] in [line.split()[: len(counts) + 1] for line in shown.splitlines()]
        assert str(example) in shown
    run = tmp_path / "my.run"
    run.write_text("".join(f"q{n} Q0 d{n} 1 {5 - n} x\n" for n in range(1, 5)))
    result = measure_run_file(run, spec, ("MAP", "nDCG@10"))
    printed = run_here("collection", "measure", spec, str(run), "--measure", "MAP", "nDCG@10")[1]
    for ties, values in result.values.items():
        assert [ties, *(f"{value:.4f}" for value in values.values())] in [line.split() for line in printed.splitlines()]


def test_evaluate_writes_records_and_runs_and_measure_reads_them(run_here, tmp_path: Path, model: Path) -> None:
    from tiny_collection import make_collection

    folder = make_collection(tmp_path / "c")
    status, out, err = run_here("evaluate", str(model), "--dataset", f"trec:{folder}")
    assert status == 0, err
    assert "left out, without a relevant document in the qrels: 1 query in sw" in out
    place = model / "evaluation" / "c.jsonl"
    assert place.is_file()
    run = place.with_name("c.sw.optical.run")
    assert run.is_file()
    assert "optical: trec:c" in out
    status, out, err = run_here("collection", "measure", f"trec:{folder}", str(run), "--measure", "MAP")
    assert status == 0, err
    assert [line.split() for line in out.splitlines() if line.split()[:1] in (["trec_eval"], ["pessimistic"])] == [
        ["trec_eval", "1.0000"], ["pessimistic", "1.0000"],
    ]  # fmt: skip
    assert "left out, judged but without a relevant document: 1 query" in err
    tied = tmp_path / "tied.run"
    tied.write_text("0 Q0 d0 1 0.5 x\n0 Q0 a 2 0.5 x\n", encoding="utf-8")
    status, out, err = run_here("collection", "measure", f"trec:{folder}", str(tied), "--measure", "MAP")
    assert "0.1667" in out  # d0 stands first by its name: 1 / 6
    assert "0.0833" in out  # last among equals: 1/2 / 6
    assert "not in the run, so their score is zero: 5 queries" in err
    refused(run_here("collection", "measure", f"trec:{folder}", str(tied), "--measure", "MAPP"), "'MAPP' is unknown")


def test_documents_that_are_none_or_there_twice_are_told(run_here, tmp_path: Path, model: Path) -> None:
    from tiny_collection import make_collection

    folder = make_collection(tmp_path / "c")
    spec, documents = f"trec:{folder}", folder / "documents.en.tsv"
    documents.write_text(documents.read_text("utf-8") + "d3\tanother\n", encoding="utf-8")
    assert run_here("collection", "show", spec)[0] == 0
    for words in (("collection", "show", spec, "--documents"), ("evaluate", str(model), "--dataset", spec)):
        refused(run_here(*words), f"{spec}: two documents have the id d3")
    documents.write_text("", encoding="utf-8")
    for words in (("collection", "show", spec, "--documents"), ("evaluate", str(model), "--dataset", spec)):
        refused(run_here(*words), f"{spec} has no document")


def test_judgments_without_a_relevant_document_name_the_collection(run_here, tmp_path: Path) -> None:
    from tiny_collection import make_collection

    folder = make_collection(tmp_path / "c")
    (folder / "qrels.txt").write_text("0 0 d0 0\n1 0 d1 0\n", encoding="utf-8")
    (tmp_path / "my.run").write_text("0 Q0 d0 1 0.5 x\n", encoding="utf-8")
    result = run_here("collection", "measure", f"trec:{folder}", str(tmp_path / "my.run"))
    refused(result, f"trec:{folder}: no query has a relevant document in the qrels")


def test_wikiclir_from_a_folder_of_dumps(run_here, tmp_path: Path) -> None:
    from test_wikiclir import small

    small(tmp_path)
    words = ("collection", "wikiclir", str(tmp_path), "--queries", "sw", "--out", str(tmp_path / "out"))
    status, out, err = run_here(*words)
    assert status == 0, err
    assert "4 queries in sw, 5 documents in en, 4 judgments of grade 2 and 6 of grade 1" in out
    assert "left out, queries: no language link: 2" in err
    refused(run_here(*words[:3], "--queries", "so", "--out", str(tmp_path / "o")), "no sowiki-")
    refused(run_here(*words[:4], "xx", "--out", str(tmp_path / "o")), "unknown language code 'xx'")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_wikiclir_command_and_the_call_write_the_same_collection(run_here, tmp_path: Path) -> None:
    from test_wikiclir import small

    from kivuko.datasets.wikiclir.build import Options, build_wikiclir
    from kivuko.datasets.wikiclir.dumps import find_dumps

    small(tmp_path)
    named = next(tmp_path.glob("enwiki-*-articles.xml.bz2")).rename(tmp_path / "english.xml.bz2")
    words = ["collection", "wikiclir", str(tmp_path), "--queries", "sw", "--documents", "en", "--words", "4"]
    words += ["--least-words", "4", "--most-queries", "2", "--seed", "3", "--document-articles", str(named)]
    status, out, err = run_here(*words, "--out", str(tmp_path / "command"))
    assert status == 0, err
    dumps = find_dumps(tmp_path, "sw", "en", document_articles=named)
    options = Options("sw", "en", words=4, least_words=4, most_queries=2, seed=3)
    built = build_wikiclir(dumps, options, tmp_path / "call", progress=False)
    assert contents(tmp_path / "command") == contents(tmp_path / "call")
    assert built.queries == 2
    assert f"{built.queries} queries in sw, {built.documents} documents in en" in out
    for reason, count in built.left_out.items():
        assert f"left out, {reason}: {count}" in err


def test_the_translate_command_and_the_call_write_the_same_collection(run_here, tmp_path: Path) -> None:
    from tiny_collection import make_collection
    from tiny_nllb import save_nllb

    from kivuko.translation.collection import Plan, translate_collection

    spec = f"trec:{make_collection(tmp_path / 'c')}"
    model = str(save_nllb(tmp_path / "nllb", ["eng_Latn", "swh_Latn", "som_Latn"]))
    words = ["collection", "translate", spec, "--translator", model, "--to", "so", "--from", "en"]
    for only, sides in (((), {}), (("--only", "queries"), {"documents": False})):
        name = f"{len(only)}"
        place = tmp_path / f"command-{name}" / "so"
        status, out, err = run_here(*words, *only, "--sample", "3", "--seed", "5", "--out", str(place))
        assert status == 0, err
        plan = Plan("en", "so", sample=3, seed=5, **sides)
        done = translate_collection(spec, model, plan, tmp_path / f"call-{name}" / "so", progress=False)
        assert contents(place) == contents(tmp_path / f"call-{name}" / "so")
        assert (done.queries, done.documents) == (6, 6)
        assert f"{done.queries} queries and {done.documents} documents" in out
        for reason, count in done.suspicious.items():
            assert f"looks wrong, {reason}: {count}" in err


def test_translate_refuses_in_one_line(run_here, tmp_path: Path) -> None:
    from tiny_collection import make_collection

    folder = make_collection(tmp_path / "c")
    words = ("collection", "translate", f"trec:{folder}", "--to", "mr", "--out", str(tmp_path / "o"))
    refused(run_here(*words, "--translator", str(tmp_path / "none")), "no such model folder")
