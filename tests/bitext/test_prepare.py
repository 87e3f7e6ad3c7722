"""Checking, cleaning and sampling by a call: the same result as the command's, and its own refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from kivuko.bitext import read_bitext
from kivuko.bitext.prepare import check_bitext, clean_bitext, sample_bitext
from kivuko.bitext.rules import Rules
from kivuko.cli.bitext import command
from kivuko.errors import DataError, UsageError

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
    told = run("check", file, "-l", "sw", "--against", captions, "--first", 200, "--json")
    assert json.loads(told) == json.loads(json.dumps(called.to_dict()))
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
    assert result.written == len(read_bitext(tmp_path / "a.tsv.gz", "sw")) == 300


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
    with pytest.raises(UsageError, match="first 0: give at least 1"):
        check_bitext(file, "sw", first=0)
    with pytest.raises(UsageError, match="is what is read"):
        clean_bitext(file, "sw", file)
    with pytest.raises(UsageError, match="compress 'zip': give gz, bz2, xz, zst"):
        sample_bitext({"sw": file}, tmp_path / "o", pairs=1, compress="zip")
    with pytest.raises(DataError, match=r"none\.tsv: no such file"):
        clean_bitext(tmp_path / "none.tsv", "sw", tmp_path / "o.tsv")
    assert not (tmp_path / "o").exists()
    assert not (tmp_path / "o.tsv").exists()
