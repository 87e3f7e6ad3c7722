"""A gallery to search: its index is made, kept, brought up to date, and never used where it does not fit."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from tiny_encoder import DIM, TinyEncoder, write_images

from kivuko.errors import ModelError, UsageError
from kivuko.search import index as saved_index
from kivuko.search.filter import parse_filter
from kivuko.search.gallery import Gallery
from kivuko.search.index import choose_index


@pytest.fixture
def photos(tmp_path):
    return write_images(tmp_path / "photos", range(30))


@pytest.fixture
def made(index, photos):
    """A gallery of 30 images: (its path, its store)."""
    from kivuko.search.sources import FolderSource

    _, store = index(FolderSource(photos))
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
def test_search_finds_what_brute_force_finds(made, kind):
    path, store = made
    with Gallery.open(path, index=kind, storage="float32") as gallery:
        assert len(gallery) == 30
        asked = queries(6)
        for query, hits in zip(asked, gallery.search(asked, 7), strict=True):
            assert [hit.item.id for hit in hits] == brute_force(store, query, 7)
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
            assert hits[0].item.key.endswith(".png")
        assert gallery.search(asked[:0], 7) == []


def test_filters_like_and_bounds(made):
    path, store = made
    with Gallery.open(path) as gallery:
        where = parse_filter(["key~sub"])
        among = store.select(where)
        hits = gallery.search(queries(1), 100, where)[0]
        assert [hit.item.id for hit in hits] == brute_force(store, queries(1)[0], 100, among)
        assert 0 < len(hits) < 30
        assert gallery.search(queries(2), 3, parse_filter(["width>=100000"])) == [[], []]
        near = gallery.like(5, 29)
        assert 5 not in [hit.item.id for hit in near]
        assert len(near) == 29
        assert [hit.item.id for hit in gallery.like(5, 3, where)] == [
            id for id in brute_force(store, store.vector(5), 30, among) if id != 5
        ][:3]
        with pytest.raises(KeyError):
            gallery.like(9999, 3)
        with pytest.raises(ModelError, match="numbers"):
            gallery.search(np.ones((1, DIM + 1), dtype=np.float32), 3)
        with pytest.raises(ValueError, match="at least 1"):
            gallery.search(queries(1), 0)
    with pytest.raises(UsageError, match="--index tree"):
        Gallery.open(path, index="tree")


def test_a_saved_index_is_used_again_and_a_small_exact_one_is_not_saved(made, monkeypatch):
    path, store = made
    Gallery.open(path).close()
    assert not saved_index.index_file(store).exists()
    with Gallery.open(path, index="hnsw") as gallery:
        first = gallery.search(queries(3), 5)

    def never(*_: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(saved_index, "build_index", never)
    for kind in ("hnsw", "auto"):
        with Gallery.open(path, index=kind) as gallery:
            assert gallery.search(queries(3), 5) == first


@pytest.mark.parametrize("harm", ["byte", "cut", "gone", "note", "other ids", "other gallery"])
def test_a_damaged_or_foreign_index_is_built_again(made, harm):
    path, store = made
    with Gallery.open(path, index="ivf") as gallery:
        expected = gallery.search(queries(3), 5)
    file = saved_index.index_file(store)
    note, content = file.with_suffix(".json"), bytearray(file.read_bytes())
    told = json.loads(note.read_text())
    if harm in ("byte", "cut"):
        file.unlink()  # the gallery above may still have it mapped
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
        note.write_text(json.dumps({**told, "ids" if harm == "other ids" else "gallery": "0" * 16}))
    with Gallery.open(path, index="ivf") as gallery:
        assert gallery.search(queries(3), 5) == expected
    assert json.loads(note.read_text()) == told
    assert saved_index.sha256_of(file) == told["sha256"]


def test_a_new_generation_brings_the_index_up_to_date(index, photos, monkeypatch):
    from kivuko.search.sources import FolderSource

    _, store = index(FolderSource(photos))
    gallery = Gallery.open(store.path, index="ivf", storage="float32")
    assert not gallery.refresh()
    (photos / "0001.png").unlink()
    write_images(photos, range(40, 44))
    _, later = index(FolderSource(photos))
    built = []
    monkeypatch.setattr(saved_index, "build_index", lambda *_: built.append(1))
    before = gallery.store
    assert gallery.refresh()
    assert not built  # one gone and four new among 33: the old index is changed, not built again
    assert gallery.store.generation == later.generation
    assert before.items([1])  # what was taken before still answers
    assert gallery.index.ids().tolist() == later.ids().tolist()
    for query, hits in zip(queries(4), gallery.search(queries(4), 33), strict=True):
        assert [hit.item.id for hit in hits] == brute_force(later, query, 33)
    gallery.close()
    with Gallery.open(store.path, index="ivf", storage="float32") as again:  # saved as it was
        assert again.index.ids().tolist() == later.ids().tolist()


def test_a_gallery_made_anew_with_another_model_is_refused_on_refresh(index, photos):
    from kivuko.search.sources import FolderSource

    _, store = index(FolderSource(photos))
    with Gallery.open(store.path) as gallery:
        index(FolderSource(photos), encoder=TinyEncoder("another"), rebuild=True)
        with pytest.raises(ModelError, match="another model"):
            gallery.refresh()


def test_where_nothing_can_be_written_the_index_is_built_each_time(made, monkeypatch):
    path, store = made

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kivuko.files.os.fsync", full)
    with Gallery.open(path, index="hnsw") as gallery:
        assert len(gallery.search(queries(1), 5)[0]) == 5
    assert not saved_index.index_file(store).exists()


def test_threads_search_while_another_refreshes(index, photos):
    from kivuko.search.sources import FolderSource

    _, store = index(FolderSource(photos))
    gallery, wrong, stop = Gallery.open(store.path), [], threading.Event()

    def search() -> None:
        while not stop.is_set():
            try:
                if len(gallery.search(queries(2), 5)[1]) != 5:
                    wrong.append("short")
            except Exception as problem:
                wrong.append(repr(problem))

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(50, 53):
        write_images(photos, range(number, number + 1))
        index(FolderSource(photos))
        assert gallery.refresh()
    stop.set()
    for thread in threads:
        thread.join()
    gallery.close()
    assert not wrong
    assert choose_index(33, DIM).kind == "flat"
