"""An opened index of images: its vector index is built, saved, updated, and never used if it does not fit."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from tiny_encoder import DIM, TinyEncoder, write_images

from kivuko.errors import ModelError, UsageError
from kivuko.search import image_index as saved_index
from kivuko.search.filter import parse_filter
from kivuko.search.image_index import ImageIndex
from kivuko.search.index import choose_index


@pytest.fixture
def photos(tmp_path):
    return write_images(tmp_path / "photos", range(30))


@pytest.fixture
def built_index(build, photos):
    """An index of 30 images: (its path, its store)."""
    from kivuko.search.sources import FolderSource

    _, store = build(FolderSource(photos))
    return store.path, store


def queries(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute_force(store, query, k, among=None):
    ids, vectors = (np.concatenate(parts) for parts in zip(*store.vectors(), strict=True))
    kept = np.ones(len(ids), dtype=bool) if among is None else np.isin(ids, among)
    scores = (vectors[kept].astype(np.float64) * query).sum(1)
    return ids[kept][np.lexsort((ids[kept], -scores))][:k].tolist()


@pytest.mark.parametrize("kind", ["auto", "flat", "hnsw", "ivf"])
def test_search_finds_what_brute_force_finds(built_index, kind):
    path, store = built_index
    with ImageIndex(path, kind=kind, storage="float32") as index:
        assert len(index) == 30
        wanted = queries(6)
        for query, hits in zip(wanted, index.search(wanted, 7), strict=True):
            assert [hit.item.id for hit in hits] == brute_force(store, query, 7)
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
            assert hits[0].item.key.endswith(".png")
        assert index.search(wanted[:0], 7) == []


def test_filters_like_and_bounds(built_index):
    path, store = built_index
    with ImageIndex(path) as index:
        where = parse_filter(["key~sub"])
        among = store.select(where)
        hits = index.search(queries(1), 100, where)[0]
        assert [hit.item.id for hit in hits] == brute_force(store, queries(1)[0], 100, among)
        assert 0 < len(hits) < 30
        assert index.search(queries(2), 3, parse_filter(["width>=100000"])) == [[], []]
        near = index.like(5, 29)
        assert 5 not in [hit.item.id for hit in near]
        assert len(near) == 29
        assert [hit.item.id for hit in index.like(5, 3, where)] == [
            id for id in brute_force(store, store.vector(5), 30, among) if id != 5
        ][:3]
        with pytest.raises(KeyError):
            index.like(9999, 3)
        with pytest.raises(ModelError, match="numbers"):
            index.search(np.ones((1, DIM + 1), dtype=np.float32), 3)
        with pytest.raises(UsageError, match="at least 1"):
            index.search(queries(1), 0)
    with pytest.raises(UsageError, match=r"tree.*is no kind of index"):
        ImageIndex(path, kind="tree")


def test_a_saved_index_is_used_again_and_a_small_exact_one_is_not_saved(built_index, monkeypatch):
    path, store = built_index
    ImageIndex(path).close()
    assert not saved_index.vector_index_file(store).exists()
    with ImageIndex(path, kind="hnsw") as index:
        first = index.search(queries(3), 5)

    def never(*_: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(saved_index, "build_vector_index", never)
    for kind in ("hnsw", "auto"):
        with ImageIndex(path, kind=kind) as index:
            assert index.search(queries(3), 5) == first


@pytest.mark.parametrize("harm", ["byte", "cut", "gone", "note", "other ids", "other index"])
def test_a_damaged_or_foreign_index_is_built_again(built_index, harm):
    path, store = built_index
    with ImageIndex(path, kind="ivf") as index:
        expected = index.search(queries(3), 5)
    file = saved_index.vector_index_file(store)
    note, content = file.with_suffix(".json"), bytearray(file.read_bytes())
    written = json.loads(note.read_text())
    if harm in ("byte", "cut"):
        file.unlink()  # the index above may still have it mapped
    if harm == "byte":
        content[len(content) // 2] ^= 255
        file.write_bytes(content)
    elif harm == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif harm == "gone":
        file.unlink()
    elif harm == "note":
        note.write_text("{")
    else:
        note.write_text(json.dumps({**written, "ids" if harm == "other ids" else "index": "0" * 16}))
    with ImageIndex(path, kind="ivf") as index:
        assert index.search(queries(3), 5) == expected
    assert json.loads(note.read_text()) == written
    assert saved_index.sha256_of(file) == written["sha256"]


def test_a_new_generation_brings_the_index_up_to_date(build, photos, monkeypatch):
    from kivuko.search.sources import FolderSource

    _, store = build(FolderSource(photos))
    index = ImageIndex(store.path, kind="ivf", storage="float32")
    assert len(index.vector_index) == 30
    assert not index.refresh()
    (photos / "0001.png").unlink()
    write_images(photos, range(40, 44))
    _, later = build(FolderSource(photos))
    built = []
    monkeypatch.setattr(saved_index, "build_vector_index", lambda *_: built.append(1))
    before = index.store
    assert index.refresh()
    assert not built  # one gone and four new among 33: the old index is changed, not built again
    assert index.store.generation == later.generation
    assert before.items([1])  # what was taken before still answers
    assert index.vector_index.ids().tolist() == later.ids().tolist()
    for query, hits in zip(queries(4), index.search(queries(4), 33), strict=True):
        assert [hit.item.id for hit in hits] == brute_force(later, query, 33)
    index.close()
    with ImageIndex(store.path, kind="ivf", storage="float32") as again:  # saved as it was
        assert again.vector_index.ids().tolist() == later.ids().tolist()


def test_an_index_rebuilt_with_another_model_is_refused_on_refresh(build, photos):
    from kivuko.search.sources import FolderSource

    _, store = build(FolderSource(photos))
    with ImageIndex(store.path) as index:
        build(FolderSource(photos), encoder=TinyEncoder("another"), rebuild=True)
        with pytest.raises(ModelError, match="another model"):
            index.refresh()


def test_where_nothing_can_be_written_the_index_is_built_each_time(built_index, monkeypatch):
    path, store = built_index

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kivuko.files.os.fsync", full)
    with ImageIndex(path, kind="hnsw") as index:
        assert len(index.search(queries(1), 5)[0]) == 5
    assert not saved_index.vector_index_file(store).exists()


def test_threads_search_while_another_refreshes(build, photos):
    from kivuko.search.sources import FolderSource

    _, store = build(FolderSource(photos))
    index, wrong, stop = ImageIndex(store.path), [], threading.Event()

    def search() -> None:
        while not stop.is_set():
            try:
                if len(index.search(queries(2), 5)[1]) != 5:
                    wrong.append("short")
            except Exception as problem:
                wrong.append(repr(problem))

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(50, 53):
        write_images(photos, range(number, number + 1))
        build(FolderSource(photos))
        assert index.refresh()
    stop.set()
    for thread in threads:
        thread.join()
    index.close()
    assert not wrong
    assert choose_index(33, DIM).kind == "flat"
