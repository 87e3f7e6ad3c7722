"""Everyday phrases against all emoji images: any right emoji counts, by hand-made scores."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from tiny_collection import make_model as make_text_model
from tiny_model import make_model, make_teacher

import kivuko
from kivuko.datasets.emoji.phrases import Phrase, PhraseSet, read_phrases
from kivuko.errors import ModelError, UsageError
from kivuko.evaluation.evaluator import EncodedQueries, System
from kivuko.evaluation.image_tasks import PHRASE_MEASURES, PhraseTask, measure_phrases

# The cache holds one world of the tiny CLDR, with the splits that it was first built with.
pytestmark = pytest.mark.usefixtures("few_test_concepts")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model of images and text in "model", and one of text in "text"; read only."""
    place = tmp_path_factory.mktemp("phrases")
    make_model(place / "model", make_teacher(place / "teacher"))
    (place / "texts").mkdir()
    make_text_model(place / "texts").rename(place / "text")
    return place


def rows_of(world):
    return {emoji.sequence: emoji.image for emoji in world.emoji}


def ranking(world, placed):
    """Scores [images] that put emoji at the given ranks, from 1, and all others, in any order, at the other ranks."""
    rows, count = rows_of(world), len(world.images)
    order = [row for row in range(count) if row not in {rows[sequence] for sequence in placed}]
    for sequence, rank in sorted(placed.items(), key=lambda item: item[1]):
        order.insert(rank - 1, rows[sequence])
    scores = np.empty(count)
    scores[order] = np.arange(count, 0, -1)
    return scores


# The ranks of the right emoji, and Success@5, Success@1, Success@10, MRR and MAP.
BY_HAND = (
    ({"🐈": 1}, (1, 1, 1, 1, 1)),
    ({"🐈": 5, "🐕": 7}, (1, 0, 1, 1 / 5, (1 / 5 + 2 / 7) / 2)),
    ({"🐈": 6, "🐕": 20}, (0, 0, 1, 1 / 6, (1 / 6 + 2 / 20) / 2)),
    ({"🐈": 11}, (0, 0, 0, 1 / 11, 1 / 11)),
    ({"🐈": 2, "🐕": 3, "🐟": 4}, (1, 0, 1, 1 / 2, (1 / 2 + 2 / 3 + 3 / 4) / 3)),
)


def test_values_of_a_hand_made_ranking(tiny_world):
    phrases = [Phrase(f"sw:{n}", f"maneno {n}", f"words {n}", tuple(own)) for n, (own, _) in enumerate(BY_HAND)]
    scores = measure_phrases(np.stack([ranking(tiny_world, own) for own, _ in BY_HAND]), tiny_world, "sw", phrases)
    assert PHRASE_MEASURES == ("Success@5", "Success@1", "Success@10", "MRR", "MAP") == tuple(scores.values)
    table = np.column_stack(list(scores.values.values()))
    np.testing.assert_allclose(table, [expected for _, expected in BY_HAND], atol=1e-6)
    assert list(scores.query_ids) == [phrase.id for phrase in phrases]
    assert list(scores.clusters) == [phrase.english for phrase in phrases], "one meaning in all languages"


def test_emoji_that_are_drawn_alike_are_one_image(tiny_world):
    rows = rows_of(tiny_world)
    assert rows["🇳🇴"] == rows["🇧🇻"]
    phrase = Phrase("sw:flag", "bendera ya Norwe", "the Norwegian flag", ("🇳🇴", "🇧🇻"))
    scores = measure_phrases(ranking(tiny_world, {"🇧🇻": 1})[None], tiny_world, "sw", [phrase])
    assert scores.values["MAP"][0] == scores.values["Success@1"][0] == 1


def test_a_model_that_scores_all_images_alike_has_no_success(tiny_world):
    phrase = Phrase("sw:cat", "paka amelala", "the cat is sleeping", ("🐈",))
    scores = measure_phrases(np.zeros((1, len(tiny_world.images))), tiny_world, "sw", [phrase])
    assert scores.values["Success@10"][0] == 0


def test_phrases_equal_to_the_english_ones_are_copied(tiny_world):
    phrases = [Phrase(f"sw:{n}", text, "hot coffee", ("🐈",)) for n, text in enumerate(("Hot  coffee", "kahawa moto"))]
    both = np.stack([ranking(tiny_world, {"🐈": 1})] * 2)
    assert measure_phrases(both, tiny_world, "sw", phrases).subsets["copied"].tolist() == [True, False]
    assert measure_phrases(both, tiny_world, "en", phrases).subsets["copied"].tolist() == [False, False]


def test_the_task_searches_all_images_with_the_phrases_of_the_language(tiny_world):
    phrases = read_phrases().drawn(tiny_world)
    images = np.eye(len(tiny_world.images), dtype=np.float32)
    task = PhraseTask(phrases, tiny_world, images)
    rows = rows_of(tiny_world)
    right = np.stack([images[rows[one.emoji[-1]]] for one in phrases.of("mr")])
    system = System("model", "optical", lambda texts: right)
    assert task.texts("mr") == [one.text for one in phrases.of("mr")]
    ((encoded, measured),) = task.measure([EncodedQueries(system, "mr", right)])
    assert encoded.language == "mr"
    assert list(measured) == ["emoji-phrases"]
    assert (measured["emoji-phrases"].values["Success@1"] == 1).all()
    assert measured["emoji-phrases"].values["MAP"].min() < 1, "one of several right emoji is not all of them"
    facts = task.protocol(["mr"])
    assert (facts["dataset"], facts["split"], facts["languages"]) == ("emoji-phrases", "test", ["mr"])
    assert str(len(tiny_world.images)) in facts["gallery"]
    assert facts["left out"] == phrases.left_out > 0
    assert task.notes() == [f"left out: {phrases.left_out} phrases without any emoji in this emoji world."]
    assert PhraseTask(read_phrases(), tiny_world, images).notes() == []


def test_evaluate_by_name_or_open(place, tiny_cldr, tmp_path):
    model = shutil.copytree(place / "model", tmp_path / "model")
    card = (model / "README.md").read_text("utf-8")
    result = kivuko.evaluate(model, "emoji:phrases", languages=["sw", "mr"], cldr=tiny_cldr, progress=False)
    assert result.path == model / "evaluation" / "emoji-phrases.jsonl"
    assert (model / "README.md").read_text("utf-8") == card, "the card holds the figures of the names"
    assert {record.dataset for record in result.records} == {"emoji-phrases"}
    teacher = {record.language for record in result.records if record.objective == "teacher"}
    assert teacher == {"en", "sw", "mr", "low-resource"}, "English phrases are the ceiling"
    assert {record.measure for record in result.records} <= {*PHRASE_MEASURES, "parity"}
    assert "Success@5 [95 %]" in result.summary()
    assert "a right emoji is among the first five" in result.summary()
    assert "note: left out: " in result.summary()
    again = kivuko.evaluate(
        model, read_phrases(), languages=["sw", "mr"], cldr=tiny_cldr, records=False, progress=False
    )  # fmt: skip
    assert again.records == result.records


def test_by_default_the_models_own_languages_are_measured(place, tiny_cldr):
    result = kivuko.evaluate(place / "model", "emoji:phrases", cldr=tiny_cldr, records=False, progress=False)
    assert {r.language for r in result.records if r.objective == "optical"} == {"sw", "low-resource"}


@pytest.mark.parametrize(
    ("options", "kind", "line"),
    [
        ({"languages": ["sw", "yo"]}, UsageError, "emoji:phrases has no phrases in yo; it has some in de, en, es, "),
        ({"split": "validation"}, UsageError, "emoji:phrases has no split 'validation'; it has test"),
        ({"ignore_identical_ids": True}, UsageError, "ignore_identical_ids: for text collections"),
    ],
)
def test_bad_input_is_refused_before_the_model_is_loaded(options, kind, line, tmp_path):
    with pytest.raises(kind, match=line):
        kivuko.evaluate(tmp_path / "no-model", "emoji:phrases", progress=False, **options)


def test_a_model_of_no_such_language_or_without_images_is_refused(place, tiny_cldr):
    with pytest.raises(ModelError, match="encodes text only"):
        kivuko.evaluate(place / "text", "emoji:phrases", cldr=tiny_cldr, records=False, progress=False)
    english = {"en": read_phrases().of("en")}
    with pytest.raises(
        UsageError, match=r"emoji:phrases has nothing in a language that the model was trained on \(sw\)"
    ):
        kivuko.evaluate(place / "model", PhraseSet(english), cldr=tiny_cldr, records=False, progress=False)


def test_phrases_are_neither_attacked_nor_indexed(place, tmp_path):
    with pytest.raises(UsageError, match="emoji:phrases: has no images of its own; attack the emoji"):
        kivuko.attack(place / "model", "emoji:phrases", ["typo:edits=1"], progress=False)
    with pytest.raises(UsageError, match=r"emoji:phrases: .* no images to index"):
        kivuko.build_index(place / "model", "emoji:phrases", tmp_path / "index")
