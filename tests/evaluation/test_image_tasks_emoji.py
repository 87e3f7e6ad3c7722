"""Retrieval in the emoji world, of images and of English documents: queries, relevance, and how it is grouped."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kivuko.datasets.emoji.world import english_documents
from kivuko.encoders.multi_vector import maxsim, token_lists
from kivuko.evaluation.evaluator import EncodedQueries, System
from kivuko.evaluation.image_tasks import (
    DATASET,
    DOCUMENTS,
    EmojiTask,
    documents_protocol,
    emoji_protocol,
    measure_queries,
)

DIM = 64


def vector_of(word):
    return np.random.default_rng(list(word.casefold().encode())).standard_normal(DIM).astype(np.float32)


def words_of(text):
    return torch.from_numpy(np.stack([vector_of(word.strip(",:")) for word in text.split()]))


def encode(texts):
    """Texts as the mean of random vectors of their words, of unit length."""
    vectors = np.stack([words_of(text).numpy().mean(0) for text in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def knowing(world, language):
    """Scores of a model that knows the image of each query."""
    return np.eye(len(world.images))[[query.image for query in world.queries(language, "test")]]


def texts_of(world, language, split):
    return [query.text for query in world.queries(language, split)]


def test_who_knows_the_document_finds_it_first(tiny_world):
    scores = measure_queries(knowing(tiny_world, "sw"), tiny_world, "sw", "test")
    assert scores.language == "sw"
    assert all(
        (values == 1).all() for name, values in scores.values.items() if name in ("R@1", "MAP", "MRR", "nDCG@10")
    )
    blind = measure_queries(np.zeros(knowing(tiny_world, "sw").shape), tiny_world, "sw", "test")
    np.testing.assert_allclose(blind.values["MRR"], 1 / len(tiny_world.images))


def test_queries_subsets_and_clusters_are_those_of_the_images(tiny_world):
    vectors = encode(english_documents(tiny_world))
    languages = ["en", "sw", "mr"]
    task = EmojiTask(tiny_world, vectors, "validation")
    system = System("model", "optical", encode)
    encoded = [EncodedQueries(system, code, encode(task.texts(code))) for code in languages]
    images = [measured["emoji"] for _, measured in task.measure(encoded)]
    for image, language in zip(images, languages, strict=True):
        text = measure_queries(
            encode(texts_of(tiny_world, language, "validation")) @ vectors.T, tiny_world, language, "validation"
        )
        queries = tiny_world.queries(language, "validation")
        assert text.language == language
        assert list(text.query_ids) == list(image.query_ids) == [query.id for query in queries]
        assert list(text.clusters) == list(image.clusters) == [query.concept for query in queries]
        copied = np.array([query.copied for query in queries])
        compositional = np.array([query.compositional for query in queries])
        for scores in (text, image):
            assert list(scores.subsets) == ["copied", "compositional", "lexical"]
            np.testing.assert_array_equal(scores.subsets["copied"], copied)
            np.testing.assert_array_equal(scores.subsets["compositional"], compositional & ~copied)
            np.testing.assert_array_equal(scores.subsets["lexical"], ~compositional & ~copied)
        for name in text.values:
            np.testing.assert_array_equal(text.values[name], image.values[name])
    assert images[0].values["MRR"].mean() > 0.9, "English names are in their own documents"


def test_one_vector_and_many_serve_alike(tiny_world):
    documents = token_lists([words_of(text) for text in english_documents(tiny_world)])

    def late(texts):
        return maxsim(token_lists([words_of(text) for text in texts]), documents).numpy()

    scores = measure_queries(late(texts_of(tiny_world, "en", "train")), tiny_world, "en", "train")
    assert (scores.values["MAP"] > 0.99).mean() > 0.8, "each word finds itself"


@pytest.mark.parametrize(("protocol", "dataset"), [(emoji_protocol, "emoji"), (documents_protocol, "emoji-text")])
def test_the_protocol_says_what_was_done(tiny_world, protocol, dataset):
    facts = protocol(tiny_world, "test")
    assert facts["dataset"] == dataset
    assert facts["split"] == "test"
    assert str(len(tiny_world.images)) in facts["gallery"]
    assert facts["fingerprint"] == tiny_world.fingerprint
    assert "ties" in facts


def test_the_two_tasks_are_facts_apart(tiny_world):
    assert (DATASET, DOCUMENTS) == ("emoji", "emoji-text")
    images, documents = emoji_protocol(tiny_world, "test"), documents_protocol(tiny_world, "test")
    differing = {key for key in images if images[key] != documents[key]}
    assert differing == {"dataset", "task", "gallery"}
    assert "English" in documents["task"]
