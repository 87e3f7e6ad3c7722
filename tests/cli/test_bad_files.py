"""A file or folder that cannot be read, given to any command: exit status 2 and exactly one line that names it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command_checks import refused

from kivuko.encoders.image_tower import SmallImageTower
from kivuko.encoders.model import About, save_model
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.vocabulary import train_vocabulary

BINARY = bytes(range(256)) * 8
NOT_UTF8 = os.fsdecode(b"\xff\xfe")

# By name, how a place is prepared: (folder, ending) -> path.
PLACES: dict[str, Callable[[Path, str], Path]] = {
    "missing": lambda folder, ending: folder / f"none{ending}",
    "folder": lambda folder, ending: made(folder / f"folder{ending}"),
    "empty": lambda folder, ending: written(folder / f"empty{ending}", b""),
    "binary": lambda folder, ending: written(folder / f"binary{ending}", BINARY),
    "no permission": lambda folder, ending: closed(written(folder / f"closed{ending}", b"paka\tcat\n")),
    "not UTF-8, missing": lambda folder, ending: folder / f"{NOT_UTF8}{ending}",
    "not UTF-8, binary": lambda folder, ending: written(folder / f"{NOT_UTF8}{ending}", BINARY),
    "line break, missing": lambda folder, ending: folder / f"a\nb{ending}",
    "line break, binary": lambda folder, ending: written(folder / f"a\nb{ending}", BINARY),
    "link to itself": lambda folder, ending: looped(folder / f"loop{ending}"),
    "long name": lambda folder, ending: folder / ("x" * 300 + ending),
}

# Command lines: "{}" is the place that cannot be read, "MODEL" a model and "PAIRS" a bitext that can. The ending.
COMMANDS = [
    ("distill --out out --bitext sw={}", ".tsv"),
    ("distill --out out --bitext sw={}", ".tmx"),
    ("distill --out out --bitext sw=PAIRS --recipe {}", ".toml"),
    ("distill --out out --bitext sw=PAIRS --teacher {}", ""),
    ("distill --out out --bitext sw=PAIRS --config {}", ".toml"),
    ("distill --out out --bitext sw=emoji --cldr {}", ""),
    ("distill --out out --bitext sw=emoji --font {}", ".ttf"),
    ("bitext check {} -l sw", ".tsv"),
    ("bitext check {} -l sw", ".parquet"),
    ("bitext clean {} -l sw --out out", ".jsonl"),
    ("bitext clean {} -l sw --out out", ".tsv.gz"),
    ("bitext check PAIRS -l sw --against {}", ".txt"),
    ("bitext sample sw={} --pairs 5 --out out", ".tsv"),
    ("data emoji -l sw --cldr {}", ""),
    ("data emoji -l sw --font {}", ".ttf"),
    ("data fetch xm3600 --no-images --out out --checksums {}", ".txt"),
    ("doctor {}", ""),
    ("doctor MODEL -l sw --index {}", ""),
    ("doctor MODEL -l sw --bitext sw={}", ".tsv"),
    ("doctor MODEL -l sw --teacher {}", ""),
    ("export {} --onnx --out out", ""),
    ("collection show trec:{}", ""),
    ("collection measure trec:{} PAIRS", ""),
    ("collection wikiclir {} --queries sw --out out", ""),
    ("collection translate trec:{} --translator MODEL --to sw --out out", ""),
    ("evaluate {}", ""),
    ("evaluate MODEL --dataset captions:{}", ".tsv"),
    ("evaluate MODEL --dataset captions:{}", ".jsonl"),
    ("evaluate MODEL --dataset coco:{}", ".json"),
    ("evaluate MODEL --dataset webdataset:{}", ".tar"),
    ("evaluate MODEL --dataset xm3600:{}", ""),
    ("evaluate MODEL --dataset trec:{}", ""),
    ("attack {} --attack typo", ""),
    ("attack MODEL --attack typo --dataset captions:{}", ".tsv"),
    ("index {} PAIRS --out out", ""),
    ("index MODEL {} --out out", ""),
    ("index MODEL {} --out out", ".tsv"),
    ("index MODEL {} --out out", ".tar"),
    ("index --skipped {}", ""),
    ("search {} paka", ""),
    ("search MODEL --image {}", ".png"),
    ("serve {} --port 0", ""),
    ("align {} paka cat", ""),
    ("harden {} --out out --steps 1", ""),
    ("harden MODEL --out out --steps 1 --images {}", ""),
    ("study low-resource --records out.jsonl --recipe {}", ".toml"),
    ("study low-resource --records out.jsonl --translator {}", ""),
    ("study robustness --records out.jsonl --config {}", ".toml"),
    ("study robustness --records out.jsonl --image-tower {}", ""),
    ("report {}", ".jsonl"),
]


def made(place: Path) -> Path:
    place.mkdir()
    return place


def written(place: Path, content: bytes) -> Path:
    place.write_bytes(content)
    return place


def closed(place: Path) -> Path:
    place.chmod(0)
    if os.access(place, os.R_OK):
        pytest.skip("this user may read everything")
    return place


def looped(place: Path) -> Path:
    place.symlink_to(place)
    return place


@pytest.fixture(scope="module")
def readable(tmp_path_factory):
    """A small model and a bitext."""
    place = tmp_path_factory.mktemp("readable")
    student = StaticStudent(train_vocabulary(["paka mbwa nyumba"] * 5, size=60), 12)
    tower = SmallImageTower(12, size=32).eval().to_sentence_transformer()
    save_model(place / "model", student, tower, About("t", "t", "static", "optical", 0, {"sw": 3}), "card")
    (place / "sw.tsv").write_text("".join(f"neno{n} paka\tword{n} cat\n" for n in range(60)), encoding="utf-8")
    return {"MODEL": str(place / "model"), "PAIRS": str(place / "sw.tsv")}


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize(("command", "ending"), COMMANDS, ids=[f"{line}{ending}" for line, ending in COMMANDS])
def test_one_line_and_status_2(run_here, readable, tmp_path, monkeypatch, command, ending, kind):
    monkeypatch.chdir(made(tmp_path / "here"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    place = PLACES[kind](made(tmp_path / "given"), ending)
    words = [word.replace("{}", str(place)) for word in command.split()]
    result = run_here(*(readable.get(word, word) if "=" not in word else word.replace("PAIRS", readable["PAIRS"])
                        for word in words))  # fmt: skip
    refused(result)
    written_out = {entry.name for entry in (tmp_path / "here").iterdir()}
    assert not written_out, "nothing is left behind"
    named = " ".join(place.name.encode("utf-8", "backslashreplace").decode().split())
    assert named[:40] in result[2]
