"""Moses pairs: two files, line by line, as OPUS unpacks to."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import pytest

from kivuko.bitext import open_source, read_bitext
from kivuko.errors import DataError, UsageError


def write_pair(folder: Path, text: str = "mbwa\npaka\n", english: str = "dog\ncat\n") -> Path:
    (folder / "Tatoeba.en-sw.sw").write_text(text, encoding="utf-8")
    (folder / "Tatoeba.en-sw.en").write_text(english, encoding="utf-8")
    (folder / "Tatoeba.en-sw.ids").write_text("1\n2\n", encoding="utf-8")
    return folder / "Tatoeba.en-sw"


def test_both_files_by_what_they_begin_with(tmp_path: Path) -> None:
    prefix = write_pair(tmp_path)
    source = open_source(prefix, "swa")
    assert (source.format, source.language) == ("moses", "sw")
    assert source.size == 18
    assert list(source) == [(1, "mbwa", "dog", None), (2, "paka", "cat", None)]
    assert source.place(2) == f"{prefix}.sw:2"
    assert source.bytes_read() == 18


def test_two_files_by_name_in_their_order(tmp_path: Path) -> None:
    prefix = write_pair(tmp_path)
    bitext = read_bitext(f"{prefix}.sw,{prefix}.en", "sw")
    assert [(pair.text, pair.english, pair.origin) for pair in bitext] == [
        ("mbwa", "dog", f"{prefix}.sw:1"),
        ("paka", "cat", f"{prefix}.sw:2"),
    ]
    odd = tmp_path / "a,b"
    odd.mkdir()
    inner = write_pair(odd)
    assert len(read_bitext(f"{inner}.sw,{inner}.en", "sw")) == 2, "a comma in a name is a comma in a name"


def test_compressed_each_in_its_own_way(tmp_path: Path) -> None:
    (tmp_path / "c.en-sw.sw.gz").write_bytes(gzip.compress(b"mbwa\r\npaka"))
    (tmp_path / "c.en-sw.en.bz2").write_bytes(bz2.compress(b"dog\ncat\n"))
    bitext = read_bitext(tmp_path / "c.en-sw", "sw")
    assert [(pair.text, pair.english) for pair in bitext] == [("mbwa", "dog"), ("paka", "cat")]


def test_other_spellings_of_the_codes(tmp_path: Path) -> None:
    (tmp_path / "flores.swh_Latn").write_text("mbwa\n")
    (tmp_path / "flores.eng_Latn").write_text("dog\n")
    (tmp_path / "flores.som_Latn").write_text("eey\n")
    assert [pair.text for pair in read_bitext(tmp_path / "flores", "sw")] == ["mbwa"]
    assert [pair.text for pair in read_bitext(tmp_path / "flores", "so")] == ["eey"]


def test_tabs_and_blank_lines_keep_both_files_in_step(tmp_path: Path) -> None:
    prefix = write_pair(tmp_path, "mbwa\tmkubwa\n\n\npaka\n", "big dog\n\ncow\ncat\n")
    bitext = read_bitext(prefix, "sw")
    assert [(pair.text, pair.english) for pair in bitext] == [("mbwa mkubwa", "big dog"), ("paka", "cat")]
    assert bitext.dropped == {"blank line": 1, "empty side": 1}
    assert bitext.first_dropped == {"blank line": f"{prefix}.sw:2", "empty side": f"{prefix}.sw:3"}


@pytest.mark.parametrize(
    ("text", "english", "shorter"), [("mbwa\n", "dog\ncat\n", "sw"), ("mbwa\npaka\nkuku\n", "dog\ncat\n", "en")]
)
def test_files_of_different_length_are_refused(tmp_path: Path, text: str, english: str, shorter: str) -> None:
    prefix = write_pair(tmp_path, text, english)
    source = open_source(prefix, "sw")
    number = min(text.count("\n"), english.count("\n")) + 1
    with pytest.raises(DataError, match=rf"Tatoeba\.en-sw\.{shorter}:{number}: ends before this line while .* goes on"):
        list(source)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    prefix = write_pair(tmp_path)
    with pytest.raises(DataError, match=r"there is .*Tatoeba\.en-sw\.sw.*, but no Tatoeba\.en-sw\.so; give both"):
        open_source(prefix, "so")
    (tmp_path / "Tatoeba.en-sw.en").unlink()
    with pytest.raises(DataError, match=r"but no Tatoeba\.en-sw\.en"):
        open_source(prefix, "sw")
    with pytest.raises(DataError, match=r"Tatoeba\.en-sw\.en: no such file"):
        open_source(f"{prefix}.sw,{prefix}.en", "sw")
    with pytest.raises(DataError, match=r"corpus: no such file; check the path \(a Moses pair is FILE,ENGLISH_FILE"):
        open_source(tmp_path / "corpus", "sw")


def test_moses_has_no_columns_and_is_not_one_file(tmp_path: Path) -> None:
    prefix = write_pair(tmp_path)
    with pytest.raises(UsageError, match="no columns"):
        open_source(prefix, "sw", columns=(1, 2))
    with pytest.raises(UsageError, match="standard input is one file"):
        open_source("-", "sw", format="moses")


def test_a_long_line_drops_its_pair_only(tmp_path: Path) -> None:
    prefix = write_pair(tmp_path, "mbwa\n" + "x" * (2 << 20) + "\npaka\n", "dog\nlong\ncat\n")
    bitext = read_bitext(prefix, "sw")
    assert [pair.english for pair in bitext] == ["dog", "cat"]
    assert bitext.dropped == {"too long": 1}


def test_empty_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="both are empty"):
        read_bitext(write_pair(tmp_path, "", ""), "sw")
