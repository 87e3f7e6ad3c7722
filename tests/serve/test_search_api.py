"""Searching over HTTP: by text, by several texts, by an image; and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from tiny_index import THINGS, far_query, painted


def png(color, shape) -> bytes:
    stream = io.BytesIO()
    painted(color, shape).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("thing", THINGS, ids=[english for _, _, english, *_ in THINGS])
def test_words_of_both_languages_find_their_image_first(client, thing):
    swahili, marathi, english, *_ = thing
    for query, name in ((swahili, "Swahili"), (marathi, "Marathi")):
        answer = client.post("/api/search", json={"query": query, "k": 3}).json()
        assert answer["hits"][0]["key"] == f"{english}.png"
        assert answer["hits"][0]["rank"] == 1
        assert answer["language"]["name"] == name
        scores = [hit["score"] for hit in answer["hits"]]
        assert scores == sorted(scores, reverse=True)


def test_the_address_says_the_same_as_the_body(client):
    by_body = client.post("/api/search", json={"query": "moto", "k": 4, "where": ["kind!=fruit"]}).json()
    by_address = client.get("/api/search", params={"q": "moto", "k": 4, "where": "kind!=fruit"}).json()
    assert by_body["hits"] == by_address["hits"]
    assert {hit["metadata"]["kind"] for hit in by_body["hits"]} == {"other"}


def test_a_batch_answers_each_query_in_order(client):
    queries = [swahili for swahili, *_ in THINGS]
    answers = client.post("/api/search/batch", json={"queries": queries, "k": 1}).json()["answers"]
    assert [one["query"] for one in answers] == queries
    assert [one["hits"][0]["key"] for one in answers] == [f"{english}.png" for _, _, english, *_ in THINGS]


def test_an_answer_says_whether_anything_is_close(client, searcher, monkeypatch):
    names, far = [swahili for swahili, *_ in THINGS], far_query(searcher)
    answers = client.post("/api/search/batch", json={"queries": [*names, far], "k": 2}).json()["answers"]
    assert [one["close"] for one in answers] == [True] * len(names) + [False]
    assert all(one["closeness"] >= 0.6 for one in answers[:-1])
    assert answers[-1]["closeness"] == 0
    assert len(answers[-1]["hits"]) == 2  # the nearest there are
    assert client.get("/api/search", params={"q": far}).json()["close"] is False
    typos = {"query": far, "typos": {"edits": 1, "seed": 1}}
    assert client.post("/api/search", json=typos).json()["close"] is False
    nothing = client.get("/api/search", params={"q": far, "where": "kind=none"}).json()
    assert (nothing["hits"], nothing["close"], nothing["closeness"]) == ([], None, None)
    monkeypatch.setattr(searcher, "closeness", lambda hits: None)  # a model without a vocabulary
    unknown = client.get("/api/search", params={"q": far}).json()
    assert (unknown["close"], unknown["closeness"], len(unknown["hits"])) == (None, None, len(THINGS))
    described = client.get("/openapi.json").json()["components"]["schemas"]["SearchAnswer"]["properties"]
    assert "close match" in described["close"]["description"]


def test_a_query_is_cleaned_as_the_bitext_was(client):
    answer = client.post("/api/search", json={"query": "  moto\u200e\n "}).json()
    assert answer["query"] == "moto"
    assert len(answer["hits"]) == len(THINGS)


def test_unknown_words_are_named(client):
    answer = client.post("/api/search", json={"query": "tufaha, 猫! moto Ω", "k": 1}).json()
    assert answer["unknown_words"] == ["猫", "Ω"]
    assert client.get("/api/search", params={"q": "tufaha moto"}).json()["unknown_words"] == []
    asked = {"query": "tufaha Ω", "k": 1, "typos": {"edits": 1, "seed": 1}}
    assert client.post("/api/search", json=asked).json()["typos"]["unknown_words"] == ["Ω"]
    told = client.get("/openapi.json").json()["components"]["schemas"]["SearchAnswer"]["properties"]
    assert "Out-of-vocabulary" in told["unknown_words"]["description"]


def test_misspelled_words_are_read_and_said_so(client):
    answer = client.post("/api/search", json={"query": "tufahha", "k": 1}).json()
    assert answer["hits"][0]["key"] == "apple.png"
    (reading,) = answer["readings"]
    assert reading["word"] == "tufahha"
    assert reading["read_as"][0]["word"] == "tufaha"
    assert answer["language"]["code"] == "sw"


def test_typos_show_how_images_move(client):
    asked = {"query": "usiku", "k": 3, "typos": {"edits": 2, "seed": 11}}
    answer, again = (client.post("/api/search", json=asked).json() for _ in range(2))
    typos = answer["typos"]
    assert typos == again["typos"]
    assert typos["query"] != "usiku"
    assert len(typos["edits"]) == 2
    before = [hit["id"] for hit in answer["hits"]]
    after = [hit["id"] for hit in typos["hits"]]
    assert {hit["id"] for hit in typos["fell_out"]} == set(before) - set(after)
    for hit in typos["hits"]:
        if hit["id"] in before:
            assert hit["rank_before"] == before.index(hit["id"]) + 1
        else:
            assert hit["rank_before"] > 3
    assert all(hit["rank_after"] is None or hit["rank_after"] > 3 for hit in typos["fell_out"])
    others = {client.post("/api/search", json=asked | {"typos": {"edits": 2, "seed": seed}}).json()["typos"]["query"]
              for seed in range(6)}  # fmt: skip
    assert len(others) > 1


def test_a_image_finds_itself(client):
    *_, color, shape = THINGS[2]
    files = {"image": ("any.name", png(color, shape), "image/png")}
    answer = client.post("/api/search/image", params={"k": 2}, files=files)
    assert answer.status_code == 200, answer.text
    hits = answer.json()["hits"]
    assert len(hits) == 2
    assert hits[0]["key"] == "sea.png"
    assert hits[0]["score"] == pytest.approx(1, abs=1e-3)


def test_an_image_of_the_index_and_its_like(client, searcher):
    hit = client.post("/api/search", json={"query": "ndizi", "k": 1}).json()["hits"][0]
    item = client.get(f"/api/items/{hit['id']}").json()
    assert (item["key"], item["caption"], item["metadata"]) == ("banana.png", "the banana", {"kind": "fruit"})
    assert (item["width"], item["height"], item["copies"]) == (96, 96, 1)
    near = client.get(f"/api/items/{hit['id']}/like", params={"k": 100}).json()["hits"]
    assert hit["id"] not in {one["id"] for one in near}
    assert len(near) == len(THINGS) - 1
    vectors = {
        int(id): vector for ids, own in searcher.index.store.vectors() for id, vector in zip(ids, own, strict=True)
    }
    cosines = [float(np.dot(vectors[hit["id"]], vectors[one["id"]])) for one in near]
    assert [one["score"] for one in near] == pytest.approx(cosines, abs=1e-3)


def test_thumbnails_are_images_and_are_not_sent_twice(client):
    answer = client.get("/api/items/1/thumbnail")
    assert answer.headers["content-type"] in ("image/jpeg", "image/webp")
    assert len(answer.content) > 100
    assert "256 pixels" in client.get("/openapi.json").json()["paths"]["/api/items/{id}/thumbnail"]["get"]["summary"]
    again = client.get("/api/items/1/thumbnail", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_alignment_with_a_caption_the_nearest_one_or_a_given_text(client):
    apple = client.post("/api/search", json={"query": "tufaha", "k": 1}).json()["hits"][0]["id"]
    by_id = client.post("/api/align", json={"query": "tufaha moto", "id": apple}).json()
    assert by_id["english"] == "the apple"
    assert (by_id["words"], by_id["english_words"]) == (["tufaha", "moto"], ["the", "apple"])
    assert np.array(by_id["coupling"]).shape == (2, 2)
    assert np.sum(by_id["coupling"]) == pytest.approx(1, abs=1e-4)
    assert np.sum(by_id["shares"], axis=1) == pytest.approx(1, abs=1e-4)
    nearest = client.post("/api/align", json={"query": "tufaha"}).json()
    assert (nearest["english"], nearest["id"]) == ("the apple", apple)
    given = client.post("/api/align", json={"query": "tufaha", "english": "the sea"}).json()
    assert (given["english_words"], given["id"]) == (["the", "sea"], None)


def test_alignment_refuses_what_it_cannot_do(client):
    snow = client.post("/api/search", json={"query": "theluji", "k": 1}).json()["hits"][0]
    assert snow["caption"] is None
    for body, status, told in (
        ({"query": "moto", "id": snow["id"]}, 422, "no caption"),
        ({"query": "moto", "id": 999_999}, 404, "no image"),
        ({"query": "moto", "id": 1, "english": "fire"}, 422, "either id or english"),
    ):
        answer = client.post("/api/align", json=body)
        assert answer.status_code == status
        assert told in answer.json()["error"]


@pytest.mark.parametrize(
    ("query", "told"),
    [("", "at least 1"), ("   ", "empty"), ("\u200e", "empty"), ("ΩΩΩ", "vocabulary"), ("a" * 501, "at most 500")],
)
def test_queries_that_cannot_be_searched_are_refused_with_a_line(client, query, told):
    answer = client.post("/api/search", json={"query": query})
    assert answer.status_code == 422
    assert told in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_one_unknown_query_of_a_batch_is_named(client):
    answer = client.post("/api/search/batch", json={"queries": ["moto", "ΩΩΩ"]})
    assert answer.status_code == 422
    assert "ΩΩΩ" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/search", {"query": "moto", "k": 101}),
        ("POST", "/api/search", {"query": "moto", "k": 0}),
        ("POST", "/api/search", {"query": "moto", "where": ["no condition"]}),
        ("POST", "/api/search", {"query": "moto", "where": ["a=1"] * 33}),
        ("POST", "/api/search", {"query": "moto", "typos": {"edits": 4}}),
        ("POST", "/api/search", {"query": "moto", "unknown": 1}),
        ("POST", "/api/search", {"query": 5}),
        ("POST", "/api/search", ["moto"]),
        ("POST", "/api/search/batch", {"queries": []}),
        ("POST", "/api/search/batch", {"queries": ["moto"] * 65}),
        ("GET", "/api/search", None),
        ("GET", "/api/items/one", None),
        ("GET", "/api/items/-1", None),
        ("GET", f"/api/items/{2**63}", None),
        ("GET", "/api/items/1/like?k=1000", None),
    ],
)
def test_requests_beyond_the_limits_are_refused(client, method, path, body):
    answer = client.request(method, path, json=body)
    assert answer.status_code == 422, answer.text
    assert list(answer.json()) == ["error"]


def test_where_is_explained_in_the_api_s_words(client):
    told = client.post("/api/search", json={"query": "moto", "where": ["no condition"]}).json()["error"]
    assert told.startswith("where 'no condition': ")
    assert "--" not in told
    sql = client.post("/api/search", json={"query": "moto", "where": ["kind=' OR 1=1 --"]})
    assert (sql.status_code, sql.json()["hits"]) == (200, [])


def test_what_is_not_there_is_404_as_json(client):
    for path in (
        "/api/items/999999",
        "/api/items/999999/like",
        "/api/items/999999/thumbnail",
        "/nothing",
        "/page/none.js",
    ):
        answer = client.get(path)
        assert answer.status_code == 404
        assert list(answer.json()) == ["error"]
    assert client.get("/api/search/batch").status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/api/items/../../etc/passwd", "/api/items/..%2F..%2Fetc%2Fpasswd", "/api/items/%2e%2e/thumbnail",
        "/page/..%2F..%2Fsettings.py", "/page/%2e%2e/app.py", "/page//etc/passwd", "/page/app.js%00.png",
    ],
)  # fmt: skip
def test_no_path_leads_out(client, path):
    answer = client.get(path)
    assert 400 <= answer.status_code < 500
    assert "root:" not in answer.text


def test_broken_bodies_are_refused(client):
    for content, kind in (
        (b"{", "application/json"), (b"\xff\xfe", "application/json"), (b"[" * 100_000, "application/json"),
        (b'{"query": "\\ud800"}', "application/json"), (b"query=moto", "application/x-www-form-urlencoded"),
        (b"", "application/json"),
    ):  # fmt: skip
        answer = client.post("/api/search", content=content, headers={"Content-Type": kind})
        assert answer.status_code in (400, 422), (content[:20], answer.text)
        assert list(answer.json()) == ["error"]
