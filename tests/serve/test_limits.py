"""Hostile uploads and impatient clients: everything gets a 4xx (or a 503 that says when to come back), and the server
stays well."""

from __future__ import annotations

import io
import shutil
import socket
import struct
import threading
import time
import tracemalloc
import zlib
from pathlib import Path

import httpx
import pytest
from PIL import Image
from served import served
from tiny_index import THINGS, painted

from kivuko.errors import CorruptFileError, KivukoError
from kivuko.search.searcher import Searcher
from kivuko.serve import uploads
from kivuko.serve.app import create_app
from kivuko.serve.guard import Settings

MB = 2**20


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, *extra: bytes, pixels: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def progressive_bomb(side: int, scans: int) -> bytes:
    """A small progressive JPEG whose last scan comes again and again: each passes over all its pixels."""
    whole = saved(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    scan, end = whole.rfind(b"\xff\xda"), whole.rfind(b"\xff\xd9")
    return whole[:scan] + whole[scan:end] * scans + whole[end:]


BOMB = zlib.compress(b"A" * (200 * MB // 4), 9)
HOSTILE = {
    "50,000 x 50,000 PNG": (png(50_000, 50_000), 422),
    "2**31 x 2**31 PNG": (png(2**31 - 1, 2**31 - 1), 422),
    "a PNG of no pixels": (png(0, 0), None),
    "pixels over the limit of this server": (saved(Image.new("1", (3000, 3000)), "PNG"), 422),
    "zTXt bomb": (png(4, 4, chunk(b"zTXt", b"Comment\0\0" + BOMB), pixels=b"\0" * 52), 422),
    "iTXt bomb": (png(4, 4, chunk(b"iTXt", b"Comment\0\1\0\0\0" + BOMB), pixels=b"\0" * 52), 422),
    "iCCP bomb": (png(4, 4, chunk(b"iCCP", b"profile\0\0" + BOMB), pixels=b"\0" * 52), None),
    "IDAT bomb": (png(4, 4, pixels=b"\0" * (50 * MB)), None),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', 415),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", 415),
    "HTML": (b"<script>alert(1)</script>", 415),
    "nothing": (b"", 422),
    "half a JPEG": (saved(painted(*THINGS[0][3:]), "JPEG")[:300], 422),
    "a line": (saved(Image.new("RGB", (3000, 2)), "PNG"), 422),
}


@pytest.fixture(scope="module")
def address(searcher):
    with served(searcher, Settings(max_upload=MB, max_pixels=4_000_000)) as address:
        yield address


@pytest.fixture
def still_well(address):
    """Check after the test that the server answers searches."""
    yield
    answer = httpx.post(f"{address}/api/search", json={"query": "moto", "k": 1}, timeout=60)
    assert answer.json()["hits"][0]["key"] == "fire.png"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_images_are_refused_and_cost_little(client, name):
    content, status = HOSTILE[name]
    tracemalloc.start()
    try:
        answer = client.post("/api/search/image", files={"image": ("../../x.png", content, "image/png")})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 * MB
    if status is None:  # Pillow may read past it, or not; either way it costs nothing
        assert answer.status_code in (200, 415, 422), answer.text
    else:
        assert answer.status_code == status, answer.text
    if answer.status_code != 200:
        assert list(answer.json()) == ["error"]
        assert "\n" not in answer.json()["error"]


def test_an_upload_that_takes_too_long_is_stopped_and_others_are_searched_by(searcher):
    with served(searcher, Settings(decode_seconds=1.5)) as address:
        bomb, good = progressive_bomb(2000, 4000), saved(painted(*THINGS[5][3:]), "PNG")
        answers = []

        def upload(content):
            files = {"image": ("x.jpg", content, "image/jpeg")}
            return httpx.post(f"{address}/api/search/image?k=1", files=files, timeout=60)

        threads = [threading.Thread(target=lambda: answers.append(upload(bomb))) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert upload(good).json()["hits"][0]["key"] == "snow.png"
        assert httpx.get(f"{address}/api/search?q=moto", timeout=60).status_code == 200
        for thread in threads:
            thread.join(60)
        assert [answer.status_code for answer in answers] == [422] * 4
        assert "took too long" in answers[0].json()["error"]
        assert upload(good).status_code == 200


def test_an_upload_that_takes_too_much_memory_is_refused(searcher, monkeypatch):
    monkeypatch.setattr(uploads, "_MEMORY", 2**20)
    monkeypatch.setattr(uploads, "_MEMORY_PER_PIXEL", 1)
    with served(searcher, Settings(max_pixels=20_000_000)) as address:
        large = saved(Image.new("RGB", (4000, 4000)), "PNG")
        answer = httpx.post(f"{address}/api/search/image", files={"image": ("x", large, "image/png")}, timeout=60)
        assert answer.status_code == 422
        assert "memory" in answer.json()["error"]


@pytest.mark.parametrize(
    ("problem", "status"),
    [(KivukoError("the processes that decode images die at once"), 503), (OSError(11, "no more processes"), 500)],
)
def test_more_processes_replace_those_that_die(searcher, monkeypatch, problem, status):
    ended = []
    close = uploads.UploadDecoder.close
    monkeypatch.setattr(uploads.UploadDecoder, "close", lambda self, *given: (ended.append(given), close(self, *given)))

    def die(content):
        raise problem

    with served(searcher) as address:
        good = {"image": ("x", saved(painted(*THINGS[5][3:]), "PNG"), "image/png")}
        with monkeypatch.context() as broken:
            broken.setattr(uploads.DecodingWorkers, "decode", lambda self, content: die(content))
            assert httpx.post(f"{address}/api/search/image", files=good, timeout=60).status_code == status
        assert len(ended) == 1
        assert httpx.post(f"{address}/api/search/image", files=good, timeout=60).status_code == 200


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_usual_images_are_read(client, kind):
    image = painted(*THINGS[5][3:])
    answer = client.post(
        "/api/search/image?k=1", files={"image": ("x", saved(image, kind), "application/octet-stream")}
    )
    assert answer.json()["hits"][0]["key"] == "snow.png"


def test_forms_that_hold_no_image_are_refused(client):
    for sent, status in (
        ({"json": {"image": "x"}}, 415),
        ({"files": {"other": ("x.png", b"x", "image/png")}}, 422),
        ({"data": {"image": "text"}, "files": {"other": ("x", b"")}}, 422),
        ({"files": [("image", ("x", b"x"))] * 2}, 400),
        ({"content": b"no boundary", "headers": {"Content-Type": "multipart/form-data"}}, 400),
        ({"content": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, None),
    ):
        answer = client.post("/api/search/image", **sent)
        assert answer.status_code == status or (status is None and answer.status_code in (400, 422)), answer.text
        assert list(answer.json()) == ["error"]


def test_a_hundred_megabytes_are_refused_without_being_kept(address, still_well):
    resident = _resident()
    form = b'--x\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\n'

    def sent():
        yield form
        for _ in range(100):
            yield b"\0" * MB

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    length = {"Content-Length": str(len(form) + 100 * MB)}
    for headers in (kind | length, kind):  # said beforehand; in chunks, without saying
        answer = httpx.post(f"{address}/api/search/image", content=sent(), headers=headers, timeout=120)
        assert answer.status_code == 413
        assert "at most 1 MB" in answer.json()["error"]
    assert _resident() - resident < 40 * MB


def test_large_json_is_refused(client):
    for content in (b" " * MB, iter([b" " * 1000] * 1000)):
        answer = client.post("/api/search", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert "512 KB" in answer.json()["error"]


def test_a_huge_head_is_refused(address, still_well):
    for path, headers in (("/api/search?q=" + "a" * 50_000, {}), ("/health", {"X-Long": "a" * 200_000})):
        try:
            status = httpx.get(address + path, headers=headers, timeout=60).status_code
        except (httpx.RemoteProtocolError, httpx.WriteError, httpx.ReadError):
            continue  # the connection is closed while the head still comes
        assert 400 <= status < 500


@pytest.mark.parametrize("size", [30_000, 33_000, 60_000])
def test_the_limit_of_a_head_holds_however_it_arrives(address, size):
    host, port = address.removeprefix("http://").split(":")
    head = f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nX-Long: {'a' * size}\r\n\r\n".encode()
    for parts in ([head], [head[:20_000], head[20_000:]]):
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            for part in parts:
                connection.sendall(part)
                time.sleep(0.1)
            status = connection.recv(4096).split()[1]
        assert status == (b"200" if size < 32 * 1024 else b"400")


def test_a_slow_upload_ends_with_408(searcher):
    with served(searcher, Settings(timeout=0.5)) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            head = (
                "POST /api/search HTTP/1.1",
                f"Host: {host}",
                "Content-Type: application/json",
                "Content-Length: 99",
            )
            connection.sendall(("\r\n".join(head) + "\r\n\r\n{").encode())
            assert b" 408 " in connection.recv(4096).partition(b"\r\n")[0]


class _Held:
    """A searcher that does not answer before it is let go."""

    def __init__(self, real):
        self._real, self.go = real, threading.Event()

    def __getattr__(self, name):
        return getattr(self._real, name)

    def encode(self, texts):
        self.go.wait(60)
        return self._real.encode(texts)


def test_too_many_requests_are_asked_to_come_back(searcher):
    held = _Held(searcher)
    with served(held, Settings(max_requests=2)) as address:
        results = []

        def ask(word):
            results.append(httpx.get(f"{address}/api/search", params={"q": word}, timeout=60).status_code)

        threads = [threading.Thread(target=ask, args=(word,)) for word in ("moto", "ndizi")]
        for thread in threads:
            thread.start()
        _until(lambda: "kivuko_requests_in_progress 3.0" in httpx.get(f"{address}/metrics", timeout=60).text)
        busy = httpx.get(f"{address}/api/search?q=mti", timeout=60)
        assert busy.status_code == 503
        assert busy.headers["retry-after"] == "1"
        assert httpx.get(f"{address}/health", timeout=60).status_code == 200
        held.go.set()
        for thread in threads:
            thread.join(60)
        assert results == [200, 200]
        assert httpx.get(f"{address}/api/search?q=mti", timeout=60).status_code == 200


def test_a_request_that_takes_too_long_ends_with_503(searcher):
    held = _Held(searcher)
    try:
        with served(held, Settings(timeout=0.3)) as address:
            answer = httpx.get(f"{address}/api/search?q=mti", timeout=60)
            assert answer.status_code == 503
            assert "0.3 seconds" in answer.json()["error"]
    finally:
        held.go.set()


def test_a_fault_of_ours_is_a_json_500_without_a_traceback(searcher):
    class Broken(_Held):
        def encode(self, texts):
            raise RuntimeError("secret inner state")

    from fastapi.testclient import TestClient

    with TestClient(create_app(Broken(searcher)), base_url="http://localhost", raise_server_exceptions=False) as client:
        answer = client.get("/api/search?q=moto")
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert list(answer.json()) == ["error"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_damage_is_shown_by_health_and_paths_by_nothing(searcher):
    class Damaged(_Held):
        def encode(self, texts):
            raise CorruptFileError(f"{searcher.index.store.path}: damaged (000001.safetensors). Rebuild it.")

    from fastapi.testclient import TestClient

    app = create_app(Damaged(searcher))
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        assert client.get("/health").json()["status"] == "ok"
        answer = client.get("/api/search?q=moto")
        assert answer.status_code == 503
        assert "/" not in answer.json()["error"]
        health = client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "damaged")


def test_damaged_vectors_are_noticed_in_the_background(place, tmp_path):
    shutil.copytree(place, tmp_path / "place")
    segment = next((tmp_path / "place" / "images.index" / "segments").iterdir())
    content = bytearray(segment.read_bytes())
    content[-3] ^= 1
    segment.write_bytes(content)
    with Searcher(tmp_path / "place" / "images.index") as searcher, served(searcher) as address:
        _until(lambda: httpx.get(f"{address}/health", timeout=60).status_code == 503)
        assert httpx.get(f"{address}/health", timeout=60).json()["status"] == "damaged"


def _until(holds) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
