"""What a user can get wrong: each gives one line on standard error, status 2, and leaves everything as it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from command_checks import refused
from safetensors.torch import load_file, save_file

from kivuko.encoders.model import read_about
from kivuko.errors import UsageError
from kivuko.files import cache_folder
from kivuko.training.recipe import parse_recipe

QUICK = ("--steps", "5", "--vocabulary-size", "300")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small bitext, sw.tsv."""
    folder = tmp_path_factory.mktemp("bad-input")
    lines = [f"neno{i} nyumba{i % 7} paka\tword{i} house{i % 7} cat\n" for i in range(60)]
    (folder / "sw.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def kivuko(run_here):
    """Run a command in this process: (exit status, standard output, standard error)."""
    return run_here


@pytest.fixture
def distill(kivuko, place):
    """Distill the small bitext into a folder."""

    def run(out: object, *words: str, bitext: str = "") -> tuple[int, str, str]:
        return kivuko("distill", "--bitext", bitext or f"sw={place / 'sw.tsv'}", "--out", str(out), *QUICK, *words)

    return run


@pytest.fixture
def model(distill, place):
    """A model trained on the small bitext, text and images; read only."""
    out = place / "model"
    status, _, err = distill(out)
    assert status == 0, err
    return out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["distill", "--bitext", "sw=x.tsv", "--out", "m", "--steps", "0"], "--steps"),
        (["distill", "--bitext", "sw=x.tsv", "--out", "m", "--seed", str(10**30)], "--seed"),
        (["distill", "--bitext", "sw=x.tsv", "--out", "m", "--vocabulary-size", str(10**14)], "--vocabulary-size"),
        (["distill", "--bitext", "sw=x.tsv", "--out", "m", "--validation-share", "nan"], "--validation-share"),
        (["distill", "--out", "m"], "--bitext"),
        (["study", "low-resource", "--sizes", "nan"], "--sizes"),
        (["data", "emoji", "--languages", ""], "none named"),
        (["demo", "--languages", "en"], "teacher's own"),
        (["search", "m"], "QUERY"),
        (["search", "m" * 300, "paka"], "name is too long"),
        (["search", "m", "\udcff paka"], "UTF-8"),
        (["search", "m", "\u200b"], "empty"),
        (["nosuch"], "nosuch"),
    ],
)
def test_a_wrong_option_is_one_line(kivuko, words, told):
    refused(kivuko(*words), told)


def test_a_single_english_sentence_names_the_file(distill, tmp_path):
    (tmp_path / "one.tsv").write_text("paka\tcat\nnyau\tCat\n", encoding="utf-8")
    refused(distill(tmp_path / "m", bitext=f"sw={tmp_path / 'one.tsv'}"), "one.tsv", "more bitext")


def test_brackets_and_colons_of_the_users_are_no_markup(kivuko, distill, model, tmp_path):
    folder = tmp_path / "a["
    folder.mkdir()
    (folder / "b].tsv").write_text("paka\tcat\nmbwa\tdog\nhakuna safu\n", encoding="utf-8")
    status, out, err = distill(tmp_path / "m[red]", bitext=f"sw={folder}/b].tsv")
    assert status == 0, err
    assert "a[/b].tsv: 1 of 3 lines left out" in err
    assert "m[red]" in out
    status, out, err = kivuko("search", str(model), "[/b] paka :cat:", "-k", "1")
    assert status == 0, err
    assert "[/b] paka :cat:" in " ".join(out.split())


def test_a_link_is_written_through(distill, tmp_path):
    real, link, dangling = tmp_path / "real", tmp_path / "link", tmp_path / "dangling"
    real.mkdir()
    link.symlink_to(real)
    dangling.symlink_to(tmp_path / "elsewhere")
    for place in (link, dangling):
        status, _, err = distill(place)
        assert status == 0, err
        assert place.is_symlink()
    assert (real / "modules.json").is_file()
    assert (tmp_path / "elsewhere" / "modules.json").is_file()
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == ["dangling", "elsewhere", "link", "real"]


def test_another_image_tower_is_another_model(distill, model, tmp_path):
    tower = tmp_path / "tower"
    from kivuko.datasets.emoji.sources import shipped_image_tower

    shutil.copytree(shipped_image_tower(), tower)
    weights = next(tower.rglob("2_Dense/model.safetensors"))
    save_file({name: -value for name, value in load_file(weights).items()}, weights)
    out = tmp_path / "m"
    shutil.copytree(model, out)
    assert "made before" in distill(out)[2]
    status, _, err = distill(out, "--image-tower", str(tower))
    assert status == 0, err
    assert "made before" not in err


def test_a_query_without_a_known_word_is_refused(kivuko, model):
    for query in ("日本語", "😀"):
        refused(kivuko("search", str(model), query), query, "vocabulary")
    assert kivuko("search", str(model), "日本語 paka", "-k", "1")[0] == 0


def test_a_small_student_tells_known_words_too(kivuko, distill, tmp_path):
    status, _, err = distill(tmp_path / "m", "--student", "small")
    assert status == 0, err
    assert "MISSING" not in err
    refused(kivuko("search", str(tmp_path / "m"), "日本語"), "vocabulary")
    assert kivuko("search", str(tmp_path / "m"), "paka", "-k", "1")[0] == 0


def test_a_text_model_is_named_when_asked_for_images(kivuko, distill, tmp_path):
    out = tmp_path / "text"
    assert distill(out, "--image-tower", "none")[0] == 0
    refused(kivuko("search", str(out), "paka"), str(out), "text only")
    refused(kivuko("evaluate", str(out)), str(out), "text only")


def test_damaged_models_are_named(kivuko, distill, model, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    weights = next((broken / "text_0_StaticEmbedding").rglob("model.safetensors"))
    whole = load_file(weights)
    save_file({name: torch.full_like(value, float("nan")) for name, value in whole.items()}, weights)
    refused(kivuko("search", str(broken), "paka"), str(broken), "NaN")
    weights.write_bytes(weights.read_bytes()[:1000])
    refused(kivuko("search", str(broken), "paka"), str(broken), "Delete the folder")


@pytest.mark.parametrize(
    "change",
    [{"bitext_sizes": ["sw"]}, {"bitext_sizes": {"sw": "many"}}, {"bitext_sizes": None}, {"seed": "x"}, {"recipe": 5},
     {"teacher_source": 7}, {"validation_score": "x"}],
)  # fmt: skip
def test_a_damaged_kivuko_json_is_named(kivuko, model, tmp_path, change):
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    about = json.loads((broken / "kivuko.json").read_text("utf-8"))
    (broken / "kivuko.json").write_text(json.dumps(about | change))
    refused(kivuko("evaluate", str(broken)), "kivuko.json", "corrupted")
    assert read_about(model) is not None


def test_a_place_that_cannot_be_written_is_refused_before_the_work(kivuko, model, place, tmp_path, monkeypatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr("kivuko.cli.data.load_world", never)
    (tmp_path / "folder.png").mkdir()
    refused(kivuko("search", str(model), "paka", "--image", str(tmp_path / "folder.png")), "folder.png")
    refused(kivuko("evaluate", str(model), "--records", str(tmp_path)), str(tmp_path))
    refused(kivuko("study", "low-resource", "--records", str(tmp_path)), str(tmp_path))
    refused(kivuko("demo", "--out", str(place / "sw.tsv")), "sw.tsv")


@pytest.mark.parametrize(
    "content",
    [
        "x = " + "[" * 3000,
        '[[objective]]\nkind = "mse"\nweight = ' + "9" * 400,
        '[[objective]]\nkind = "mse"\nweight = ' + "9" * 5000,
        '[[objective]]\nkind = "mse"\nweight = 0',
        '[[objective]]\nkind = "mse"\n[schedule]\nbatch_size = ' + "9" * 400,
        '[[objective]]\nkind = "mse"\n[schedule]\nlearning_rate = 1e300',
    ],
)
def test_recipes_beyond_all_bounds_are_refused(content):
    with pytest.raises(UsageError, match=r"mine\.toml: "):
        parse_recipe(content, "mine", "mine.toml")


def test_a_recipe_may_not_take_the_name_of_a_row(distill, tmp_path):
    file = tmp_path / "teacher.toml"
    file.write_text('[[objective]]\nkind = "mse"\n')
    refused(distill(tmp_path / "m", "--recipe", str(file)), "teacher.toml", "another name")


def test_a_recipe_with_a_byte_order_mark_is_read(distill, tmp_path):
    (tmp_path / "mine.toml").write_bytes(b'\xef\xbb\xbf[[objective]]\nkind = "mse"\n')
    assert distill(tmp_path / "m", "--recipe", str(tmp_path / "mine.toml"))[0] == 0


def test_damaged_caches_are_named(kivuko, model, real_world, tmp_path, monkeypatch):
    # The real world is drawn; what other workers draw meanwhile may go while it is copied.
    shutil.copytree(cache_folder() / "emoji", tmp_path / "cache" / "emoji", ignore=shutil.ignore_patterns(".*.tmp"))
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "cache"))
    assert kivuko("search", str(model), "paka", "-k", "1")[0] == 0
    for file in (tmp_path / "cache" / "index").rglob("*.safetensors"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    refused(kivuko("search", str(model), "paka"), "emoji-", "Delete this folder")
    for world in (tmp_path / "cache" / "emoji").glob("world-*"):
        (world / "manifest.json").write_text('{"format": 1, "sha256": {}}')
    refused(kivuko("data", "emoji", "--languages", "sw"), "manifest.json", "Delete the folder")


def test_a_reader_that_leaves_and_a_terminal_without_the_letters(model):
    start = [sys.executable, "-c", "from kivuko.cli import main; main()"]
    own = {**os.environ}
    gone, writing = os.pipe()
    os.close(gone)
    done = subprocess.run([*start, "data", "emoji", "--list"], stdout=writing, stderr=subprocess.PIPE, env=own)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    ascii_only = {**own, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*start, "search", str(model), "paka", "-k", "1"], capture_output=True, env=ascii_only)
    assert done.returncode == 0, done.stderr
