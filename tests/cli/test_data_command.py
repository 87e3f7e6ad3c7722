"""``kivuko data`` as a user meets it."""

import functools
import http.server
import threading

import pytest
from command_checks import refused

import caption_scene as scene
from kivuko.datasets.captions.download import CHECKSUMS, SETS, RemoteFile, RemoteSet, fetch_set
from kivuko.datasets.emoji.world import emoji_world
from kivuko.errors import DataError
from kivuko.files import sha256_of


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Serve a small set on the loopback address under the name xtd; return its files, the last for images."""
    place = scene.write_xtd(tmp_path / "published")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(place))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        names = sorted(file.relative_to(place).as_posix() for file in place.rglob("*") if file.suffix == ".txt")
        files = (RemoteFile(f"{address}/{name}", name, images=name == names[-1]) for name in names)
        remote = RemoteSet(tuple(files), "CC0", also="the photographs")
        monkeypatch.setitem(SETS, "xtd", remote)
        yield names
        server.shutdown()


def test_the_command_prints_the_sizes_of_the_world_that_the_call_returns(run_here, tiny_cldr, few_test_concepts):
    status, out, err = run_here("data", "emoji", "--languages", "sw", "mr", "--cldr", str(tiny_cldr))
    assert status == 0, err
    world = emoji_world(["sw", "mr"], cldr=tiny_cldr)
    assert f"{len(world.emoji):,} emoji, {len(world.images):,} distinct images" in out
    lines = [line.split() for line in out.splitlines()]
    for code in world.languages:
        counts = [f"{count:,}" for count in world.counts(code)]
        assert [code, *counts] in [[words[0], *words[-8:]] for words in lines if words]


def test_the_list_is_that_of_the_call(run_here, tiny_cldr):
    from kivuko.datasets.emoji.sources import available_languages

    status, out, err = run_here("data", "emoji", "--list", "--cldr", str(tiny_cldr))
    assert status == 0, err
    assert {*available_languages(tiny_cldr)} <= {*out.split()}


def contents(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("images", [True, False])
def test_the_fetch_command_and_the_call_write_the_same_files(run_here, published, tmp_path, images):
    command, call = tmp_path / "command", tmp_path / "call"
    fetched = published if images else published[:-1]
    listed = tmp_path / "listed"
    listed.write_text(f"{sha256_of(tmp_path / 'published' / published[0])}  {published[0]}\n")
    words = ("data", "fetch", "xtd", "--checksums", str(listed), *(() if images else ("--no-images",)))
    status, out, err = run_here(*words, "--out", str(command))
    assert status == 0, err
    done = fetch_set("xtd", call, images=images, checksums=listed, progress=False)
    assert list(done.fetched) == fetched
    assert sorted(contents(command)) == sorted([*fetched, CHECKSUMS])
    assert contents(command) == contents(call)
    shown = " ".join(out.split())
    assert f"{len(fetched)} files downloaded, 0 present before" in shown
    assert "License: CC0." in shown
    assert "Not downloaded: the photographs." in shown
    listed.write_text(f"{'0' * 64}  {published[0]}\n")
    with pytest.raises(DataError) as refused_by_call:
        fetch_set("xtd", tmp_path / "other", images=images, checksums=listed, progress=False)
    refused(run_here(*words, "--out", str(tmp_path / "other")), str(refused_by_call.value))
