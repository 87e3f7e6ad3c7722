"""``kivuko distill --multi-vector``: the encoder that it writes beside the model, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from command_checks import help_without_heavy_imports, refused
from torch.nn import functional as F

from kivuko.encoders.model import load_encoder
from kivuko.encoders.teacher import load_teacher
from kivuko.encoders.word_tokens import text_tokens
from tiny_bert import save_teacher


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small bitext, sw.tsv, and a tiny teacher; read only."""
    place = tmp_path_factory.mktemp("multi-vector")
    save_teacher(place / "teacher", ["the", "cat", "house", *(f"word{n}" for n in range(40))], 24)
    lines = [f"neno{number} paka\tword{number} cat\n" for number in range(40)]
    (place / "sw.tsv").write_text("".join(lines), encoding="utf-8")
    return place


@pytest.fixture
def distill(run_here, place, monkeypatch):
    """Distill the small bitext into a folder."""
    monkeypatch.setenv("KIVUKO_CACHE", str(place / "cache"))

    def run(out: object, *words: object) -> tuple[int, str, str]:
        return run_here(
            "distill", "--bitext", f"sw={place / 'sw.tsv'}", "--out", str(out), "--image-tower", "none",
            "--teacher", str(place / "teacher"), "--steps", "3", "--vocabulary-size", "200", *map(str, words),
        )  # fmt: skip

    return run


def test_it_is_written_from_the_model_whether_trained_now_or_before(distill, place, tmp_path):
    from sentence_transformers import MultiVectorEncoder

    for number, told in enumerate(["was best", "made before"]):
        status, out, err = distill(tmp_path / "m", "--multi-vector", tmp_path / f"tokens-{number}")
        assert status == 0, err
        assert told in f"{out} {err}"
        assert "queries by static, documents by teacher" in err
        encoder = MultiVectorEncoder(str(tmp_path / f"tokens-{number}"), device="cpu")
        teacher = load_teacher(place / "teacher")
        expected = text_tokens(load_encoder(tmp_path / "m"), "neno paka", "m").vectors
        torch.testing.assert_close(encoder.encode_query("neno paka"), F.normalize(expected, dim=-1), atol=1e-5, rtol=0)
        expected = teacher.encode_tokens(["the cat"]).content()
        torch.testing.assert_close(encoder.encode_document("the cat"), F.normalize(expected, dim=-1), atol=1e-5, rtol=0)
    card = (tmp_path / "tokens-1" / "README.md").read_text("utf-8")
    assert "recipe `optical-words`, student static, seed 0" in card


def test_without_the_option_nothing_more_is_written(distill, tmp_path):
    status, out, err = distill(tmp_path / "m")
    assert status == 0, err
    assert [file.name for file in tmp_path.iterdir()] == ["m"]
    assert "multi-vector" not in out


def test_what_cannot_be_written_is_refused_before_training(distill, tmp_path):
    out = tmp_path / "models" / "m"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years")
    for folder in (out, out / "tokens", out.parent, tmp_path / "models" / "x" / ".." / "m"):
        refused(distill(out, "--multi-vector", folder), "--multi-vector", "name a separate folder")
    refused(distill(out, "--multi-vector", f"{out}.training"), "checkpoints")
    refused(distill(out, "--multi-vector", tmp_path / "thesis"), str(tmp_path / "thesis"), "nothing was replaced")
    assert [file.name for file in tmp_path.iterdir()] == ["thesis"]


def test_help_says_what_it_is(run_here):
    told = " ".join(help_without_heavy_imports("distill").split())
    assert "--multi-vector DIR Also write a multi-vector encoder here" in told
