"""What gradients say about subwords and edits, and the attacks that go by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.encoders.model import assemble, encode_texts
from kivuko.encoders.student import StaticStudent, TransformerStudent, small_transformer
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.perturbations.edits import apply_edit
from kivuko.perturbations.graphemes import graphemes
from kivuko.perturbations.text.gradients import (
    Flips,
    StaticGradients,
    TokenGradients,
    _slots,
    char_gradient,
    gains,
    gradient_encoder,
    hotflip,
    retrieval_loss,
)
from kivuko.perturbations.text.search import TextGoal, greedy_search

TEXTS = [
    "paka mweusi", "mbwa mdogo", "samaki mkubwa", "ndege mwekundu", "gari la zimamoto", "nyumba kubwa", "हसरा चेहरा",
    "लाल हृदय", "किल्ली आणि फुगा", "tufaha jekundu",
]  # fmt: skip
LANGUAGES = ["sw"] * 6 + ["mr"] * 3 + ["sw"]
ROWS = list(range(len(TEXTS)))


@pytest.fixture(scope="module")
def static():
    torch.manual_seed(0)
    return gradient_encoder(StaticStudent(train_vocabulary(TEXTS, 150), 24).eval())


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(1)
    return gradient_encoder(assemble(small_transformer(train_vocabulary(TEXTS, 150), 24, layers=1, width=32), None))


@pytest.fixture(params=["static", "transformer"])
def encoder(request):
    return request.getfixturevalue(request.param)


def goal_of(encoder) -> TextGoal:
    return TextGoal(encoder.encode(TEXTS), np.arange(len(TEXTS)))


def test_gradients_of_a_transformer_agree_with_differences(transformer):
    goal = TextGoal(np.eye(24, dtype=np.float32), np.arange(10))
    told = transformer.gradients(TEXTS[:1], goal, [3])[0]
    lookup = transformer.route[0].model.get_input_embeddings()
    features = dict(transformer.tokenizer(TEXTS[:1], padding=True, truncation=True, return_tensors="pt"))
    place = features["input_ids"][0].tolist().index(int(told.ids[1]))
    step = 1e-2 * torch.randn(24 + 8, generator=torch.Generator().manual_seed(0))
    losses = []
    for sign in (1, -1):

        def move(_module, _given, out, by=sign * step):
            moved = out.clone()
            moved[0, place] += by
            return moved

        hook = lookup.register_forward_hook(move)
        with torch.no_grad():
            losses.append(float(retrieval_loss(transformer._forward(features), goal, [3])))
        hook.remove()
    assert (losses[0] - losses[1]) / 2 == pytest.approx(float(told.gradients[1] @ step), rel=0.05)


def test_spans_point_at_what_the_subwords_were_read_from(encoder):
    for text, told in zip(TEXTS, encoder.gradients(TEXTS, goal_of(encoder), ROWS), strict=True):
        spelled = [
            (encoder.spellings[n], text[start:end]) for n, (start, end) in zip(told.ids, told.spans, strict=True)
        ]
        assert all(spelling == read.strip() for spelling, read in spelled if spelling)
        assert "".join(spelling for spelling, _ in spelled) == text.replace(" ", "")


def test_special_tokens_have_no_spelling(encoder):
    special = [n for n, piece in enumerate(encoder.pieces) if piece.startswith("[")]
    assert special
    assert {encoder.spellings[n] for n in special} == {""}


def test_the_order_of_texts_does_not_matter(transformer):
    texts = ["gari la zimamoto " * 8, "paka", "mbwa mdogo", "a"]
    forth, back = transformer.encode(texts), transformer.encode(texts[::-1])[::-1]
    np.testing.assert_allclose(forth, back, atol=1e-5)


def test_no_text_gives_no_vector(encoder):
    assert len(encoder.encode([])) == 0


def test_a_text_without_subwords_does_no_harm_to_its_neighbors(static):
    vectors = static.encode(["", "paka mweusi", ""])
    np.testing.assert_array_equal(vectors[[0, 2]], 0)
    np.testing.assert_allclose(vectors[1], static.encode(["paka mweusi"])[0], atol=1e-6)


def test_modules_behind_static_vectors_count(static):
    from sentence_transformers.base.modules import Dense

    torch.manual_seed(2)
    after = Dense(24, 12, activation_function=torch.nn.Tanh())
    narrow = StaticGradients(static.tokenizer, static.vectors, [after])
    goal = TextGoal(np.eye(12, dtype=np.float32), np.arange(10))
    assert narrow.encode(TEXTS).shape == (10, 12)
    told = narrow.gradients(TEXTS, goal, ROWS)
    assert all(own.gradients.shape == (len(own.ids), 24) for own in told)


def test_a_transformer_student_is_attacked_as_its_model_is():
    torch.manual_seed(3)
    student = small_transformer(train_vocabulary(TEXTS, 150), 24, layers=1, width=32).eval()
    assert isinstance(student, TransformerStudent)
    model = assemble(student, None)
    expected = encode_texts(model, TEXTS)
    np.testing.assert_allclose(gradient_encoder(student).encode(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(gradient_encoder(model).encode(TEXTS), expected, atol=1e-5)


def told_of(gradients: np.ndarray, ids: list[int]) -> TokenGradients:
    return TokenGradients(np.array(ids), [(n, n + 1) for n in range(len(ids))], torch.from_numpy(gradients))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.lists(st.integers(0, 4), max_size=6), st.integers(0, 9))
@settings(max_examples=100)
def test_gains_are_the_sums_of_what_comes_less_what_goes(own, reading, seed):
    rng = np.random.default_rng(seed)
    vectors = torch.from_numpy(rng.normal(size=(5, 3)).astype(np.float32))
    slope = rng.normal(size=3).astype(np.float32)  # the same everywhere, as in a static encoder
    found = gains(told_of(np.tile(slope, (len(own), 1)), own), vectors, [reading, own])
    expected = (vectors[reading].sum(0) - vectors[own].sum(0)).numpy() @ slope
    assert found == pytest.approx([expected, 0], abs=1e-4)


def test_a_gain_is_taken_at_the_gradient_of_the_place():
    gradients, vectors = np.eye(3, dtype=np.float32), torch.eye(3) * 10
    told = told_of(gradients, [0, 1, 2])
    exchanged, inserted, left_out = gains(told, vectors, [[0, 2, 2], [0, 1, 1, 2], [0, 1]]).tolist()
    assert exchanged == -10  # of subword 1 at place 1: its own component goes, that of subword 2 is 0 there
    assert inserted == 5  # between places 1 and 2, whose gradients are meant
    assert left_out == -10


def test_first_order_holds_for_small_changes(static):
    """Between subwords whose vectors are near each other, the estimate is the change of the loss.

    Measured to both sides, so that the curvature of the loss cancels.
    """
    vectors = static.vectors.clone()
    near, own = 7, static.tokenize(TEXTS[:1])[0]
    small = 1e-2 * torch.randn(24, generator=torch.Generator().manual_seed(4))
    vectors[near] = vectors[own[1]] + small
    encoder = StaticGradients(static.tokenizer, vectors)
    goal = goal_of(static)
    told = encoder.gradients(TEXTS[:1], goal, [4])[0]
    found = gains(told, vectors, [[own[0], near, *own[2:]]])[0]
    losses = []
    for sign in (1, -1):
        moved = vectors[own].clone()
        moved[1] += sign * small
        losses.append(
            float(retrieval_loss(torch.nn.functional.normalize(moved.mean(0, keepdim=True), dim=-1), goal, [4]))
        )
    assert found == pytest.approx((losses[0] - losses[1]) / 2, rel=0.1)


def test_exchanges_never_tear_a_grapheme_cluster(encoder):
    flips, goal = Flips(encoder), goal_of(encoder)
    told = encoder.gradients(TEXTS, goal, ROWS)
    for text, edits in zip(TEXTS, flips.best(TEXTS, told, 12), strict=True):
        assert edits
        for edit in edits:
            around = [*graphemes(text[: edit.start]), *graphemes(edit.replacement), *graphemes(text[edit.end :])]
            assert graphemes(apply_edit(text, edit)) == around
            assert graphemes(text[: edit.start]) + graphemes(text[edit.start :]) == graphemes(text)


def test_exchanges_are_those_the_estimate_ranks_first(static):
    """Against every subword at every place."""
    flips, goal, text = Flips(static), goal_of(static), "paka mweusi"
    told = static.gradients([text], goal, [0])[0]
    edits = flips.best([text], [told], 10)[0]
    value = {}
    for start, end, inside in _slots(text, told.spans):
        lost = static.vectors[told.ids[inside]].sum(0)
        for n, spelling in enumerate(static.spellings):
            if spelling and spelling != text[start:end]:
                value[start, end, spelling] = float(told.gradients[0] @ (static.vectors[n] - lost))
    found = [value[edit.start, edit.end, edit.replacement.strip()] for edit in edits]
    assert len(found) == 10
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(max(value.values()), abs=1e-6)


@pytest.mark.parametrize("attack", [hotflip, char_gradient])
def test_empty_queries_and_queries_of_one_emoji_stay_as_they_are(encoder, attack):
    texts = ["", "   ", "paka"]
    goal = TextGoal(encoder.encode(TEXTS), np.array([0, 1, 2]))
    found = attack(encoder, texts, ["sw"] * 3, goal, edits=2)
    assert [one.perturbed.text for one in found[:2]] == texts[:2]
    assert [one.calls for one in found[:2]] == [0, 0]
    assert found[2].calls > 0


def test_an_emoji_has_no_letters_to_edit_and_is_not_torn(encoder):
    goal = TextGoal(encoder.encode(TEXTS), np.array([0]))
    found = char_gradient(encoder, ["👩‍🚒"], ["sw"], goal, edits=2)[0]
    assert (found.perturbed.text, found.calls) == ("👩‍🚒", 0)
    flipped = hotflip(encoder, ["👩‍🚒"], ["sw"], goal, edits=1)[0]
    assert flipped.perturbed.text == "👩‍🚒" or "👩" not in flipped.perturbed.text


def test_the_gradient_saves_calls(static):
    """Of the same edits, those it points to harm more than as many at random: the mean over seeds and queries."""
    goal = goal_of(static)

    def margin(found):
        return np.mean([one.margins[-1] for one in found])

    by_gradient, at_random = [], []
    for seed in range(4):
        by_gradient += char_gradient(static, TEXTS, LANGUAGES, goal, edits=1, candidates=3, seed=seed)
        at_random += greedy_search(static.encode, TEXTS, LANGUAGES, goal, edits=1, candidates=3, seed=seed)
    assert all(one.calls <= 3 for one in by_gradient)
    assert margin(by_gradient) < margin(at_random) - 0.02


@pytest.mark.parametrize("attack", [hotflip, char_gradient])
def test_what_is_reported_is_what_encoding_again_gives(encoder, attack):
    goal = goal_of(encoder)
    found = attack(encoder, TEXTS, LANGUAGES, goal, edits=2)
    again = goal.rank(encoder.encode([one.perturbed.text for one in found]), np.arange(len(TEXTS)))
    assert [one.ranks[-1] for one in found] == again.ranks.tolist()
    assert [one.margins[-1] for one in found] == pytest.approx(again.margins.tolist(), abs=1e-5)
