"""Collections of ir_datasets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kivuko.datasets.collections.collection import Document
from kivuko.datasets.spec import open_collection
from kivuko.errors import DataError, UsageError

ir_datasets = pytest.importorskip("ir_datasets")
NAME = "kivuko-test"


class _Local:
    """A file that is there already, in the place of a download."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def path(self, force: bool = True) -> str:
        return str(self._path)

    def stream(self):  # type: ignore[no-untyped-def]
        import contextlib

        return contextlib.closing(self._path.open("rb"))


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    from ir_datasets.datasets.base import Dataset
    from ir_datasets.formats import TrecQrels, TsvDocs, TsvQueries

    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    (tmp_path / "docs.tsv").write_text("d1\tA black cat\nd2\tA big dog\n", encoding="utf-8")
    (tmp_path / "queries.tsv").write_text("1\tpaka mweusi\n", encoding="utf-8")
    (tmp_path / "qrels").write_text("1 0 d1 2\n1 0 d2 0\n", encoding="utf-8")
    docs = TsvDocs(_Local(tmp_path / "docs.tsv"), lang="en")
    queries = TsvQueries(_Local(tmp_path / "queries.tsv"), lang="sw")
    qrels = TrecQrels(_Local(tmp_path / "qrels"), {2: "yes", 0: "no"})
    ir_datasets.registry.register(NAME, Dataset(docs))
    ir_datasets.registry.register(f"{NAME}/dev", Dataset(docs, queries, qrels))
    yield tmp_path
    for name in (NAME, f"{NAME}/dev"):
        ir_datasets.registry._registered.pop(name)


def test_a_registered_dataset_is_a_collection(registered: Path) -> None:
    result = open_collection(f"ir:{NAME}/dev")
    assert (result.spec, result.name) == (f"ir:{NAME}/dev", f"{NAME}/dev")
    assert (result.query_languages, result.document_language) == (("sw",), "en")
    assert result.queries("sw") == {"1": "paka mweusi"}
    assert list(result.documents()) == [Document("d1", "A black cat"), Document("d2", "A big dog")]
    assert result.judgments() == {"1": {"d1": 2, "d2": 0}}
    assert result.files() == ()
    with pytest.raises(UsageError, match="its queries are in sw, not so"):
        result.queries("so")


def test_what_is_missing_is_said(registered: Path) -> None:
    with pytest.raises(DataError, match=rf"ir:{NAME}: has no queries; try {NAME}/dev"):
        open_collection(f"ir:{NAME}")
    with pytest.raises(UsageError, match=r"no such id; did you mean kivuko-test"):
        open_collection("ir:kivuko-tset")
    (registered / "docs.tsv").unlink()
    with pytest.raises(DataError, match=r"ir_datasets cannot read it \("):
        list(open_collection(f"ir:{NAME}/dev").documents())


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import requests

    def refuse(*_: object, **__: object) -> None:
        raise requests.exceptions.ConnectionError("no route to host")

    monkeypatch.setattr(requests.Session, "send", refuse)
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path))


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize(
    ("name", "language"), [("mmarco/v2/fr/dev/small", "fr"), ("neuclir/1/fa/hc4-filtered", "fa"), ("hc4/zh/test", "zh")]
)
def test_the_ids_of_cross_lingual_collections_are_known(name: str, language: str) -> None:
    result = open_collection(f"ir:{name}")
    assert result.spec == f"ir:{name}"
    assert result.document_language == language


@pytest.mark.usefixtures("_no_network")
def test_without_the_network_it_is_one_line() -> None:
    # CLIRMatrix learns from its site which files it has.
    with pytest.raises(DataError, match=r"ir_datasets cannot read it \(no route to host\). Check the network"):
        open_collection("ir:clirmatrix/sw/bi139-base/en/test2")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(("status", "kind"), [(143, SystemExit), (1, DataError)])
def test_ending_the_command_is_no_fault_of_the_library(
    monkeypatch: pytest.MonkeyPatch, status: int, kind: type[BaseException]
) -> None:
    """SIGTERM raises SystemExit in the command line; the library does so where a license is declined."""

    def leave(_name: str) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(ir_datasets, "load", leave)
    with pytest.raises(kind):
        open_collection(f"ir:{NAME}/dev")
