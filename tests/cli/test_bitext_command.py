"""``kivuko bitext`` as a user meets it: check, clean and sample."""

from __future__ import annotations

import gzip
import io
import json
import os
import shlex
import sys
from pathlib import Path

import pytest
from command_checks import help_without_heavy_imports, refused

from kivuko.bitext.reading import read_bitext

NUMERALS = ["sifuri", "moja", "mbili", "tatu", "nne", "tano", "sita", "saba", "nane", "tisa"]
ENGLISH = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def spelled(number: int, words: list[str]) -> str:
    return " ".join(words[int(digit)] for digit in str(number))


def lines(count: int, start: int = 10_000) -> list[str]:
    return [f"{spelled(number, NUMERALS)}\t{spelled(number, ENGLISH)}" for number in range(start, start + count)]


def write(path: Path, content: list[str]) -> Path:
    text = "".join(line + "\n" for line in content)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture
def bitext(tmp_path: Path) -> Path:
    """1,200 good pairs, a duplicate, a blank line, furniture, and one pair without a second column."""
    return write(tmp_path / "sw.tsv", [*lines(1200), *lines(1), "", "Soma zaidi\tRead more", "peke yake"])


PLAIN = ("-l", "sw", "--no-language-id")


def printed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("name", ["check", "clean", "sample"])
def test_help_has_examples_and_imports_nothing_heavy(name: str) -> None:
    assert f"kivuko bitext {name} " in help_without_heavy_imports("bitext", name).split("Example", 1)[1]


def test_check_reads_the_translations_of_a_program(run_here, tmp_path: Path) -> None:
    pytest.importorskip("translate.storage.base", reason="needs translate-toolkit")
    messages = [line.split("\t") for line in lines(600)]
    entries = [f'msgid "<b>{english}</b> %s"\nmsgstr "<b>{text}</b> %s"\n' for text, english in messages]
    entries.append('#, fuzzy\nmsgid "cat"\nmsgstr "paka"\n')
    head = 'msgid ""\nmsgstr "Language: sw\\n"\n'
    path = write(tmp_path / "sw.po.gz", [head, *entries])
    status, out, err = run_here("bitext", "check", str(path), *PLAIN)
    assert (status, err) == (0, "")
    assert "sw.po.gz (po, Swahili): 602 read, 600 usable (99.7%)." in printed(out)
    assert "header or credits" in out
    assert "fuzzy" in out
    somali = run_here("bitext", "check", str(path), "-l", "so", "--no-language-id")
    refused(somali, "sw.po.gz: translates English to Swahili, not English to Somali or back")


def test_check_gives_the_account_and_a_verdict(run_here, bitext: Path) -> None:
    status, out, err = run_here("bitext", "check", str(bitext), *PLAIN)
    assert (status, err) == (0, "")
    printed_text = printed(out)
    assert "sw.tsv (tsv, Swahili): 1,204 read, 1,200 usable (99.7%)." in printed_text
    reasons = ("duplicate", "blank line", "boilerplate: web furniture", "missing column")
    for line, reason in enumerate(reasons, start=1201):
        assert f"{reason} 1 0.08%" in printed_text
        assert f"sw.tsv:{line}" in printed_text
    assert "note: languages were not identified." in printed_text
    assert "Swahili: 6,000 words" in printed_text
    assert "VERDICT: usable." in printed_text
    assert f"Next: kivuko bitext clean {bitext} -l sw --no-language-id --out sw.clean.tsv.gz" in printed_text


def test_the_suggested_command_keeps_the_options_and_writes_a_new_file(
    run_here, bitext: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    captions = write(tmp_path / "my captions.txt", ["nothing of this is in it"])
    file = bitext.rename("sw.clean.tsv.gz")
    words = (
        "check",
        str(file),
        *PLAIN,
        "--script",
        "Latn",
        "--against",
        str(captions),
        "emoji.txt",
        "--columns",
        "1,2",
    )
    write(tmp_path / "emoji.txt", ["nor this one"])
    printed_text = printed(run_here("bitext", *words)[1])
    given = f"--columns 1,2 --no-language-id --script Latn --against '{captions}' emoji.txt"
    assert f"Next: kivuko bitext clean {file} -l sw {given} --out sw.clean.2.tsv.gz" in printed_text
    suggested = shlex.split(printed_text.split("Next: kivuko ")[1])
    assert run_here(*suggested)[0] == 0
    assert len(read_bitext(tmp_path / "sw.clean.2.tsv.gz", "sw")) == 1200


def test_check_as_json(run_here, bitext: Path) -> None:
    status, out, err = run_here("bitext", "check", str(bitext), *PLAIN, "--json")
    assert (status, err) == (0, "")
    content = json.loads(out)
    assert (content["verdict"], content["read"], content["usable"], content["format"]) == ("usable", 1204, 1200, "tsv")
    assert content["left_out"]["duplicate"] == 1
    assert content["first"]["duplicate"].endswith("sw.tsv:1201")
    assert content["statistics"]["text"]["words"] == 6000
    assert "leaks" not in content


def test_check_shows_examples(run_here, bitext: Path) -> None:
    printed_text = printed(run_here("bitext", "check", str(bitext), *PLAIN, "--examples")[1])
    assert f"boilerplate: web furniture, {bitext}:1203: Soma zaidi | Read more" in printed_text


def test_check_of_the_first_pairs(run_here, bitext: Path) -> None:
    content = json.loads(run_here("bitext", "check", str(bitext), *PLAIN, "--first", "150", "--json")[1])
    assert (content["read"], content["verdict"]) == (150, "with care")


def test_findings_stand_below_the_verdict(run_here, bitext: Path) -> None:
    out = run_here("bitext", "check", str(bitext), *PLAIN, "--first", "150")[1]
    assert "VERDICT: with care.\n  - only 150 usable pairs" in out


def test_outputs_that_are_no_files_are_refused(run_here, bitext: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(run_here("bitext", "clean", str(bitext), *PLAIN, "--out", str(tmp_path / "pipe")), "pipe", "name a file")
    assert (tmp_path / "pipe").is_fifo()


def test_check_finds_captions_of_several_files(run_here, bitext: Path, tmp_path: Path) -> None:
    one = write(tmp_path / "captions.txt", [spelled(10_003, ENGLISH).upper() + ".", "A black cat"])
    two = tmp_path / "captions.jsonl"
    two.write_text(
        json.dumps({"image/key": "moja mbili", "sw": {"caption": [spelled(10_004, NUMERALS)]}}) + "\n"
        + json.dumps({"text": "nothing of this is in it"}) + "\n\n"
    )  # fmt: skip
    words = ("bitext", "check", str(bitext), *PLAIN, "--against", str(one), str(two))
    content = json.loads(run_here(*words, "--json")[1])
    assert content["leaks"]["captions"] == 4
    assert content["leaks"]["found"] == content["leaks"]["matches"], "the key's former name works for a release"
    assert content["leaks"]["matches"]["the same words"] == 2
    assert content["verdict"] == "not usable"
    places = {example["place"].rpartition(":")[2] for example in content["leaks"]["examples"][:2]}
    assert places == {"4", "5"}
    out = printed(run_here(*words)[1])
    assert "of 4 in the text" in out
    assert "leave them out: kivuko bitext clean ... --against" in out


def test_check_against_the_emoji_world(run_here, tmp_path: Path, tiny_world, monkeypatch) -> None:
    monkeypatch.setattr("kivuko.datasets.emoji.world.emoji_world", lambda *_, **options: tiny_world)
    query = next(query for query in tiny_world.queries("sw", "test") if not query.copied)
    file = write(tmp_path / "sw.tsv", [*lines(1200), f"{query.text}\t{query.english}"])
    content = json.loads(run_here("bitext", "check", str(file), *PLAIN, "--against", "emoji", "--json")[1])
    assert content["leaks"]["matches"]["the same words"] >= 2
    assert any(example["sentence"] == query.text for example in content["leaks"]["examples"])


def test_clean_writes_what_passes_and_what_does_not(run_here, bitext: Path, tmp_path: Path) -> None:
    out, rejected = tmp_path / "out/sw.tsv.gz", tmp_path / "rejected.tsv"
    caption = write(tmp_path / "captions.txt", [spelled(10_003, ENGLISH)])
    words = ("bitext", "clean", str(bitext), *PLAIN, "--out", str(out), "--rejected", str(rejected))
    status, printed_text, err = run_here(*words, "--against", str(caption))
    assert (status, err) == (0, "")
    cleaned = read_bitext(out, "sw")
    assert "dropped" not in printed(printed_text)
    assert spelled(10_003, ENGLISH) not in {pair.english for pair in cleaned}
    rows = [line.split("\t") for line in rejected.read_text("utf-8").splitlines()]
    assert rows[0] == ["reason", "place", "text", "english"]
    assert len(cleaned) + len(rows) - 1 == 1204
    assert not cleaned.dropped
    assert ["missing column", f"{bitext}:1204", "peke yake", ""] in rows, "a sentence that is left out is not lost"
    reasons = {row[0] for row in rows[1:]}
    assert reasons == {
        "duplicate", "blank line", "boilerplate: web furniture", "missing column", "in evaluation captions"
    }  # fmt: skip
    assert f"{out}: {len(cleaned):,} pairs." in printed(printed_text)
    assert f"kivuko distill --bitext sw={out}" in printed(printed_text)


def test_clean_reads_standard_input(run_here, bitext: Path, tmp_path: Path, monkeypatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(bitext.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    status, _, err = run_here("bitext", "clean", "-", *PLAIN, "--out", str(tmp_path / "o.tsv"))
    assert (status, err) == (0, "")
    assert len(read_bitext(tmp_path / "o.tsv", "sw")) == 1200


def test_clean_never_takes_the_place_of_what_it_reads(run_here, bitext: Path, tmp_path: Path) -> None:
    before = bitext.read_bytes()
    refused(run_here("bitext", "clean", str(bitext), *PLAIN, "--out", str(bitext)), "is what is read")
    out = str(tmp_path / "o.tsv")
    refused(run_here("bitext", "clean", str(bitext), *PLAIN, "--out", out, "--rejected", out), "two files")
    folder = bitext.parent / "shards"
    folder.mkdir()
    shard = bitext.rename(folder / "sw.tsv")
    refused(run_here("bitext", "clean", str(folder), *PLAIN, "--out", str(shard)), "is what is read")
    for code in ("sw", "en"):
        write(tmp_path / f"corpus.en-sw.{code}", ["moja mbili tatu nne"] * 3)
    pair = str(tmp_path / "corpus.en-sw")
    refused(run_here("bitext", "clean", pair, *PLAIN, "--out", f"{pair}.sw"), "is what is read")
    assert (tmp_path / "corpus.en-sw.sw").read_text().count("moja") == 3
    shard.rename(bitext)
    assert bitext.read_bytes() == before


def test_clean_without_a_pair_left_writes_nothing(run_here, tmp_path: Path) -> None:
    file = write(tmp_path / "sw.tsv", ["Soma zaidi\tRead more"] * 3)
    result = run_here("bitext", "clean", str(file), *PLAIN, "--out", str(tmp_path / "o.tsv"))
    refused(result, "sw.tsv:1", "no pair is left")
    assert [one.name for one in tmp_path.iterdir()] == ["sw.tsv"]


def test_language_identification_is_off_and_said_where_the_library_is_missing(
    run_here, bitext: Path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    status, out, err = run_here("bitext", "check", str(bitext), "-l", "sw")
    assert (status, err) == (0, "")
    assert "pip install 'kivuko[data]'" in printed(out)
    refused(run_here("bitext", "check", str(bitext), "-l", "sw", "--language-id", "full"), "pip install")


def test_columns_are_named(run_here, tmp_path: Path) -> None:
    swapped = ["\t".join(reversed(line.split("\t"))) for line in lines(200)]
    file = write(tmp_path / "sw.tsv", swapped)
    out = tmp_path / "o.tsv"
    assert run_here("bitext", "clean", str(file), *PLAIN, "--columns", "2,1", "--out", str(out))[0] == 0
    assert read_bitext(out, "sw").pairs[0].english == spelled(10_000, ENGLISH)


def test_sample_by_temperature(run_here, tmp_path: Path) -> None:
    sw, so = write(tmp_path / "sw.tsv.gz", lines(900)), write(tmp_path / "so.tsv", lines(100))
    words = ("bitext", "sample", f"sw={sw}", f"so={so}", "--temperature", "2", "--out", str(tmp_path / "out"))
    status, out, err = run_here(*words, "--pairs", "200")
    assert (status, err) == (0, "")
    taken = {code: read_bitext(tmp_path / f"out/{code}.tsv", code) for code in ("sw", "so")}
    assert {code: len(lines) for code, lines in taken.items()} == {"sw": 150, "so": 50}
    assert "sw: 150 of 900 pairs (75.0% by temperature)" in printed(out)
    assert "kivuko distill --bitext sw=" in printed(out)
    status, out, err = run_here(*words, "--pairs", "5000", "--compress", "gz")
    assert (status, err) == (0, "")
    assert "there are only 1,000 pairs" in printed(out)
    assert len(read_bitext(tmp_path / "out/sw.tsv.gz", "sw")) == 900


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "{bitext}", "-l", "xx-nothing"), "unknown language"),
        (("check", "{bitext}", "-l", "en-GB"), "English is the other side"),
        (("check", "{folder}/none.tsv", "-l", "sw"), "none.tsv"),
        (("check", "{bitext}", "-l", "sw", "--columns", "1"), "--columns"),
        (("check", "{bitext}", "-l", "sw", "--script", "Klingon"), "script"),
        (("check", "{bitext}", "-l", "sw", "--max-length-ratio", "0.5"), "max_length_ratio"),
        (("check", "{bitext}", "-l", "sw", "--no-language-id", "--language-id", "full"), "contradict"),
        (("check", "{bitext}", *PLAIN, "--against", "{folder}/none.txt"), "none.txt"),
        (("check", "{bitext}", *PLAIN, "--against", "{folder}/empty.txt"), "no caption"),
        (("check", "{bitext}", *PLAIN, "--against", "{folder}/bad.jsonl"), "bad.jsonl:1"),
        (("clean", "{bitext}", *PLAIN, "--out", "{folder}"), "folder"),
        (("sample", "sw", "--pairs", "5", "--out", "{folder}/o"), "CODE=SPEC"),
        (("sample", "sw=-", "--pairs", "5", "--out", "{folder}/o"), "twice"),
        (("sample", "sw={bitext}", "swh={bitext}", "--pairs", "5", "--out", "{folder}/o"), "named before"),
        (("sample", "sw={bitext}", "--pairs", "5", "--out", "{folder}"), "what is read"),
        (("sample", "en={bitext}", "--pairs", "5", "--out", "{folder}/o"), "English is the other side"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run_here, bitext: Path, tmp_path: Path, words, message: str) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "bad.jsonl").write_text("{no json\n")
    filled = [word.format(bitext=bitext, folder=tmp_path) for word in words]
    refused(run_here("bitext", *filled), message)
    assert not (tmp_path / "o").exists()


def test_damaged_files_are_named(run_here, bitext: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tsv.gz"
    cut.write_bytes(gzip.compress(bitext.read_bytes())[:-200])
    refused(run_here("bitext", "clean", str(cut), *PLAIN, "--out", str(tmp_path / "o.tsv")), "cut.tsv.gz")
    assert not (tmp_path / "o.tsv").exists()
