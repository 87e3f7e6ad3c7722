"""What the tests of galleries share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for tiny_encoder, under any import mode


@pytest.fixture
def index(tmp_path):
    """Index sources with the tiny encoder into ``g.gallery``: (summary, opened store)."""
    from tiny_encoder import TinyEncoder

    from kivuko.search.building import IndexOptions, build_gallery
    from kivuko.search.store import GalleryStore

    opened = []

    def run(*sources, path=tmp_path / "g.gallery", encoder=None, **options):
        options.setdefault("workers", 1)
        encoder = encoder or TinyEncoder()
        summary = build_gallery(encoder, sources, path, model=tmp_path / "model", options=IndexOptions(**options))
        opened.append(GalleryStore.open(path))
        return summary, opened[-1]

    yield run
    for store in opened:
        store.close()
