"""What the tests of the server share: a tiny trained model, an index made with it, and applications over both."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for tiny_index and served, under any import mode


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """A folder with a model and "images.index" made with it; read only."""
    from tiny_index import make_index

    return make_index(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="session")
def searcher(place):
    """The index and its model, opened."""
    from kivuko.search.searcher import Searcher

    with Searcher(place / "images.index") as searcher:
        yield searcher


@pytest.fixture(scope="module")
def client(searcher):
    """A client of the application with its usual settings, but for small uploads."""
    from fastapi.testclient import TestClient

    from kivuko.serve.app import create_app
    from kivuko.serve.guard import Settings

    app = create_app(searcher, Settings(max_upload=2**20, max_pixels=4_000_000))
    with TestClient(app, base_url="http://127.0.0.1:8117", raise_server_exceptions=False) as client:
        yield client
