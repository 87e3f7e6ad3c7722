"""Retrieval in caption sets, both ways: held against counts made by hand and against ir_measures itself."""

from __future__ import annotations

from pathlib import Path

import ir_measures
import numpy as np
import pytest

from kivuko.datasets.captions.caption_set import EVERY_CAPTION, FIRST_CAPTION, CaptionSet, Image
from kivuko.errors import DataError, UsageError
from kivuko.evaluation import image_tasks as module
from kivuko.evaluation.image_tasks import (
    IMAGE_TO_TEXT,
    MEASURES_OF,
    TEXT_TO_IMAGE,
    captions_protocol,
    dataset_name,
    score_captions,
)


def make_set(captions, gallery="set", files=()):
    """A set of images p0, p1, ...: captions by language, one list per image."""
    count = max(len(own) for own in captions.values())
    return CaptionSet(
        name="xm3600",
        split="test",
        images=tuple(Image(f"p{n}", Path(f"p{n}.jpg"), f"p{n}") for n in range(count)),
        captions={
            code: {f"p{n}": tuple(texts) for n, texts in enumerate(own) if texts} for code, own in captions.items()
        },
        files=files,
        notes=("a note",),
        gallery=gallery,
    )


def unit(rows):
    vectors = np.asarray(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_text_to_image_and_back_by_hand():
    caption_set = make_set({"sw": [["a", "b"], ["c"], ["d", "e", "f"]]})
    images = unit(np.eye(3))
    # a finds p0; b finds p1 first, then p0; c finds p1; d, e find p2; f finds p0, then p2.
    texts = unit([[1, 0, 0], [0.6, 0.8, 0], [0, 1, 0], [0, 0, 1], [0.1, 0, 1], [0.8, 0, 0.6]])
    scores = score_captions(caption_set, caption_set.of("sw"), texts, images)
    forth, back = scores[TEXT_TO_IMAGE], scores[IMAGE_TO_TEXT]
    assert list(forth.query_ids) == ["p0#1", "p0#2", "p1#1", "p2#1", "p2#2", "p2#3"]
    np.testing.assert_allclose(forth.values["R@1"], [1, 0, 1, 1, 1, 0])
    np.testing.assert_allclose(forth.values["MRR"], [1, 0.5, 1, 1, 1, 0.5])
    assert list(forth.clusters) == ["p0", "p0", "p1", "p2", "p2", "p2"]
    # p0 ranks a 1.0, f 0.8, b 0.6: success at once, half of its captions at 1. p1: c 1.0, b 0.8.
    assert list(back.query_ids) == list(back.clusters) == ["p0", "p1", "p2"]
    np.testing.assert_allclose(back.values["Success@1"], [1, 1, 1])
    np.testing.assert_allclose(back.values["R@1"], [1 / 2, 1, 1 / 3])
    np.testing.assert_allclose(back.values["MAP"], [(1 + 2 / 3) / 2, 1, 1])
    assert set(back.values) == set(MEASURES_OF[IMAGE_TO_TEXT])


@pytest.mark.parametrize("direction", [TEXT_TO_IMAGE, IMAGE_TO_TEXT])
def test_measures_are_those_of_ir_measures(direction, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK_CELLS", 50)  # several blocks
    random = np.random.default_rng(3)
    own = [[f"{n} {one}" for one in range(random.integers(1, 4))] for n in range(12)]
    caption_set = make_set({"sw": own})
    captions_of_sw = caption_set.of("sw")
    texts, images = unit(random.normal(size=(len(captions_of_sw.texts), 5))), unit(random.normal(size=(12, 5)))
    scores = score_captions(caption_set, captions_of_sw, texts, images)[direction]
    matrix = (texts @ images.T).astype(np.float64)
    captions = [
        f"p{row}#{sum(o == row for o in captions_of_sw.owners[: n + 1])}" for n, row in enumerate(captions_of_sw.owners)
    ]
    names = [f"p{n}" for n in range(12)]
    owners = {caption: f"p{row}" for caption, row in zip(captions, captions_of_sw.owners, strict=True)}
    if direction == TEXT_TO_IMAGE:
        run = {c: dict(zip(names, row, strict=True)) for c, row in zip(captions, matrix.tolist(), strict=True)}
        qrels = {c: {owners[c]: 1} for c in captions}
    else:
        run = {p: dict(zip(captions, row, strict=True)) for p, row in zip(names, matrix.T.tolist(), strict=True)}
        qrels = {p: {c: 1 for c in captions if owners[c] == p} for p in names}
    for name in MEASURES_OF[direction]:
        measure = ir_measures.parse_measure({"MAP": "AP", "MRR": "RR"}.get(name, name))
        expected = {one.query_id: one.value for one in ir_measures.iter_calc([measure], qrels, run)}
        np.testing.assert_allclose(scores.values[name], [expected[q] for q in scores.query_ids], atol=1e-6)


def test_the_first_caption_alone_is_another_protocol():
    caption_set = make_set({"sw": [["a", "b"], ["c", "d"]]})
    texts = unit([[1, 0], [0, 1]])
    scores = score_captions(caption_set, caption_set.of("sw", FIRST_CAPTION), texts, unit(np.eye(2)))
    assert list(scores[TEXT_TO_IMAGE].query_ids) == ["p0#1", "p1#1"]
    np.testing.assert_allclose(scores[IMAGE_TO_TEXT].values["R@1"], [1, 1])
    names = {dataset_name(caption_set, which, TEXT_TO_IMAGE) for which in (EVERY_CAPTION, FIRST_CAPTION)}
    assert names == {"xm3600/every-caption/text-to-image", "xm3600/first-caption/text-to-image"}
    with pytest.raises(UsageError, match="first-caption"):
        caption_set.of("sw", "second-caption")


def test_captions_that_two_images_share_are_ties_and_count_against_the_model():
    caption_set = make_set({"sw": [["ramani"], ["ramani"], ["paka"]]})
    random = np.random.default_rng(0)
    shared = random.normal(size=37)
    texts = unit([shared, shared + 1e-7 * random.normal(size=37), random.normal(size=37)])  # as batches may differ
    images = unit([shared, shared + 0.1, random.normal(size=37)])
    back = score_captions(caption_set, caption_set.of("sw"), texts, images)[IMAGE_TO_TEXT]
    np.testing.assert_allclose(back.values["Success@1"][:2], [0, 0])
    np.testing.assert_allclose(back.values["MRR"][:2], [0.5, 0.5])


def test_images_without_a_caption_in_the_language_stay_in_the_gallery_unless_the_set_says_otherwise():
    captions = {"sw": [["a"], [], ["c"]], "da": [["x"], ["y"], ["z"]]}
    images, texts = unit([[1, 0], [0.9, 0.1], [0, 1]]), unit([[0.9, 0.1], [0, 1]])
    whole, own = make_set(captions), make_set(captions, gallery="language")
    np.testing.assert_allclose(
        score_captions(whole, whole.of("sw"), texts, images)[TEXT_TO_IMAGE].values["R@1"], [0, 1]
    )
    scores = score_captions(own, own.of("sw"), texts, images)
    np.testing.assert_allclose(scores[TEXT_TO_IMAGE].values["R@1"], [1, 1])
    assert list(scores[IMAGE_TO_TEXT].query_ids) == ["p0", "p2"]


def test_vectors_that_do_not_fit_are_refused():
    caption_set = make_set({"sw": [["a"], ["b"]]})
    captions_of_sw = caption_set.of("sw")
    with pytest.raises(DataError, match="vectors"):
        score_captions(caption_set, captions_of_sw, unit(np.eye(3)), unit(np.eye(2)))
    with pytest.raises(DataError, match="one space"):
        score_captions(caption_set, captions_of_sw, unit(np.ones((2, 3))), unit(np.eye(2)))


def test_the_protocol_says_what_was_done(tmp_path):
    (tmp_path / "captions.jsonl").write_text("{}", "utf-8")
    captions = {"sw": [["a"], [], ["c"]], "da": [["x", "w"], ["y"], ["z"]]}
    caption_set = make_set(captions, files=(tmp_path / "captions.jsonl",))
    facts = captions_protocol(caption_set, ["sw", "da"], FIRST_CAPTION, "digest")
    assert facts["captions"].startswith("first-caption")
    assert facts["captions per image"] == {"sw": 1.0, "da": 1.333}
    assert facts["gallery"] == {"sw": 3, "da": 3}
    assert facts["images"] == {"number": 3, "sha256": "digest"}
    assert facts["files"] == {"captions.jsonl": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}
    assert facts["notes"] == ["a note"]
    assert "Success@k" in facts
    assert "ties" in facts
    assert captions_protocol(make_set(captions, "language"), ["sw"], EVERY_CAPTION, "")["gallery"] == {"sw": 2}
