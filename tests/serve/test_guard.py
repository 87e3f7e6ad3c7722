"""Who may ask, and what every answer says to a browser."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

from kivuko.serve.app import create_app
from kivuko.serve.guard import Settings, is_loopback

PAGE = ("/", "/docs", "/page/app.js", "/page/style.css", "/favicon.ico")


def test_every_answer_has_the_security_headers(client):
    for path in (*PAGE, "/health", "/openapi.json", "/api/search?q=moto", "/nothing", "/api/items/x"):
        headers = client.get(path).headers
        assert headers["content-security-policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
            "base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "cache-control" in headers


def test_the_page_names_no_foreign_address_and_no_inline_code(client):
    for path in (*PAGE, *(f"/page/{name}.js" for name in ("api", "grid", "detail", "alignment", "understood", "docs"))):
        text = client.get(path).text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]+\.", text), path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), path
        assert not re.search(r"<script(?![^>]*src)|<style|\sstyle=|\son[a-z]+=", text), path


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8117", "localhost.evil.example", "", "127.0.0.1.nip.io"]
)
def test_a_server_on_loopback_answers_to_no_foreign_name(client, host):
    answer = client.get("/api/search?q=moto", headers={"Host": host})
    assert answer.status_code == 421
    assert "hits" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8117", "LOCALHOST:80"])
def test_it_answers_to_its_own_names(client, host):
    assert client.get("/api/search?q=moto", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:8117"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:3000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://images.example", "Sec-Fetch-Site": "same-origin"}, 200),  # behind a proxy
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://127.0.0.1:8117", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_pages_of_other_sites_cannot_post(client, headers, status):
    for sent in ({"json": {"query": "moto"}}, {"content": '{"query": "moto"}'}):
        answer = client.post("/api/search", headers={"Content-Type": "application/json", **headers}, **sent)
        assert answer.status_code == status, answer.text
    form = {"image": ("x.png", b"no image at all")}
    expected = 403 if status == 403 else 415
    assert client.post("/api/search/image", headers=headers, files=form).status_code == expected
    assert client.get("/api/search?q=moto", headers=headers).status_code == 200


def test_a_server_that_listens_elsewhere_answers_to_any_name(searcher):
    with TestClient(create_app(searcher, Settings(host="0.0.0.0")), base_url="http://images.example") as client:
        assert client.get("/health").status_code == 200
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "[::1]", "localhost", "127.9.9.9")] == [True] * 5
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.4", "images.example")] == [False] * 4


@pytest.fixture(scope="module")
def locked(searcher):
    with TestClient(create_app(searcher, Settings(api_key="open sesame")), base_url="http://localhost") as client:
        yield client


@pytest.mark.parametrize(
    "path", ["/api/search?q=moto", "/api/items/1/thumbnail", "/api/about", "/metrics", "/openapi.json", "/nothing"]
)
def test_without_the_key_nothing_of_the_index_is_shown(locked, path):
    for headers in (
        {}, {"X-API-Key": ""}, {"X-API-Key": "open sesam"}, {"Authorization": "Bearer x"},
        {"Authorization": "open sesame"}, {"Authorization": "Basic open sesame"}, {"X-API-Key": b"\xff\xfe"},
    ):  # fmt: skip
        answer = locked.get(path, headers=headers)
        assert answer.status_code == 401, headers
        assert answer.headers["www-authenticate"] == "Bearer"
        assert list(answer.json()) == ["error"]


def test_the_key_opens_in_either_header_and_the_page_needs_none(locked):
    for headers in ({"X-API-Key": "open sesame"}, {"Authorization": "Bearer open sesame"}):
        assert locked.get("/api/search?q=moto", headers=headers).status_code == 200
    for path in PAGE:
        assert locked.get(path).status_code == 200
    assert locked.get("/health").json() == {"status": "ok", "api_key": True}


def test_the_key_is_not_shown(locked):
    assert "sesame" not in repr(Settings(api_key="open sesame"))
    assert "sesame" not in locked.get("/metrics", headers={"X-API-Key": "open sesame"}).text
