"""Words of two sentences aligned by the transport plan between their tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import regex
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import kivuko
from kivuko.encoders.alignment import METHODS, UNREGULARIZED, Aligner, row_shares
from kivuko.encoders.model import About, TokenMean, load_encoder, read_token_mean, save_model
from kivuko.encoders.student import StaticStudent, load_transformer_student
from kivuko.encoders.teacher import load_teacher
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.encoders.word_tokens import group_tokens, text_tokens
from kivuko.errors import CorruptFileError, ModelError, UsageError
from kivuko.transport.cost import centered_cosine_cost, cosine_cost
from kivuko.transport.solve import METHODS as SOLVERS
from kivuko.transport.solve import solve

ENGLISH = "the cat eats fish"
TEXTS = {
    "sw": "paka anakula samaki",
    "mr": "क्षत्रिय मांजर आनंदाश्रूंचा",
    "am": "ጥቁር ድመት ዓሣ",
    "ar": "قطة سوداء سمكة",
    "th": "แมวดำกินปลา",
}
ABOUT = About(teacher="tiny", teacher_source="tiny", student="static", recipe="optical", seed=0, bitext_sizes={"sw": 1})


def align(encoder, teacher, text, english, *, center=None, student_centered=True, **options):
    return Aligner(encoder, teacher, center, student_centered).align(text, english, **options)


@pytest.fixture(scope="module")
def teacher(tiny_sentence_transformer):
    return load_teacher(tiny_sentence_transformer)


@pytest.fixture(scope="module")
def mean():
    return torch.randn(32, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def static_folder(tmp_path_factory, mean, teacher):
    """A model of a static student with random vectors; its words fall to several subwords each."""
    torch.manual_seed(0)
    vocabulary = train_vocabulary(TEXTS.values(), size=75)
    folder = tmp_path_factory.mktemp("static") / "model"
    save_model(folder, StaticStudent(vocabulary, 32), None, ABOUT, "card", TokenMean(mean, teacher.fingerprint))
    return folder


@pytest.fixture(scope="module")
def static(static_folder):
    return load_encoder(static_folder)


@pytest.mark.parametrize("language", TEXTS)
def test_mass_of_subwords_adds_up_to_words(static, teacher, language):
    result = align(static, teacher, TEXTS[language], ENGLISH)
    assert len(result.source.tokens) > len(result.words)
    for word in range(len(result.words)):
        rows = [row for row, owner in enumerate(result.source.word_of) if owner == word]
        np.testing.assert_allclose(result.plan[word].sum(), len(rows) / len(result.source.tokens), atol=1e-5)
        np.testing.assert_allclose(
            result.plan[word],
            [result.token_plan[rows][:, np.array(result.target.word_of) == e].sum() for e in range(4)],
        )
    assert result.english_words == ("the", "cat", "eats", "fish")
    np.testing.assert_allclose(result.plan.sum(0), 1 / 4, atol=1e-5)
    assert result.converged
    assert result.marginal_error < 1e-5


@pytest.mark.parametrize("language", [language for language in TEXTS if language != "th"])
def test_words_are_those_of_the_text_as_written(static, teacher, language):
    assert align(static, teacher, TEXTS[language], ENGLISH).words == tuple(TEXTS[language].split())


def test_a_script_without_spaces_is_cut_at_subwords_and_never_within_a_cluster(static):
    result = text_tokens(static, TEXTS["th"], "model")
    assert "".join(result.words) == TEXTS["th"]
    assert len(result.words) > 1
    clusters = regex.findall(r"\X", TEXTS["th"])
    assert [cluster for word in result.words for cluster in regex.findall(r"\X", word)] == clusters


def test_the_plan_is_the_one_that_training_sees(static, teacher, mean):
    result = align(static, teacher, TEXTS["sw"], ENGLISH, regularization=0.1, center=mean)
    student = StaticStudent(static[0].sub_modules["text"][0].tokenizer, 32)
    student.embedding.weight.data = static[0].sub_modules["text"][0].embedding.weight.data
    x, y = student.encode_tokens([TEXTS["sw"]]), teacher.encode_tokens([ENGLISH])
    cost = centered_cosine_cost(x.tokens, y.tokens, mean, mean)
    plan = solve(cost, row_mask=x.mask, col_mask=y.mask, regularization=0.1, tolerance=1e-5)
    seen = plan.coupling[0][x.mask[0]][:, y.mask[0]]
    np.testing.assert_allclose(result.token_plan, seen.detach().numpy(), atol=1e-4)
    assert result.transport_cost == pytest.approx(plan.transport_cost.item(), abs=1e-4)
    assert result.centered
    assert not align(static, teacher, TEXTS["sw"], ENGLISH).centered


def test_a_smaller_regularization_gives_a_sharper_plan(static, teacher):
    sharp, diffuse = (align(static, teacher, TEXTS["sw"], ENGLISH, regularization=r) for r in (0.01, 1.0))
    assert sharp.token_plan.max() > diffuse.token_plan.max()
    assert sharp.transport_cost < diffuse.transport_cost


def test_unknown_words_stay_in_their_place_without_mass(static, teacher):
    result = align(static, teacher, "paka 日本語 samaki", ENGLISH)
    assert "".join(result.source.unknown) == "日本語"
    assert (result.words[0], result.words[-1]) == ("paka", "samaki")
    lost = [number for number, word in enumerate(result.words) if word in result.source.unknown]
    assert result.plan[lost].sum() == 0
    assert np.isnan(row_shares(result.plan)[lost]).all()
    assert result.plan.sum() == pytest.approx(1, abs=1e-5)


def test_a_partly_unknown_word_is_named(static):
    result = text_tokens(static, "paka🐈 samaki", "model")
    assert result.words == ("paka🐈", "samaki")
    assert result.partly_unknown == ("paka🐈",)
    assert result.unknown == ()


def test_an_unknown_english_word_counts_as_the_teacher_counts_it(static, teacher):
    result = align(static, teacher, TEXTS["sw"], "the zebra")
    assert result.english_words == ("the", "zebra")
    assert result.target.unknown == ()
    np.testing.assert_allclose(result.plan.sum(0), 1 / 2, atol=1e-5)


def test_shares_add_up_to_one(static, teacher):
    np.testing.assert_allclose(row_shares(align(static, teacher, TEXTS["mr"], ENGLISH).plan).sum(1), 1)


@pytest.mark.parametrize("encoder", ["tiny_bert", "tiny_xlm_roberta"])
def test_a_transformer_model_gives_its_projected_tokens(encoder, teacher, request, tmp_path):
    torch.manual_seed(0)
    student = load_transformer_student(request.getfixturevalue(encoder), 32).eval()
    save_model(tmp_path / "model", student, None, ABOUT, "card")
    text = "paka anakula samaki mtoni"
    result = align(load_encoder(tmp_path / "model"), teacher, text, ENGLISH)
    with torch.no_grad():
        batch = student.encode_tokens([text])
    torch.testing.assert_close(result.source.vectors, batch.tokens[0][batch.mask[0]], atol=1e-5, rtol=1e-4)
    assert result.words == tuple(text.split())
    assert result.source.unknown == ()


def test_a_projection_is_applied(tiny_xlm_roberta, tmp_path):
    torch.manual_seed(0)
    student = load_transformer_student(tiny_xlm_roberta, 20).eval()
    save_model(tmp_path / "model", student, None, ABOUT, "card")
    assert text_tokens(load_encoder(tmp_path / "model"), "paka", "model").vectors.shape[1] == 20


def test_words_past_the_models_limit_are_unread_not_unknown(tiny_xlm_roberta, tmp_path):
    student = load_transformer_student(tiny_xlm_roberta, 24)
    save_model(tmp_path / "model", student, None, ABOUT, "card")
    result = text_tokens(load_encoder(tmp_path / "model"), " ".join(["paka"] * 40), "model")
    assert len(result.words) == 40
    assert result.unread == ("paka",) * (40 - len(result.tokens))
    assert result.unknown == ()


def test_any_sentence_transformers_folder_will_do(tiny_sentence_transformer, teacher):
    result = align(load_encoder(tiny_sentence_transformer), teacher, "cat fish", "cat fish")
    np.testing.assert_allclose(row_shares(result.plan), np.eye(2), atol=0.05)


def test_a_model_without_token_vectors_is_refused(teacher, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import BoW

    bag = SentenceTransformer(modules=[BoW(vocab=["paka", "cat"])], device="cpu")
    with pytest.raises(ModelError, match="no token vectors"):
        align(bag, teacher, "paka", "cat")


def test_other_widths_are_refused(teacher):
    from sentence_transformers import SentenceTransformer

    student = StaticStudent(train_vocabulary(TEXTS.values(), size=75), 16)
    narrow = SentenceTransformer(modules=student.to_modules(), device="cpu")
    with pytest.raises(ModelError, match=r"not of one width .* 16, .* 32"):
        align(narrow, teacher, "paka", "cat")


def test_a_center_of_another_width_is_refused(static, teacher):
    with pytest.raises(ModelError, match="mean token 7"):
        align(static, teacher, "paka", "cat", center=torch.zeros(7))


def test_vectors_that_are_no_numbers_are_refused(teacher):
    from sentence_transformers import SentenceTransformer

    student = StaticStudent(train_vocabulary(TEXTS.values(), size=75), 32)
    student.embedding.weight.data[:] = float("nan")
    broken = SentenceTransformer(modules=student.to_modules(), device="cpu")
    with pytest.raises(ModelError, match="NaN"):
        align(broken, teacher, "paka", "cat")


@pytest.mark.parametrize(("text", "english"), [("", "cat"), (" ", "cat"), ("paka", ""), ("日本", "cat")])
def test_a_side_without_tokens_is_refused(static, teacher, text, english):
    with pytest.raises(UsageError, match=r"empty|vocabulary"):
        align(static, teacher, text, english)


@pytest.mark.parametrize(
    ("text", "tokens", "words", "of_token"),
    [
        ("a b", [(0, 1), (1, 2), (2, 3)], ["a", "b"], (0, 1, 1)),  # a token of the space alone
        ("new york", [(0, 8)], ["new york"], (0,)),  # one token over two words
        ("a ", [(0, 1), (1, 2)], ["a"], (0, 0)),
        ("a", [(0, 0), (0, 1)], ["a"], (0, 0)),
        ("ጥቁር፡ድመት", [(0, 3), (4, 7)], ["ጥቁር", "ድመት"], (0, 1)),  # Ethiopic word space
        ("我iPhone手机", [(0, 1), (1, 2), (2, 7), (7, 9)], ["我", "iPhone", "手机"], (0, 1, 1, 2)),
        ("ดำ", [(0, 1), (1, 2)], ["ดำ"], (0, 0)),  # a boundary within a cluster is none
        ("क्षत्रिय", [(0, 2), (2, 8)], ["क्षत्रिय"], (0, 0)),
        ("", [], [], ()),
    ],
)
def test_words_from_tokens(text, tokens, words, of_token):
    result = group_tokens(text, tokens)
    assert [text[start:end] for start, end in result.spans] == words
    assert result.of_token == of_token


@given(st.text("aक्ष手แม ،", max_size=12), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), max_size=8))
def test_words_never_overlap_and_every_token_has_one(text, pieces):
    tokens = sorted((min(start, len(text)), min(start + length, len(text))) for start, length in pieces)
    result = group_tokens(text, tokens)
    edges = [edge for span in result.spans for edge in span]
    assert edges == sorted(edges)
    covered = {place for start, end in result.spans for place in range(start, end)}
    assert {place for place, letter in enumerate(text) if not letter.isspace()} <= covered
    if result.spans:
        assert len(result.of_token) == len(tokens)
        assert all(0 <= word < len(result.spans) for word in result.of_token)


def test_a_model_holds_the_mean_token_of_its_teacher(static_folder, mean, teacher):
    torch.testing.assert_close(read_token_mean(static_folder).vector, mean)
    torch.testing.assert_close(read_token_mean(static_folder, teacher.fingerprint).vector, mean)
    assert read_token_mean(static_folder, "another teacher") is None


def test_a_model_says_whose_tokens_the_mean_is_taken_from(static_folder, mean, teacher, tmp_path):
    assert read_token_mean(static_folder).student_centered
    vocabulary = load_encoder(static_folder)[0].sub_modules["text"][0].tokenizer
    only_teacher = TokenMean(mean, teacher.fingerprint, student_centered=False)
    save_model(tmp_path / "m", StaticStudent(vocabulary, 32), None, ABOUT, "card", only_teacher)
    assert not read_token_mean(tmp_path / "m").student_centered
    assert read_token_mean(tmp_path) is None


def test_the_mean_may_be_taken_from_the_teachers_tokens_alone(static_folder, mean, teacher):
    model, text, english = load_encoder(static_folder), "paka anakula", "cat eats"
    result = align(model, teacher, text, english, center=mean, student_centered=False, regularization=0.3)
    source, target = text_tokens(model, text, "m").vectors, text_tokens(teacher.model, english, "t").vectors
    cost = cosine_cost(source.double()[None], target.double()[None] - mean.double())
    plan = solve(cost, regularization=0.3, tolerance=1e-6, max_iterations=10_000)
    np.testing.assert_allclose(result.token_plan, plan.coupling[0].numpy(), atol=1e-5)
    both = align(model, teacher, text, english, center=mean, regularization=0.3)
    assert not np.allclose(both.token_plan, result.token_plan, atol=1e-3)


def test_a_model_without_a_mean_has_none(tiny_sentence_transformer):
    assert read_token_mean(tiny_sentence_transformer) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes()[:20]),
        lambda file: file.write_bytes(b""),
        lambda file: save_file({"other": torch.zeros(3)}, file),
        lambda file: save_file({"token_mean": torch.zeros(3, 3)}, file),
        lambda file: save_file({"token_mean": torch.zeros(3, dtype=torch.int64)}, file),
        lambda file: save_file({"token_mean": torch.tensor([1.0, float("nan")])}, file),
    ],
)
def test_a_damaged_mean_is_one_line(tmp_path, damage):
    file = tmp_path / "token_mean.safetensors"
    save_file({"token_mean": torch.zeros(3)}, file, metadata={"teacher": json.dumps("x")})
    damage(file)
    with pytest.raises(CorruptFileError, match=r"token_mean\.safetensors: corrupted") as caught:
        read_token_mean(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((None, "cat"), {}, "^text=None: give one text"),
        (("paka", ["cat"]), {}, r"^english=\['cat'\]: give one text"),
        ((" ", "cat"), {}, "^the text is empty"),
        (("paka", "\u200b"), {}, "^the English is empty"),
        (("paka", "cat"), {"method": "magic"}, "^method 'magic': there is none of that name. Choose from sinkhorn"),
        (("paka", "cat"), {"regularization": 0}, "^regularization=0: choose a number above 0"),
        (("paka", "cat"), {"regularization": [0.1, -1]}, "^regularization=-1.0: choose a number above 0"),
        (("paka", "cat"), {"regularization": "0.1"}, "^regularization='0.1': choose a number"),
        (("paka", "cat"), {"regularization": []}, "^regularization: give a number above 0, or several"),
        (("paka", "cat"), {"marginal_penalty": 0}, "^marginal_penalty=0: choose a number above 0"),
        (("paka", "cat"), {"save": 3}, "^save=3: give a file"),
        (("paka", "cat"), {"save": "plan.pdf"}, r"^plan.pdf: end the image's name in \.png or \.svg"),
        (("paka", "cat"), {"teacher": 3}, "^teacher=3: give the id or folder of a teacher"),
    ],
)
def test_options_are_checked_before_a_model_is_loaded(arguments, options, message):
    with pytest.raises(UsageError, match=message):
        kivuko.align("no-such-model", *arguments, **options)


def test_options_are_checked_before_torch_is_imported():
    code = """
import sys, kivuko
try:
    kivuko.align("model", "paka", "cat", method="magic")
except kivuko.KivukoError:
    assert "torch" not in sys.modules
else:
    raise AssertionError("nothing was refused")
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )


def test_methods_are_those_of_the_solver():
    assert list(METHODS) == list(SOLVERS)
    assert [name for name, method in SOLVERS.items() if not method.regularized] == list(UNREGULARIZED)


def test_an_alignment_is_shown_in_one_line(static, teacher):
    plan = align(static, teacher, TEXTS["sw"], ENGLISH, regularization=0.3)
    assert repr(plan).startswith("<Alignment of 3 words with 4 English, regularization 0.3: transport cost ")
