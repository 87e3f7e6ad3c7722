"""``kivuko attack`` from end to end on a tiny emoji world, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from command_checks import help_without_heavy_imports, refused
from PIL import Image

from kivuko.cli.main import main
from kivuko.evaluation.attack.examples import read_examples
from kivuko.evaluation.records import read_per_query, read_records

SCORES = ("R@1", "MAP")
GREEDY = "greedy:candidates=8,kinds=typo"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder for what the tests of this file share."""
    return tmp_path_factory.mktemp("attack-command")


@pytest.fixture
def kivuko(monkeypatch, run_here, place, tiny_cldr):
    """Run a command in this process on the tiny world: (exit status, standard output, standard error)."""
    monkeypatch.setenv("KIVUKO_CACHE", str(place / "cache"))
    monkeypatch.setenv("KIVUKO_CLDR", str(tiny_cldr))
    monkeypatch.setattr("kivuko.datasets.emoji.world.TEST_CONCEPTS", 12)
    monkeypatch.setattr("kivuko.datasets.emoji.world.VALIDATION_CONCEPTS", 6)
    monkeypatch.setenv("COLUMNS", "160")
    return run_here


@pytest.fixture(scope="module")
def model(place, tiny_world):
    """A model taught the names of the tiny world, those of the test split too, so that there is something to lose."""
    words = ["kivuko", "distill", "--out", str(place / "model"), "--recipe", "mse", "--steps", "60"]
    for code in ("sw", "mr"):
        english = tiny_world.annotations["en"]
        lines = [f"{own.name}\t{english[one].name}\n" for one, own in tiny_world.annotations[code].items()]
        (place / f"{code}.tsv").write_text("".join(lines), encoding="utf-8")
        words += ["--bitext", f"{code}={place / f'{code}.tsv'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIVUKO_CACHE", str(place / "cache"))
        patch.setattr(sys, "argv", [*words, "--vocabulary-size", "400"])
        main()
    return place / "model"


@pytest.fixture
def attack(kivuko, model, tmp_path):
    """Attack the model's Swahili (unless ``words`` say else); check that all went well, return what was printed."""

    def run(*words: str, records: Path | None = None) -> tuple[str, Path]:
        records = records or tmp_path / "r.jsonl"
        where = () if "--languages" in words else ("--languages", "sw")
        status, out, err = kivuko("attack", str(model), *where, "--records", str(records), *words)
        assert status == 0, err
        return out, records

    return run


def values(records: Path, measure: str, language: str = "sw") -> dict[tuple[str | None, float | None], float]:
    """Return the value of all queries under each attack and budget; clean under (None, None)."""
    return {
        (one.attack, one.budget): one.value
        for one in read_records(records)[1]
        if (one.measure, one.language, one.subset) == (measure, language, "all")
    }


def test_budgets_of_nothing_change_nothing_and_larger_ones_harm_more(attack):
    out, records = attack(
        "--attack", "greedy:edits=0|1|2,candidates=8", "pgd:eps=0|1/255|8/255,steps=5", "blur:severity=0|5",
        "typo:edits=0",
    )  # fmt: skip
    for measure in SCORES:
        found = values(records, measure)
        clean = found[None, None]
        assert clean > 0
        for name in (GREEDY, "pgd:steps=5", "blur", "typo"):
            assert found[name, 0.0] == clean
        assert clean >= found[GREEDY, 1.0] >= found[GREEDY, 2.0]
        assert clean >= found["pgd:steps=5", 1 / 255] >= found["pgd:steps=5", 8 / 255]
    assert values(records, "MAP")[GREEDY, 2.0] < values(records, "MAP")[None, None]
    assert values(records, "R@1")["pgd:steps=5", 8 / 255] < values(records, "R@1")[None, None] - 0.2
    for told in (
        "pgd:eps=8/255,steps=5",
        "greedy:edits=2,candidates=8,kinds=typo",
        "R@1",
        "MAP",
        "calls",
        str(records),
    ):
        assert told in " ".join(out.split())


def test_records_name_both_kinds_of_success_and_the_calls(attack):
    _, records = attack("--attack", "pgd:eps=8/255,steps=5")
    header, found = read_records(records)
    assert header.command.startswith("kivuko attack")
    assert header.protocol["dataset"] == "emoji"
    measures = {one.measure for one in found if one.attack == "pgd:steps=5"}
    assert {"R@1", "MAP", "accuracy_drop", "success_of_correct", "robustness ratio"} <= measures
    drop = [one for one in found if one.measure == "accuracy_drop"]
    assert all(one.low <= one.value <= one.high for one in drop)
    assert any("call" in one.measure for one in found)
    blocks = read_per_query(records)
    assert {(one.condition.attack, one.condition.budget) for one in blocks} == {(None, None), ("pgd:steps=5", 8 / 255)}


def test_examples_tell_what_was_done(attack, tmp_path):
    _, records = attack("--attack", "greedy:edits=2,candidates=8", "pgd:eps=2/255,steps=3", "contrast:severity=2")
    examples = read_examples(records)
    texts = [one for one in examples if one.condition.attack.startswith("greedy")]
    assert any(one.edits for one in texts)
    for one in texts:
        assert len(one.edits) <= 2
        assert one.rank_after >= one.rank_before
        assert not one.linf
    pixels = [one for one in examples if one.condition.attack.startswith("pgd")]
    assert len(pixels) == len(texts)
    assert any(one.linf for one in pixels)
    for one in pixels:
        assert one.query == one.perturbed
        assert one.linf <= 2 / 255 + 1e-7
        assert one.calls <= 3 * 2 + 3
    noisy = [one for one in examples if one.condition.attack == "contrast"]
    assert all(one.linf > 0 and one.calls == 0 for one in noisy)


@pytest.mark.parametrize("name", ["sep-attack", "co-attack", "sga"])
def test_joint_attacks_keep_to_both_budgets(attack, name):
    _, records = attack("--attack", f"{name}:eps=2/255,edits=1,steps=2", "--queries", "3")
    examples = read_examples(records)
    assert len(examples) == 3
    assert all(len(one.edits) <= 1 and one.linf <= 2 / 255 + 1e-7 for one in examples)
    assert any(one.edits for one in examples)
    assert any(one.linf for one in examples)
    found = values(records, "MAP")
    assert found[f"{name}:edits=1,steps=2,candidates=32,kinds=typo", 2 / 255] < found[None, None]


def test_one_seed_gives_one_outcome_and_another_another(attack, tmp_path):
    words = ("--attack", "typo:edits=2", "gaussian-noise:severity=4", "pgd:eps=1/255,steps=2", "--seed")
    first, again, other = (
        read_records(attack(*words, seed, records=tmp_path / f"{n}.jsonl")[1])[1] for n, seed in enumerate("778")
    )
    assert first == again
    assert first != other


def test_perturbed_images_are_saved(attack, tmp_path):
    attack("--attack", "pgd:eps=4/255,steps=3", "--images", str(tmp_path / "images"), "--queries", "3")
    files = sorted((tmp_path / "images").rglob("*.png"))
    assert len(files) == 3
    assert all(Image.open(file).size == (64, 64) and Image.open(file).mode == "RGB" for file in files)


def test_a_number_of_queries_is_kept_to_and_is_a_part_of_a_larger_one(attack, tmp_path):
    def attacked(number: str) -> set[tuple[str, str]]:
        words = ("--attack", "typo:edits=1", "--queries", number, "--languages", "sw", "mr")
        _, records = attack(*words, records=tmp_path / f"{number}.jsonl")
        return {(one.language, one.query_id) for one in read_examples(records)}

    few, many = attacked("2"), attacked("5")
    assert sorted(code for code, _ in few) == ["mr", "mr", "sw", "sw"]
    assert few < many
    assert len(many) == 10


def test_the_validation_split(attack):
    _, records = attack("--attack", "typo:edits=1", "--split", "validation")
    assert {one.split for one in read_records(records)[1]} == {"validation"}


def test_images_crafted_in_english_are_tried_in_the_language(attack):
    _, records = attack("--attack", "pgd:eps=8/255,steps=10", "--crafted", "both")
    found = values(records, "MAP")
    own = found["pgd:steps=10", 8 / 255]
    english = next(value for (name, _), value in found.items() if name and "english" in name)
    assert own <= english
    assert own < found[None, None]


def test_examples_go_where_they_are_told(attack, tmp_path):
    import pyarrow.parquet as pq

    attack("--attack", "typo:edits=1", "--queries", "3", "--examples", str(tmp_path / "deep" / "e.parquet"))
    table = pq.read_table(tmp_path / "deep" / "e.parquet")
    assert table.num_rows == 3
    assert {"query", "perturbed", "edits", "rank_after"} <= set(table.column_names)
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["e.parquet"]


def test_the_catalog_is_printed_without_a_model(kivuko):
    status, out, err = kivuko("attack", "--list")
    assert status == 0, err
    for told in ("pgd", "typo", "gaussian-noise", "square", "sga", "gradients", "queries", "nothing", "eps (2/255)"):
        assert told in out


def test_help_has_examples_and_comes_at_once():
    told = help_without_heavy_imports("attack")
    assert "kivuko attack" in told
    assert "pgd:eps=2/255" in told
    assert "typo:edits=2" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--attack", "pdg:eps=2/255"], ["pdg", "did you mean 'pgd'"]),
        (["--attack", "pgd:step=20"], ["step", "did you mean 'steps'"]),
        (["--attack", "pgd:eps=2"], ["eps"]),
        (["--attack", "pgd:eps=-1/255"], ["eps"]),
        (["--attack", "pgd:eps=nan"], ["nan"]),
        (["--attack", "pgd:eps=2/0"], ["2/0"]),
        (["--attack", "typo:edits=-1"], ["edits"]),
        (["--attack", "typo:edits=1.5"], ["1.5"]),
        (["--attack", "typo:edits=1", "typo:edits=x"], ["edits"]),
        (["--attack", "blur:severity=6"], ["severity"]),
        (["--attack", "typo:edits"], ["typo:edits"]),
        (["--attack", ""], ["attack"]),
        ([], ["--attack"]),
        (["--attack", "typo", "--queries", "0"], ["--queries"]),
        (["--attack", "typo", "--seed", "-1"], ["--seed"]),
        (["--attack", "typo", "--seed", str(10**30)], ["--seed"]),
        (["--attack", "typo", "--split", "train"], ["split", "train"]),
        (["--attack", "typo", "--dataset", "coco"], ["coco", "NAME:PATH"]),
        (["--attack", "typo", "--languages", "en"], ["teacher's own"]),
        (["--attack", "typo", "--languages", "xx"], ["xx"]),
        (["--attack", "pgd", "--crafted", "french"], ["--crafted"]),
    ],
)
def test_wrong_options_are_one_line_before_any_work(kivuko, model, monkeypatch, words, told):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("images were encoded")

    monkeypatch.setattr("kivuko.search.building.emoji_vectors", never)
    refused(kivuko("attack", str(model), *words), *told)


def test_models_that_cannot_be_attacked(kivuko, model, tmp_path):
    refused(kivuko("attack", str(tmp_path / "none"), "--attack", "typo"), "none", "no such model folder")
    (tmp_path / "empty").mkdir()
    refused(kivuko("attack", str(tmp_path / "empty"), "--attack", "typo"), "empty", "not a model folder")
    refused(kivuko("attack", "--attack", "typo"), "MODEL")


def test_places_that_cannot_be_written_are_refused_before_the_work(kivuko, model, monkeypatch, tmp_path):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr("kivuko.datasets.emoji.world.emoji_world", never)
    start = ("attack", str(model), "--languages", "sw", "--attack", "pgd")
    (tmp_path / "file").write_text("x")
    refused(kivuko(*start, "--records", str(tmp_path)), str(tmp_path))
    refused(kivuko(*start, "--records", str(tmp_path / "r.jsonl"), "--examples", str(tmp_path)), str(tmp_path))
    refused(kivuko(*start, "--records", str(tmp_path / "r.jsonl"), "--images", str(tmp_path / "file")), "file")


def test_what_stood_there_before_stays_when_an_attack_is_refused(kivuko, model, tmp_path):
    records = tmp_path / "r.jsonl"
    records.write_text("mine")
    refused(kivuko("attack", str(model), "--attack", "nosuch", "--records", str(records)), "nosuch")
    assert records.read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.jsonl"]
