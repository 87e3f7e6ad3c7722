"""What the server tells of itself, and that it goes on with an index that was brought up to date."""

from __future__ import annotations

import re
import shutil
import time

from fastapi.testclient import TestClient
from tiny_index import THINGS, index, painted

from kivuko.search.searcher import Searcher
from kivuko.serve.app import create_app
from kivuko.serve.guard import Settings


def figures(client) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_about_and_health(client):
    assert client.get("/health").json() == {"status": "ok", "api_key": False}
    about = client.get("/api/about").json()
    assert (about["images"], about["captioned"], about["languages"]) == (len(THINGS), True, ["sw", "mr"])


def test_metrics_count_by_route_and_status_and_never_by_what_was_sent(searcher):
    with TestClient(create_app(searcher), base_url="http://localhost") as client:
        for path in ("/api/search?q=moto", "/api/search?q=moto", "/api/search?q=", "/api/items/1", "/secret-path"):
            client.get(path)
        found = figures(client)
        assert found['kivuko_requests_total{route="/api/search",status="200"}'] == 2
        assert found['kivuko_requests_total{route="/api/search",status="422"}'] == 1
        assert found['kivuko_requests_total{route="/api/items/{id}",status="200"}'] == 1
        assert found['kivuko_requests_total{route="other",status="404"}'] == 1
        assert found['kivuko_request_seconds_count{route="/api/search"}'] == 3
        assert found['kivuko_query_lookups_total{cached="no"}'] == 1
        assert found['kivuko_query_lookups_total{cached="yes"}'] == 1
        assert found["kivuko_encode_batch_queries_count"] == 1
        assert found["kivuko_index_images"] == len(THINGS)
        assert "secret-path" not in client.get("/metrics").text


def test_the_description_is_complete(client):
    told = client.get("/openapi.json").json()
    assert set(told["paths"]) == {
        "/api/search", "/api/search/batch", "/api/search/image", "/api/align", "/api/items/{id}",
        "/api/items/{id}/like", "/api/items/{id}/thumbnail", "/api/about", "/health", "/metrics",
    }  # fmt: skip
    failures = [
        answer["content"]["application/json"]["schema"]["$ref"]
        for methods in told["paths"].values()
        for operation in methods.values()
        for status, answer in operation["responses"].items()
        if status >= "400"
    ]
    assert {re.sub(".*/", "", one) for one in failures} == {"Failure", "Health"}


def test_a_new_state_of_the_index_is_served_without_a_restart(place, tmp_path):
    for name in ("images", "model"):
        shutil.copytree(place / name, tmp_path / name)
    index(tmp_path)
    with (
        Searcher(tmp_path / "images.index", tmp_path / "model") as searcher,
        TestClient(create_app(searcher, Settings(refresh_seconds=0.05)), base_url="http://localhost") as client,
    ):
        assert client.get("/api/search?q=moto").json()["images"] == len(THINGS)
        painted((90, 60, 30), "ring").save(tmp_path / "images" / "nest.png")
        with (tmp_path / "images" / "captions.tsv").open("a", encoding="utf-8") as captions:
            captions.write("nest.png\tthe nest\tother\n")
        index(tmp_path)
        end = time.monotonic() + 60
        while client.get("/api/search?q=moto").json()["images"] == len(THINGS) and time.monotonic() < end:
            time.sleep(0.05)
        answer = client.get("/api/search?q=moto&where=key=nest.png").json()
        assert [hit["key"] for hit in answer["hits"]] == ["nest.png"]
        assert answer["generation"] > 1
        assert figures(client)["kivuko_index_images"] == len(THINGS) + 1
