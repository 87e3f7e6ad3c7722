"""Bitext that is read while a student trains, window by window."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from tiny_run import WordTeacher

import kivuko
from kivuko.bitext.pairs import Bitext, Pair
from kivuko.errors import DataError, UsageError
from kivuko.training.streaming import PairStream, StreamedBatches
from kivuko.training.teacher_vectors import teacher_vectors
from tiny_bert import save_teacher


@pytest.fixture
def files(tmp_path):
    """Two files, of 90 and 30 pairs, as sources."""
    for code, count in (("sw", 90), ("so", 30)):
        lines = [f"{code} neno{number}\tword{number} {code}\n" for number in range(count)]
        (tmp_path / f"{code}.tsv").write_text("".join(lines), encoding="utf-8")
    return (("sw", str(tmp_path / "sw.tsv")), ("so", str(tmp_path / "so.tsv")))


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "cache"))


def test_the_windows_hold_every_pair_once_and_are_the_same_each_time(files):
    stream = PairStream(files, 50)
    windows = list(stream.windows())
    assert [len(window) for window in windows] == [50, 50, 20]
    assert len({(pair.text, pair.english) for window in windows for pair in window}) == 120
    assert windows[0].languages() == ("sw", "so")
    assert [window.pairs for window in stream.windows()] == [window.pairs for window in windows]


def test_a_file_is_not_read_further_than_its_window(tmp_path):
    file = tmp_path / "sw.tsv"
    file.write_text("".join(f"neno{n}\tword{n}\n" for n in range(200_000)), encoding="utf-8")
    stream = PairStream((("sw", str(file)),), 1000)
    opened = []
    import kivuko.training.streaming as module

    original = module.open_source
    module.open_source = lambda *given: opened.append(original(*given)) or opened[-1]
    try:
        assert len(next(stream.windows())) == 1000
    finally:
        module.open_source = original
    assert opened[0].bytes_read() < 0.5 * file.stat().st_size


def batches(files, held_out=(), size=16, first=None):
    stream, teacher = PairStream(files, 50), WordTeacher()
    held = Bitext(tuple(Pair("sw", "", english, "") for english in held_out))
    window = [pair.english for pair in next(stream.windows()) if pair.english not in held_out]
    return StreamedBatches(stream, held, teacher, teacher_vectors(teacher, window), size, seed=3)


def test_a_pass_holds_every_pair_once_without_those_held_out(files):
    held = ["word3 sw", "word80 sw"]
    flow = batches(files, held)
    seen, number = [], 0
    for number in itertools.count(1):
        if len(seen) >= 118:
            break
        pairs, target = flow.batch(number)
        assert len(pairs) == len(target) <= 16
        seen += pairs
        direct = WordTeacher().encode_tokens([pair.english for pair in pairs])
        torch.testing.assert_close(target.pooled, direct.pooled)
    assert len({pair.english for pair in seen}) == len(seen) == 118
    assert not {pair.english for pair in seen} & set(held)
    assert flow.sizes == {"sw": 88, "so": 30}
    again = [pair for _ in range(number - 1) for pair in flow.batch(0)[0]]
    assert {pair.english for pair in again} == {pair.english for pair in seen}
    assert [pair.english for pair in again] != [pair.english for pair in seen], "each pass has an order of its own"


@pytest.mark.parametrize("start", [1, 4, 9, 11])
def test_a_resumed_run_gets_the_batches_that_were_to_come(files, start):
    whole, rest = batches(files), batches(files)
    everything = [whole.batch(number)[0] for number in range(1, 15)]
    assert [rest.batch(number)[0] for number in range(start, 15)] == everything[start - 1 :]


def test_nothing_but_held_out_pairs_is_refused(files):
    flow = batches(files)
    flow.held_out = {pair.english.casefold() for window in flow.stream.windows() for pair in window}
    with pytest.raises(DataError, match="no pairs to train on"):
        flow.batch(1)


@pytest.fixture
def place(tmp_path):
    save_teacher(tmp_path / "teacher", ["the", "cat", *(f"word{n}" for n in range(40))], 24)
    lines = (f"neno{n % 40} paka{n}\tword{n % 40} cat {n}\n" for n in range(3000))
    (tmp_path / "sw.tsv").write_text("".join(lines), encoding="utf-8")
    return tmp_path


def distill(place, out, **options):
    given = {
        "steps": 12,
        "vocabulary_size": 300,
        "recipe": "mse",
        "image_tower": "none",
        "progress": False,
        "batch_size": 128,
    }
    return kivuko.distill({"sw": place / "sw.tsv"}, place / out, **(given | {"teacher": place / "teacher"} | options))


def test_distill_reads_while_it_trains(place):
    model = distill(place, "streamed", window=1000, steps=20)
    assert 2000 < model.about.bitext_sizes["sw"] <= 3000
    assert len((model.path / "training.jsonl").read_text().splitlines()) == 20
    again = distill(place, "again", window=1000, steps=20)
    assert again.encode_text(["neno3 paka3"]).tolist() == model.encode_text(["neno3 paka3"]).tolist()
    assert json.loads((model.path / "kivuko.json").read_text())["run"] == again.about.run


def test_a_window_that_holds_everything_changes_nothing(place):
    plain, wide = distill(place, "plain"), distill(place, "wide", window=5000)
    assert plain.about.run == wide.about.run


@pytest.mark.parametrize(
    ("bitext", "options", "message"),
    [
        ("emoji", {}, "window: emoji cannot be read while training"),
        ("-", {}, "window: - cannot be read while training"),
        (Bitext((Pair("sw", "a", "b", "c"),)), {}, "window: a Bitext cannot be read"),
        (None, {"epochs": 2, "steps": None}, "needs the number of pairs"),
        (None, {"window": 10}, "window"),
    ],
)
def test_what_cannot_be_streamed_is_one_line(place, bitext, options, message):
    given = {"window": 1000, "teacher": place / "teacher", "progress": False} | options
    with pytest.raises(UsageError, match=message):
        kivuko.distill({"sw": place / "sw.tsv" if bitext is None else bitext}, place / "m", **given)
