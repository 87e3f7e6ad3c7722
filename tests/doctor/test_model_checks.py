"""Traps: codes of languages, prompts, capitals, protocols, and what a model says of its training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from patients import DIM, PAIRS, SENTENCES, SWAHILI, levels, make_model, make_teacher, opened, word_tokenizer
from tokenizers import normalizers

from kivuko.bitext.pairs import Pair
from kivuko.doctor.finding import Sentences
from kivuko.doctor.model_checks import (
    check_agreement,
    check_casing,
    check_codes,
    check_prompts,
    check_protocol,
    check_training,
)
from kivuko.encoders.modules import backend_tokenizer, text_route
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.teacher import load_teacher
from tiny_clip import save_siglip2


def saved(folder, tiny_bert, *, options=None, **content):
    """Save a sentence-transformers folder over a tiny encoder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    modules = [Transformer(str(tiny_bert), **(options or {})), Pooling(32)]
    SentenceTransformer(modules=modules, device="cpu", **content).save(str(folder))
    return folder


class TestCodes:
    """Which languages are meant."""

    @pytest.mark.parametrize(
        ("codes", "expected"),
        [(["quy", "quz"], ["warning"]), (["qu", "sw"], ["note"]), (["sw", "mr"], []), (["bn", "mi"], ["note", "note"])],
    )
    def test_levels(self, healthy, codes, expected):
        assert levels(check_codes(healthy, codes)) == expected

    def test_one_requested_and_another_trained(self, healthy):
        trained = replace(healthy, about=replace(healthy.about, bitext_sizes={"quy": 9_000}))
        (result,) = check_codes(trained, ["quz"])
        assert "not the same language" in result.what
        assert "Ayacucho" in result.what
        assert "Cuzco" in result.what


class TestPrompts:
    """How texts are prepared."""

    def test_e5_without_its_prefix(self, tiny_bert, tmp_path):
        subject = opened(saved(tmp_path / "multilingual-e5-tiny", tiny_bert))
        (result,) = check_prompts(subject)
        assert result.level == "warning"
        assert "'query: '" in result.what

    def test_e5_with_it(self, tiny_bert, tmp_path):
        folder = saved(tmp_path / "e5-tiny", tiny_bert, prompts={"query": "query: "}, default_prompt_name="query")
        assert levels(check_prompts(opened(folder))) == ["ok"]

    def test_prompts_that_nobody_uses(self, tiny_bert, tmp_path):
        folder = saved(tmp_path / "model", tiny_bert, prompts={"query": "find: ", "document": ""})
        (result,) = check_prompts(opened(folder))
        assert result.level == "warning"
        assert "(query)" in result.what

    def test_the_teachers_prefix(self, healthy, tmp_path):
        teacher = make_teacher(tmp_path / "e5-base")
        assert levels(check_prompts(replace(healthy, teacher=load_teacher(teacher)))) == ["warning"]
        assert levels(check_prompts(replace(healthy, teacher=load_teacher(teacher, prompt="query: ")))) == ["ok"]

    def test_a_student_of_kivukos_needs_none(self, healthy):
        assert levels(check_prompts(replace(healthy, teacher=None))) == []

    def test_siglip_is_padded_and_in_small_letters(self, tmp_path):
        subject = opened(save_siglip2(tmp_path / "siglip"))
        assert levels(check_prompts(subject)) == ["ok"]
        first = text_route(subject.encoder)[0]
        first.processing_kwargs = {}
        backend_tokenizer(subject.encoder).normalizer = normalizers.Replace("x", "x")
        result = list(check_prompts(subject))
        assert levels(result) == ["warning", "warning"]
        assert "padded" in result[0].what
        assert "lower-case" in result[1].what


class TestCasing:
    """Capitals."""

    def test_lower_cased(self, healthy):
        assert levels(check_casing(healthy, [SENTENCES])) == ["ok"]

    def test_two_languages_are_distinguished(self, healthy):
        from sentence_transformers import SentenceTransformer

        torch.manual_seed(0)
        cased = word_tokenizer([*SWAHILI, *(word.upper() for word in SWAHILI)])
        cased.normalizer = None
        modules = StaticStudent(cased, DIM).to_modules()
        subject = replace(healthy, encoder=SentenceTransformer(modules=modules, device="cpu"))
        (result,) = check_casing(subject, [SENTENCES])
        assert result.level == "warning"
        assert result.figures["cosine"] < 0.5

    def test_scripts_without_case_are_passed_over(self, healthy):
        marathi = Sentences("mr", (Pair("mr", "काळी मांजर", "black cat", ""),), "x")
        assert list(check_casing(healthy, [marathi])) == []


class TestTraining:
    """What the model says of itself."""

    def test_languages_and_amounts(self, teacher_folder, tmp_path):
        subject = opened(make_model(tmp_path / "model", teacher_folder, tower=False, pairs=300))
        result = list(check_training(subject, ["sw", "so"]))
        assert [(one.level, one.language) for one in result] == [("ok", None), ("note", "sw"), ("note", "so")]
        assert "300 pairs" in result[1].what
        assert "kivuko distill --bitext so=" in result[2].do

    def test_another_teacher_than_that_of_training(self, healthy, tmp_path):
        other = load_teacher(make_teacher(tmp_path / "other", seed=1))
        assert levels(check_training(replace(healthy, teacher=other), ["sw"])) == ["ok", "warning"]
        assert levels(check_training(healthy, ["sw"])) == ["ok"]

    def test_a_model_of_others(self, healthy):
        assert levels(check_training(replace(healthy, about=None), ["sw"])) == ["note"]


class TestAgreement:
    """Beyond what the whole examination shows."""

    def test_a_language_that_was_never_taught(self, healthy):
        foreign = Sentences("so", tuple(replace(p, language="so", text=f"z{p.text}") for p in PAIRS), "x")
        (result,) = check_agreement(healthy, foreign)
        assert result.level == "note"
        assert "not trained" in result.what
        assert result.figures["R@1"] == 1 / 80  # all get the vector of the unknown token, and that is nearest to one

    def test_too_few_sentences(self, healthy):
        (result,) = check_agreement(healthy, Sentences("sw", PAIRS[:49], "x"))
        assert (result.level, "too few" in result.what) == ("note", True)

    def test_a_weak_model(self, healthy):
        half = [replace(p, text=p.text if i % 7 == 0 else PAIRS[i - 1].text) for i, p in enumerate(PAIRS)]
        (result,) = check_agreement(healthy, Sentences("sw", tuple(half), "x"))
        assert result.level == "warning"
        assert result.figures["R@1"] == pytest.approx(12 / 80)


class TestProtocol:
    """Notes on measuring."""

    def test_images(self, healthy):
        assert levels(check_protocol(healthy, [])) == ["note", "note"]
        assert levels(check_protocol(healthy, ["my/mscoco.sw.tsv"])) == ["warning", "note"]

    def test_documents(self, teacher_folder, tmp_path):
        subject = opened(make_model(tmp_path / "model", teacher_folder, tower=False))
        (result,) = check_protocol(subject, [])
        assert "paragraphs" in result.what
