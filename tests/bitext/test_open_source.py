"""What a bitext is, told by its name, its content, or what the user says."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from kivuko.bitext import PairSource, open_source, read_bitext
from kivuko.errors import DataError, UsageError

TSV = b"mbwa\tdog\npaka\tcat\n"
TMX = b'<tmx><body><tu><tuv lang="en"><seg>dog</seg></tuv><tuv lang="sw"><seg>mbwa</seg></tuv></tu></body></tmx>'
JSONL = json.dumps({"sw": "mbwa", "en": "dog"}).encode()


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("f.tsv", TSV, "tsv"), ("f.txt", TSV, "tsv"), ("f.TSV.GZ", TSV, "tsv"), ("f", TSV, "tsv"),
        ("f.dat", JSONL, "jsonl"),
        ("f.tmx.zst", TMX, "tmx"), ("f.bin", b"\n " + TMX, "tmx"), ("f.JSONL", JSONL, "jsonl"), ("f.xml", TMX, "tmx"),
        ("f.weird", b"\xef\xbb\xbf" + TMX, "tmx"), ("f.weird", '<?xml version="1.0"?>'.encode("utf-16"), "tmx"),
    ],
)  # fmt: skip
def test_formats_are_told(tmp_path: Path, name: str, content: bytes, format: str) -> None:
    (tmp_path / name).write_bytes(content)
    source: PairSource = open_source(tmp_path / name, "sw")
    assert source.format == format
    assert source.language == "sw"
    assert source.name == str(tmp_path / name)
    assert source.size == len(content)


def test_the_format_that_is_said_counts(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_bytes(TMX)
    assert [raw.text for raw in open_source(tmp_path / "f.txt", "sw", format="tmx")] == ["mbwa"]
    with pytest.raises(UsageError, match="unknown format 'csv': give tsv, moses, tmx, jsonl, parquet, datasets"):
        open_source(tmp_path / "f.txt", "sw", format="csv")
    with pytest.raises(UsageError, match="standard input: a saved dataset is a folder"):
        open_source("-", "sw", format="datasets")
    with pytest.raises(UsageError, match="leave the format tsv out"):
        open_source("hf:name", "sw", format="tsv")


def test_zip_archives_are_named_as_such(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "en-sw.zip", "w") as archive:
        archive.writestr("f.en", "dog")
    with pytest.raises(DataError, match=r"en-sw\.zip: a zip archive; unpack it"):
        open_source(tmp_path / "en-sw.zip", "sw")


def test_reading_again_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "f.tsv").write_bytes(TSV)
    source = open_source(tmp_path / "f.tsv", "sw")
    assert list(source) == list(source) == [(1, "mbwa", "dog", None), (2, "paka", "cat", None)]
    assert source.bytes_read() == len(TSV)


def test_standard_input_in_any_format(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (TSV, TMX, JSONL):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        bitext = read_bitext("-", "sw")
        assert bitext.pairs[0].text == "mbwa"
        assert bitext.pairs[0].origin == "standard input:1"


@pytest.mark.parametrize(
    "spec", ["nowhere.tsv", "nowhere.sw,nowhere.en", "x" * 5000, "a\0b", ",", "nowhere:train", "nowhere,"]
)
def test_specs_that_lead_nowhere(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        open_source(spec, "sw")


def test_an_empty_name() -> None:
    with pytest.raises(UsageError, match="an empty name: give a file"):
        open_source("", "sw")


def test_languages_are_checked_and_normalized(tmp_path: Path) -> None:
    (tmp_path / "f.tsv").write_bytes(TSV)
    assert open_source(tmp_path / "f.tsv", "swh").language == "sw"
    with pytest.raises(UsageError, match="did you mean sw"):
        open_source(tmp_path / "f.tsv", "swahili")


def test_copies_are_dropped_on_request_in_any_format(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_bytes(JSONL + b'\n{"sw": "taxi", "en": "taxi"}\n')
    assert len(read_bitext(tmp_path / "f.jsonl", "sw")) == 2
    kept = read_bitext(tmp_path / "f.jsonl", "sw", keep_copied=False)
    assert kept.dropped == {"copied": 1}
