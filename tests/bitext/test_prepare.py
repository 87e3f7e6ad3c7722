"""Checking, cleaning and sampling by a call: the same result as the command's, and its own refusals."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from kivuko.bitext.prepare import check_bitext, clean_bitext, pair_writer, rejected_writer, sample_bitext
from kivuko.bitext.reading import read_bitext
from kivuko.bitext.rules import Rules
from kivuko.cli.bitext import command
from kivuko.errors import DataError, KivukoError, MissingDependencyError, UsageError

NUMERALS = ("sifuri", "moja", "mbili", "tatu", "nne", "tano", "sita", "saba", "nane", "tisa")
ENGLISH = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def spelled(number: int, words: tuple[str, ...]) -> str:
    return " ".join(words[int(digit)] for digit in str(number))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, range], Path]:
    def write_file(name: str, numbers: range) -> Path:
        path = tmp_path / name
        lines = [f"{spelled(number, NUMERALS)}\t{spelled(number, ENGLISH)}\n" for number in numbers]
        path.write_text("".join([*lines, lines[0], "\n", "Soma zaidi\tRead more\n"]))
        return path

    return write_file


def run(*words: object) -> str:
    result = CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_checks_as_the_call_does(write: Callable[[str, range], Path], tmp_path: Path) -> None:
    file, captions = write("sw.tsv", range(10_000, 10_300)), tmp_path / "captions.txt"
    captions.write_text(spelled(10_007, ENGLISH) + "\n")
    called = check_bitext(file, "swh", captions=[spelled(10_007, ENGLISH)], first=200, progress=False)
    printed = run("check", file, "-l", "sw", "--against", captions, "--first", 200, "--json")
    assert json.loads(printed) == json.loads(json.dumps(called.to_dict()))
    assert called.leaks is not None
    assert called.leaks.total == 1
    assert called.account.seen == 200


def test_the_command_cleans_as_the_call_does(write: Callable[[str, range], Path], tmp_path: Path) -> None:
    file = write("sw.tsv", range(10_000, 10_300))
    rules = Rules(language_id="off", max_translations=None)
    result = clean_bitext(file, "sw", tmp_path / "a.tsv.gz", rejected=tmp_path / "a.txt", rules=rules)
    words = ("--no-language-id", "--max-translations", 0, "--rejected", tmp_path / "b.txt")
    run("clean", file, "-l", "sw", "--out", tmp_path / "b.tsv.gz", *words)
    assert (tmp_path / "a.tsv.gz").read_bytes() == (tmp_path / "b.tsv.gz").read_bytes()
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "b.txt").read_text()
    assert result.account.kept == len(read_bitext(tmp_path / "a.tsv.gz", "sw")) == 300


def test_the_command_samples_as_the_call_does(write: Callable[[str, range], Path], tmp_path: Path) -> None:
    sw, so = write("sw.tsv", range(10_000, 10_900)), write("so.tsv", range(20_000, 20_100))
    parts = sample_bitext({"sw": sw, "so": so}, tmp_path / "a", pairs=200, seed=3, progress=False)
    run("sample", f"sw={sw}", f"so={so}", "--pairs", 200, "--seed", 3, "--out", tmp_path / "b")
    assert sum(part.taken for part in parts.values()) == 200
    for code, part in parts.items():
        assert part.path == tmp_path / f"a/{code}.tsv"
        assert part.path.read_bytes() == (tmp_path / f"b/{code}.tsv").read_bytes()


def test_calls_refuse_what_the_commands_refuse(write: Callable[[str, range], Path], tmp_path: Path) -> None:
    file = write("sw.tsv", range(10_000, 10_010))
    with pytest.raises(UsageError, match="English is the other side"):
        check_bitext(file, "en-GB")
    with pytest.raises(UsageError, match="first=0: choose a whole number of at least 1"):
        check_bitext(file, "sw", first=0)
    with pytest.raises(UsageError, match="is what is read"):
        clean_bitext(file, "sw", file)
    with pytest.raises(UsageError, match="compress 'zip': give gz, bz2, xz, zst"):
        sample_bitext({"sw": file}, tmp_path / "o", pairs=1, compress="zip")
    with pytest.raises(DataError, match=r"none\.tsv: no such file"):
        clean_bitext(tmp_path / "none.tsv", "sw", tmp_path / "o.tsv")
    assert not (tmp_path / "o").exists()
    assert not (tmp_path / "o.tsv").exists()


TEXTS, TRANSLATIONS = ["paka mweusi", "text", "sw"], ["black cat", "english", "en"]


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz"])
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"new/sw.tsv{suffix}"
    with pair_writer(path, "sw") as write:
        write(TEXTS[:1], TRANSLATIONS[:1])
        write(TEXTS[1:], TRANSLATIONS[1:])
    bitext = read_bitext(path, "sw")
    assert [(pair.text, pair.english) for pair in bitext] == list(zip(TEXTS, TRANSLATIONS, strict=True))
    first = path.read_bytes()
    with pair_writer(path, "sw") as write:
        write(TEXTS, TRANSLATIONS)
    assert path.read_bytes() == first, "neither dates nor names are in it"


def test_zstandard(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    path = tmp_path / "sw.tsv.zst"
    with pair_writer(path, "sw") as write:
        write(TEXTS, TRANSLATIONS)
    with path.open("rb") as stream:
        content = zstandard.ZstdDecompressor().stream_reader(stream).read().decode()
    assert content == "sw\ten\npaka mweusi\tblack cat\ntext\tenglish\nsw\ten\n"


def test_without_zstandard_the_message_names_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with (
        pytest.raises(MissingDependencyError, match=r"pip install 'kivuko\[data\]'"),
        pair_writer(tmp_path / "sw.tsv.zst", "sw"),
    ):
        raise AssertionError("must not be reached")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sw.tsv{suffix}"
    path.write_bytes(b"before")

    def fail() -> None:
        with pair_writer(path, "sw") as write:
            write(TEXTS, TRANSLATIONS)
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert path.read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_folder_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(KivukoError, match="there is a folder"), rejected_writer(tmp_path):
        raise AssertionError("must not be reached")


def test_rejected_pairs_keep_to_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "rejected.tsv"
    with rejected_writer(path) as write:
        write("too long", "f.tsv:3", "a\tb\nc", "\ud800")
        write("blank line", "f.tsv:4", None, None)
    assert path.read_text("utf-8").split("\n") == [
        "reason\tplace\ttext\tenglish", "too long\tf.tsv:3\ta b c\t\\ud800", "blank line\tf.tsv:4\t\t", "",
    ]  # fmt: skip
