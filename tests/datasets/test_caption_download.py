"""Fetching caption sets from a local server: whole, cut short, resumed, changed meanwhile, and refused."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field

import pytest

import caption_scene as scene
from kivuko.datasets.captions.download import (
    CHECKSUMS,
    SETS,
    RemoteFile,
    RemoteSet,
    download,
    fetch,
    read_checksums,
    remote_set,
    unpack,
)
from kivuko.datasets.captions.formats import open_caption_set
from kivuko.errors import DataError, UsageError


@dataclass
class Server:
    """What is served, and how it misbehaves: ``cut`` bytes are sent of a file before the connection ends."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    ranges: bool = True

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


@pytest.fixture
def server():
    """A server on the loopback address, closed after the test."""
    state = Server("")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.lstrip("/")
            wanted = self.headers.get("Range")
            state.requests.append((name, wanted))
            if name not in state.files:
                self.send_error(404, "Not Found")
                return
            content = state.files[name]
            tag = f'"{hashlib.md5(content).hexdigest()}"'
            start = 0
            if state.ranges and wanted and self.headers.get("If-Range") == tag:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : state.cut.get(name, len(content))])

        def log_message(self, *_):
            """Say nothing."""

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{httpd.server_address[1]}"
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield state
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def packed(tmp_path) -> tuple[bytes, bytes]:
    """Crossmodal-3600 as it is published: captions.zip and images.tgz."""
    place = scene.write_xm3600(tmp_path / "source")
    captions, images = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(captions, "w") as archive:
        archive.write(place / "captions.jsonl", "captions.jsonl")
    with tarfile.open(fileobj=images, mode="w:gz") as archive:
        for file in sorted((place / "images").iterdir()):
            archive.add(file, file.name)
    return captions.getvalue(), images.getvalue()


@pytest.fixture
def xm3600(server, tmp_path):
    """The set of two archives on the server, with the places that the real one has."""
    server.files["captions.zip"], server.files["images.tgz"] = packed(tmp_path)
    real = remote_set("xm3600").files
    files = tuple(RemoteFile(server.url(one.place), one.place, one.into, one.images) for one in real)
    return RemoteSet(files, "CC BY 4.0")


def test_a_fetched_set_is_read_as_it_is(server, xm3600, tmp_path):
    message = []
    done = fetch(xm3600, tmp_path / "xm", watch=lambda *figures: message.append(figures))
    assert done.fetched == ("captions.zip", "images.tgz")
    result = open_caption_set(f"xm3600:{tmp_path / 'xm'}")
    assert all(image.path is not None for image in result.images)
    assert message[-1] == ("images.tgz", len(server.files["images.tgz"]), len(server.files["images.tgz"]))
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in server.files.items()}
    assert read_checksums(tmp_path / "xm" / CHECKSUMS) == digests
    assert not (tmp_path / "xm" / "images.tgz").exists(), "an archive is removed once it is unpacked"


def test_what_is_there_is_not_fetched_again(server, xm3600, tmp_path):
    fetch(xm3600, tmp_path / "xm")
    server.requests.clear()
    again = fetch(xm3600, tmp_path / "xm")
    assert (again.fetched, again.kept) == ((), ("captions.zip", "images.tgz"))
    assert server.requests == []


def test_captions_without_images(server, xm3600, tmp_path):
    assert fetch(xm3600, tmp_path / "xm", images=False).fetched == ("captions.zip",)
    assert [name for name, _ in server.requests] == ["captions.zip"]


def test_a_cut_fetch_is_resumed(server, tmp_path):
    server.files["a"] = bytes(range(256)) * 2000
    server.cut["a"] = 300_000
    with pytest.raises(DataError, match="run the command again"):
        download(server.url("a"), tmp_path / "a")
    assert not (tmp_path / "a").exists(), "nothing half is there under its name"
    assert (tmp_path / ".a.part").stat().st_size == 300_000
    server.cut.clear()
    download(server.url("a"), tmp_path / "a")
    assert server.requests[-1] == ("a", "bytes=300000-")
    assert (tmp_path / "a").read_bytes() == server.files["a"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(server, tmp_path, ranges):
    server.files["a"], server.cut["a"] = b"old" * 100_000, 100_000
    with pytest.raises(DataError):
        download(server.url("a"), tmp_path / "a")
    server.cut.clear()
    server.ranges = ranges
    if ranges:
        server.files["a"] = b"new!" * 100_000
    download(server.url("a"), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == server.files["a"]


def test_a_checksum_that_does_not_fit_is_refused_and_the_file_removed(server, xm3600, tmp_path):
    listed = scene.write_lines(tmp_path / "listed", [f"{'0' * 64}  captions.zip"])
    with pytest.raises(DataError, match="SHA-256"):
        fetch(xm3600, tmp_path / "xm", checksums=listed)
    assert not (tmp_path / "xm" / "captions.zip").exists()
    assert not (tmp_path / "xm" / "captions.jsonl").exists()
    right = hashlib.sha256(server.files["captions.zip"]).hexdigest()
    scene.write_lines(listed, ["# a comment", f"{right.upper()} *captions.zip"])
    assert fetch(xm3600, tmp_path / "xm", checksums=listed).fetched == ("captions.zip", "images.tgz")


def test_a_set_that_changed_since_its_first_fetch_is_noticed(server, tmp_path):
    server.files["names.txt"] = b"a.jpg\n"
    remote = RemoteSet((RemoteFile(server.url("names.txt"), "names.txt"),), "")
    fetch(remote, tmp_path / "set")
    (tmp_path / "set" / "names.txt").write_bytes(b"damaged\n")
    with pytest.raises(DataError, match="SHA-256"):
        fetch(remote, tmp_path / "set")
    assert fetch(remote, tmp_path / "set").fetched == ("names.txt",)
    assert (tmp_path / "set" / "names.txt").read_bytes() == b"a.jpg\n"


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/a", "nosuch://a", "http://[", "file-without-a-scheme"])
def test_an_address_that_cannot_be_reached_is_one_line(tmp_path, address):
    with pytest.raises(DataError) as caught:
        download(address, tmp_path / "a")
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_the_server_does_not_have(server, tmp_path):
    with pytest.raises(DataError, match="404"):
        download(server.url("nosuch"), tmp_path / "a")


def test_archives_that_lead_outside_are_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../out.txt", "out")
    with pytest.raises(DataError, match="leads out"):
        unpack(tmp_path / "a.zip", tmp_path / "in" / "a")
    with tarfile.open(tmp_path / "b.tgz", "w:gz") as archive:
        info = tarfile.TarInfo("../out.txt")
        archive.addfile(info, io.BytesIO(b""))
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack(tmp_path / "b.tgz", tmp_path / "in" / "b")
    (tmp_path / "c.tgz").write_bytes((tmp_path / "b.tgz").read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack(tmp_path / "c.tgz", tmp_path / "in" / "c")
    assert not list(tmp_path.rglob("out.txt"))
    assert not list((tmp_path / "in").iterdir()), "nothing is left of what was not unpacked"


def test_lists_of_another_form(tmp_path):
    with pytest.raises(DataError, match="listed:1"):
        read_checksums(scene.write_lines(tmp_path / "listed", ["abc captions.zip"]))


def test_every_set_names_its_addresses():
    for name, one in SETS.items():
        assert one.license
        places = [file.place for file in one.files]
        assert len(set(places)) == len(places)
        assert all(file.url.startswith("https://") for file in one.files), name
    with pytest.raises(UsageError, match="xm3600"):
        remote_set("flickr30k200")
