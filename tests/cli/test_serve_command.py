"""``kivuko serve`` as a user meets it: it says where it is, refuses in one line, and ends quietly."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from command_checks import help_without_heavy_imports, refused

import kivuko

sys.path.insert(0, str(Path(__file__).parents[1] / "serve"))

from tiny_index import make_index


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> Path:
    return make_index(tmp_path_factory.mktemp("serve-command")) / "images.index"


def test_help_is_quick_and_has_examples():
    told = help_without_heavy_imports("serve")
    assert "kivuko serve emoji.index" in told
    assert "KIVUKO_API_KEY" in told


def test_it_serves_says_where_and_ends_quietly_when_interrupted(index):
    code = "from kivuko.cli import main; main()"
    environment = {**os.environ, "KIVUKO_API_KEY": "sesame", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
    server = subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(index), "--port", "0", "--host", "0.0.0.0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        found = re.fullmatch(r"8 images at (http://127\.0\.0\.1:\d+/)\n", server.stdout.readline())
        assert found, server.communicate(timeout=60)
        asked = urllib.request.Request(f"{found[1]}api/search?q=moto&k=1", headers={"X-API-Key": "sesame"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            (served,) = json.loads(answer.read())["hits"]
        server.send_signal(signal.SIGINT)
        _, err = server.communicate(timeout=60)
    finally:
        server.kill()
    assert (server.returncode, err) == (0, "")
    with kivuko.Searcher(index) as searcher:
        (hit,) = searcher.search("moto", k=1)
    assert (served["id"], served["score"]) == (hit.item.id, pytest.approx(hit.score))


def test_a_port_that_is_taken_is_one_line(index, run_here):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        refused(run_here("serve", str(index), "--port", port), f"--port {port}", "taken")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("missing.index", "--port", "0"), "missing.index"),
        (("INDEX", "--port", "0", "--model", "nowhere"), "nowhere"),
        (("INDEX", "--port", "0", "--host", "203.0.113.7"), "--host 203.0.113.7"),
        (("INDEX", "--port", "0", "--index", "tree"), "tree"),
        (("INDEX", "--port", "70000"), "--port"),
        (("INDEX", "--max-upload", "nan"), "--max-upload"),
        (("INDEX", "--port", "0", "--api-key", "ключ"), "--api-key"),
    ],
)
def test_what_cannot_be_served_is_one_line(index, run_here, words, told):
    refused(run_here("serve", *(str(index) if word == "INDEX" else word for word in words)), told)
