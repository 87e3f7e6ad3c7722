"""``kivuko align`` as a user meets it."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from command_checks import help_without_heavy_imports, refused
from PIL import Image

import kivuko
from kivuko.encoders.model import About, TokenMean, save_model
from kivuko.encoders.student import StaticStudent, load_transformer_student
from kivuko.encoders.teacher import load_teacher
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.transport.solve import METHODS
from tiny_bert import save_bert, save_teacher

TEXTS = ["paka mweusi anakula samaki", "क्षत्रिय मांजर आनंदाश्रूंचा चेहरा", "ጥቁር ድመት", "قطة سوداء"]
ENGLISH = "the black cat eats"


WORDS = ["the", "black", "cat", "eats", "fish", "paka", "##s"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, "model", the teacher that it names, "teacher", and a "narrow" one; read only."""
    place = tmp_path_factory.mktemp("align")
    for name, width in (("teacher", 24), ("narrow", 16)):
        save_teacher(place / name, WORDS, width, layers=2)
    teacher = load_teacher(place / "teacher")
    torch.manual_seed(0)
    student = StaticStudent(train_vocabulary(TEXTS, size=90), 24)
    mean = TokenMean(torch.randn(24), teacher.fingerprint)
    save_model(place / "model", student, None, about(teacher.source), "card", mean)
    return place


def about(teacher_source: str) -> About:
    return About(
        teacher="teacher", teacher_source=teacher_source, student="static", recipe="optical", seed=0,
        bitext_sizes={"sw": 1},
    )  # fmt: skip


@pytest.fixture
def align(run_here, place, monkeypatch):
    """Run ``kivuko align`` on the model."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: object, model: object = None) -> tuple[int, str, str]:
        return run_here("align", str(model or place / "model"), *map(str, words))

    return run


@pytest.mark.parametrize("text", TEXTS)
def test_every_word_is_in_the_table(align, text):
    status, out, err = align(text, ENGLISH)
    assert status == 0, err
    assert err == ""
    for word in (*text.split(), *ENGLISH.split()):
        assert word in out
    assert max(map(len, out.splitlines()[: 1 + len(text.split())])) <= 84  # marks of direction have no width
    assert "regularization 0.02: transport cost" in out
    assert "a row adds up to 100" in out
    assert "Unrelated words get a share, too; a word weighs by its subwords." in out
    assert "plain cosine" not in out
    assert "vocabulary" not in out


def test_json_is_one_object(align):
    status, out, _ = align(TEXTS[0], ENGLISH, "--json", "--regularization", "0.02", "--regularization", "0.5")
    assert status == 0
    told = json.loads(out)
    assert told["words"] == TEXTS[0].split()
    assert told["english_words"] == ENGLISH.split()
    assert told["centered"] is True
    assert told["teacher"] == "teacher"
    assert told["method"] == "sinkhorn"
    assert [plan["regularization"] for plan in told["plans"]] == [0.02, 0.5]
    for plan in told["plans"]:
        assert plan["converged"] is True
        assert plan["marginal_error"] < 1e-5
        assert {len(row) for row in plan["coupling"]} == {4}
        assert sum(map(sum, plan["coupling"])) == pytest.approx(1, abs=1e-5)
    assert told["plans"][0]["transport_cost"] < told["plans"][1]["transport_cost"]
    assert "tokens" not in told


def test_the_call_gives_what_the_command_gives(align, place, tmp_path):
    out = align(TEXTS[1], ENGLISH, "--json", "--regularization", "0.05", "--save", tmp_path / "command.svg")[1]
    (plan,) = json.loads(out)["plans"]
    found = kivuko.align(place / "model", TEXTS[1], ENGLISH, regularization=0.05)
    found.draw(tmp_path / "call.svg")
    assert plan["coupling"] == found.plan.round(8).tolist()
    assert (plan["transport_cost"], plan["iterations"]) == (found.transport_cost, found.iterations)
    assert (tmp_path / "call.svg").read_bytes() == (tmp_path / "command.svg").read_bytes()
    default = kivuko.align(kivuko.load_model(place / "model", device="cpu"), TEXTS[1], ENGLISH)
    assert f"regularization 0.02: {default.figures}" in align(TEXTS[1], ENGLISH)[1]
    assert str(default).splitlines()[-1] == f"regularization 0.02: {default.figures}"
    assert TEXTS[1].split()[0] in str(default)


def test_a_loaded_model_keeps_its_teacher(place, monkeypatch):
    model = kivuko.load_model(place / "model", device="cpu")
    kivuko.align(model, TEXTS[0], ENGLISH)
    monkeypatch.setattr("kivuko.encoders.teacher.load_teacher", None)
    first, second = kivuko.align(model, TEXTS[0], ENGLISH, regularization=[0.02, 0.1])
    assert (first.regularization, second.regularization) == (0.02, 0.1)


def test_json_of_tokens_adds_up_to_words(align):
    told = json.loads(align(TEXTS[1], ENGLISH, "--json", "--tokens")[1])
    (plan,) = told["plans"]
    assert len(told["tokens"]) == len(told["word_of_token"]) == len(plan["token_coupling"]) > len(told["words"])
    sums = [0.0] * len(told["words"])
    for word, row in zip(told["word_of_token"], plan["token_coupling"], strict=True):
        sums[word] += sum(row)
    assert sums == pytest.approx([sum(row) for row in plan["coupling"]], abs=1e-5)


def test_tokens_are_shown_with_a_dot_where_a_word_goes_on(align):
    status, out, _ = align("mweusi samaki", ENGLISH, "--tokens")
    assert status == 0
    rows = [line.split()[0] for line in out.splitlines()[1:] if "░" in line or "█" in line]
    assert len(rows) > 2
    assert any(row.startswith("·") for row in rows)
    assert "".join(row.strip("·_") for row in rows) == "mweusisamaki"


def test_images_of_several_plans(align, tmp_path):
    for name in ("one.png", "two.PNG", "one.svg"):
        plans = ("--regularization", "0.02", "--regularization", "0.3")[: 2 if name.startswith("one") else 4]
        status, out, err = align(TEXTS[1], ENGLISH, "--save", tmp_path / name, *plans)
        assert status == 0, err
        assert f"image: {tmp_path / name}" in out
        assert sum(line.startswith("regularization ") for line in out.splitlines()) == len(plans) / 2
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.PNG") as two:
        assert one.format == two.format == "PNG"
        assert two.width > 1.5 * one.width
    words = ["".join(text.itertext()) for text in ElementTree.parse(tmp_path / "one.svg").iter() if "text" in text.tag]
    for word in (*TEXTS[1].split(), *ENGLISH.split(), TEXTS[1], ENGLISH):
        assert word in words
    assert any(line.startswith("Unrelated words") for line in words)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one.png", "one.svg", "two.PNG"]


def test_a_script_without_a_font_is_told(align, tmp_path, monkeypatch):
    monkeypatch.setattr("kivuko.fonts.has_font", lambda script: script != "Ethi")
    assert "no font here has the letters of Ethi" in align(TEXTS[2], ENGLISH, "--save", tmp_path / "x.png")[2]
    assert align(TEXTS[0], ENGLISH, "--save", tmp_path / "x.png")[2] == ""
    assert align(TEXTS[2], ENGLISH, "--save", tmp_path / "x.svg")[2] == ""


def test_unknown_words_are_told_and_kept(align):
    status, out, _ = align("paka 日本 mweusi🐈", ENGLISH)
    assert status == 0
    assert "Not in the model's vocabulary: 日本" in out
    assert "In part not in the model's vocabulary: mweusi🐈" in out
    (row,) = [line for line in out.splitlines() if line.strip().startswith("日本")]
    assert row.split()[1:] == ["–"] * 4


def test_a_long_english_sentence_is_listed(align):
    status, out, _ = align(TEXTS[0], " ".join([ENGLISH] * 6))
    assert status == 0
    assert "the 3 largest shares" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_a_plan_that_did_not_converge_says_so(align, monkeypatch, tmp_path):
    monkeypatch.setattr("kivuko.encoders.alignment._MOST_ITERATIONS", 1)
    monkeypatch.setattr("kivuko.encoders.alignment._TOLERANCE", 1e-12)
    for more in ((), ("--json",)):
        status, out, err = align(TEXTS[0], ENGLISH, "--method", "sinkhorn_log", "--save", tmp_path / "x.svg", *more)
        assert status == 0
        assert err.startswith("warning: sinkhorn_log, regularization 0.02: not converged")
    assert json.loads(out)["plans"][0]["converged"] is False
    assert "not converged" in (tmp_path / "x.svg").read_text("utf-8")


@pytest.mark.parametrize(("method", "panels"), [("sinkhorn_log", 2), ("proximal", 2), ("exact", 1), ("greedy", 1)])
def test_other_methods(align, method, panels):
    if method not in METHODS:
        pytest.skip(f"no method {method}")
    if method == "exact":
        pytest.importorskip("ot")
    status, out, err = align(
        TEXTS[0], ENGLISH, "--method", method, "--regularization", "0.05", "--regularization", "0.1"
    )
    assert status == 0, err
    assert sum(line.startswith(method) and "transport cost" in line for line in out.splitlines()) == panels


def test_relaxed_marginals_move_less_mass(align):
    told = json.loads(align(TEXTS[0], ENGLISH, "--json", "--marginal-penalty", "0.1")[1])
    assert told["marginal_penalty"] == 0.1
    assert sum(map(sum, told["plans"][0]["coupling"])) < 0.99


def test_a_model_without_a_mean_token_says_so(align, place, tmp_path):
    shutil.copytree(place / "model", tmp_path / "old")
    (tmp_path / "old" / "token_mean.safetensors").unlink()
    status, out, _ = align(TEXTS[0], ENGLISH, model=tmp_path / "old")
    assert status == 0
    assert "does not hold the mean token of teacher: the cost is the plain cosine" in out
    assert json.loads(align(TEXTS[0], ENGLISH, "--json", model=tmp_path / "old")[1])["centered"] is False


def test_a_damaged_mean_token_is_refused(align, place, tmp_path):
    shutil.copytree(place / "model", tmp_path / "bad")
    (tmp_path / "bad" / "token_mean.safetensors").write_bytes(b"\x08")
    refused(align(TEXTS[0], ENGLISH, model=tmp_path / "bad"), "token_mean.safetensors: corrupted")


def test_a_transformer_model(align, place, tmp_path):
    student = load_transformer_student(save_bert(tmp_path / "bert", WORDS, 16, layers=2), 24)
    save_model(tmp_path / "model", student, None, about(str(place / "teacher")), "card")
    status, out, err = align("paka fish", ENGLISH, model=tmp_path / "model")
    assert status == 0, err
    assert "paka" in out


def test_a_foreign_model_needs_a_named_teacher(align, place):
    refused(align("cat", "cat", model=place / "teacher"), "--teacher")
    status, out, err = align("black cat", "black cat", "--teacher", place / "teacher", model=place / "teacher")
    assert status == 0, err
    assert "plain cosine" in out


def test_what_distill_makes_can_be_aligned(run_here, place, tmp_path, monkeypatch):
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "cache"))
    lines = [f"neno{number} paka\tword{number} cat\n" for number in range(40)]
    (tmp_path / "sw.tsv").write_text("".join(lines), encoding="utf-8")
    status, _, err = run_here(
        "distill", "--bitext", f"sw={tmp_path / 'sw.tsv'}", "--out", str(tmp_path / "m"), "--image-tower", "none",
        "--teacher", str(place / "teacher"), "--steps", "3", "--vocabulary-size", "200",
    )  # fmt: skip
    assert status == 0, err
    status, out, err = run_here("align", str(tmp_path / "m"), "neno paka", "the cat", "--json")
    assert status == 0, err
    assert json.loads(out)["centered"] is True


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["", "cat"], "the text is empty"),
        ([" \u200b", "cat"], "the text is empty"),
        (["paka", " "], "the English is empty"),
        (["\udcff", "cat"], "UTF-8"),
        (["日本語", "cat"], "vocabulary"),
        (["paka"], "ENGLISH"),
        (["paka", "cat", "fish"], "Got unexpected extra argument (fish). See 'kivuko align --help'."),
        (["paka", "cat", "--save", "x.gif"], ".png or .svg"),
        (["paka", "cat", "--save", "x"], ".png or .svg"),
        (["paka", "cat", "--method", "nosuch"], "sinkhorn"),
        (["paka", "cat", "--regularization", "0"], "--regularization"),
        (["paka", "cat", "--regularization", "nan"], "--regularization"),
        (["paka", "cat", "--regularization", "inf"], "--regularization"),
        (["paka", "cat", "--regularization", "1e-30"], "too small"),
        (["paka", "cat", "--marginal-penalty", "-1"], "--marginal-penalty"),
        (["paka", "cat", "--teacher", "/nosuch"], "/nosuch"),
    ],
)
def test_bad_input_is_one_line(align, words, told):
    refused(align(*words), told)


def test_a_place_that_cannot_be_written_is_refused_before_the_work(align, tmp_path):
    (tmp_path / "file").write_text("x")
    refused(align("paka", "cat", "--save", tmp_path / "file" / "x.png", model="open_clip:nosuch/nosuch"), "file")
    (tmp_path / "folder.png").mkdir()
    refused(align("paka", "cat", "--save", tmp_path / "folder.png", model="open_clip:nosuch/nosuch"), "folder.png")


def test_folders_that_are_no_models(align, tmp_path, place):
    refused(align("paka", "cat", model=tmp_path / "nosuch"), "no such model folder")
    refused(align("paka", "cat", model=tmp_path), "modules.json")
    shutil.copytree(place / "model", tmp_path / "moved")
    told = json.loads((tmp_path / "moved" / "kivuko.json").read_text("utf-8"))
    (tmp_path / "moved" / "kivuko.json").write_text(json.dumps({**told, "teacher_source": str(tmp_path / "gone")}))
    refused(align("paka", "cat", model=tmp_path / "moved"), "gone", "--teacher")


def test_a_teacher_of_another_width_is_refused(align, place):
    refused(align("paka", "cat", "--teacher", place / "narrow"), "24", "16", "width")


def test_help_has_an_example_and_imports_no_torch():
    told = help_without_heavy_imports("align")
    assert 'kivuko align kivuko-demo/model "paka mweusi" "black cat"' in told
    for method in ("sinkhorn", "proximal", "exact", "greedy"):
        assert method in told


def test_the_old_name_of_save_still_works(align, tmp_path):
    status, _, err = align(TEXTS[0], ENGLISH, "--image", tmp_path / "x.svg")
    assert status == 0
    assert (tmp_path / "x.svg").is_file()
    assert "--image is now --save" in err
