"""What the tests of indexes share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for tiny_encoder, under any import mode


@pytest.fixture
def build(tmp_path):
    """Index sources with the tiny encoder into ``g.index``: (summary, opened store)."""
    from tiny_encoder import TinyEncoder

    from kivuko.search.building import index_images
    from kivuko.search.store import IndexStore

    opened = []

    def run(*sources, path=tmp_path / "g.index", encoder=None, **options):
        options.setdefault("workers", 1)
        encoder = encoder or TinyEncoder()
        summary = index_images(encoder, sources, path, model=tmp_path / "model", **options)
        opened.append(IndexStore.open(path))
        return summary, opened[-1]

    yield run
    for store in opened:
        store.close()
