"""A run of indexing that is killed with SIGKILL goes on, and ends as if nothing had happened.

``KIVUKO_KILLS=20`` kills at twenty random moments instead of four.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_encoder import image, write_images

from kivuko.errors import ImageIndexError
from kivuko.search.image_index import ImageIndex
from kivuko.search.sources import FolderSource
from kivuko.search.store import IndexStore, aside_of, writing

SCRIPT = Path(__file__).with_name("killed_indexing.py")
KILLS = int(os.environ.get("KIVUKO_KILLS", "4"))
IMAGES = 120


def start(folder, index):
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), str(index)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def finish(folder, index):
    process = start(folder, index)
    assert process.communicate(timeout=120)[0] == "done\n"
    assert process.returncode == 0


def contents(index):
    """Everything that a search can see: items, thumbnails, what was skipped, and vectors to the bit."""
    with IndexStore.open(index) as store:
        ids, vectors = next(store.vectors())
        items = store.items(ids)
        seen = {item.key: (item, store.thumbnail(item.id), vectors[row].tobytes()) for row, item in enumerate(items)}
        return seen, store.skipped(), store.generation


def committed(index):
    """How many images are committed, published or not; and that each has its vector."""
    if not (index / "index.sqlite").exists():
        return 0
    database = sqlite3.connect(index / "index.sqlite")
    try:
        if not database.execute("SELECT name FROM sqlite_master WHERE name = 'skipped'").fetchone():
            return 0
        for (segment,) in database.execute("SELECT DISTINCT segment FROM contents"):
            assert (index / "segments" / f"{segment:06}.safetensors").is_file()
        lost = "SELECT COUNT(*) FROM items WHERE content NOT IN (SELECT id FROM contents)"
        assert database.execute(lost).fetchone() == (0,)
        return database.execute("SELECT COUNT(*) FROM contents").fetchone()[0]
    finally:
        database.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images, an index of some of them, and the index that an uninterrupted run makes of it."""
    place = tmp_path_factory.mktemp("killed")
    photos = write_images(place / "photos", range(1, 40))
    finish(photos, place / "before.index")
    write_images(photos, range(40, IMAGES))
    for number in range(1, 10):
        image(number + 1000).save(photos / f"{number:04}.png")
    shutil.copy(photos / "0041.png", photos / "copy.png")
    (photos / "0043.png").write_bytes(b"broken")
    (photos / "0011.png").unlink()
    shutil.copytree(place / "before.index", place / "whole.index")
    began = time.monotonic()
    finish(photos, place / "whole.index")
    return place, time.monotonic() - began


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_run_goes_on_and_readers_see_the_last_good_state(place, seed, tmp_path):
    folder, whole_time = place
    index = tmp_path / "g.index"
    shutil.copytree(folder / "before.index", index)
    before = contents(index)
    chance = random.Random(seed)
    killed_midway = 0
    for _ in range(3):  # the same run, killed up to three times
        process = start(folder / "photos", index)
        aim, deadline = chance.randint(0, 10), time.monotonic() + chance.uniform(0.2, 1.0) * whole_time
        first = committed(index)
        while time.monotonic() < deadline and committed(index) <= first + 8 * aim and process.poll() is None:
            time.sleep(chance.uniform(0, 0.004))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        committed(index)
        with IndexStore.open(index) as store:
            generation = store.generation
        if generation == before[2]:
            killed_midway += 1
            assert contents(index) == before
    finish(folder / "photos", index)
    assert contents(index) == contents(folder / "whole.index")
    assert len(list((index / "segments").iterdir())) <= 64


def test_a_reader_is_served_while_a_run_is_at_work(place, tmp_path):
    folder, _ = place
    index = tmp_path / "g.index"
    shutil.copytree(folder / "before.index", index)
    before = contents(index)
    with IndexStore.open(index) as reader:
        process = start(folder / "photos", index)
        try:
            looks = 0
            while process.poll() is None:
                ids, vectors = next(reader.vectors())
                items = reader.items(ids)
                seen = {
                    item.key: (item, reader.thumbnail(item.id), vectors[n].tobytes()) for n, item in enumerate(items)
                }
                assert seen == before[0]
                looks += 1
            assert process.returncode == 0
            assert looks > 1
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        assert reader.newer()
    assert contents(index)[2] == before[2] + 1


@pytest.fixture
def photos(tmp_path):
    return write_images(tmp_path / "photos", range(1, 13))


def test_an_index_that_a_killed_rebuild_left_aside_is_restored(build, photos):
    _, store = build(FolderSource(photos))
    path, aside = store.path, aside_of(store.path)
    path.rename(aside)  # as after the first of the two renames
    with writing(aside), pytest.raises(ImageIndexError, match="at work"):  # the rebuild goes on: hands off
        build(FolderSource(photos))
    assert not path.exists()
    with IndexStore.open(path) as again:
        assert len(again) == 12
    assert not aside.exists()
    path.rename(aside)
    summary, _ = build(FolderSource(photos))
    assert (summary.unchanged, summary.new) == (12, 0)


def test_leftovers_of_killed_processes_are_removed_by_the_next_run(build, photos):
    _, store = build(FolderSource(photos))
    path = store.path
    shutil.copytree(path, aside_of(path))
    shutil.copytree(path, path.with_name(".g.index.rebuild"))
    (path / "segments" / ".000001.safetensors.99999999-abcdef.tmp").write_bytes(b"x")
    build(FolderSource(photos))
    assert sorted(one.name for one in path.parent.iterdir()) == ["g.index", "photos"]
    assert [one.name for one in (path / "segments").iterdir()] == ["000001.safetensors"]
    with ImageIndex(path, kind="hnsw") as index:
        faiss = path / "faiss"
        faiss.mkdir()
        (faiss / ".1.faiss.99999999-abcdef.tmp").write_bytes(b"of a dead process")
        (faiss / f".1.faiss.{os.getppid()}-abcdef.tmp").write_bytes(b"of a living one")
        _ = index.vector_index
        assert sorted(one.name for one in faiss.iterdir()) == [
            f".1.faiss.{os.getppid()}-abcdef.tmp", "1.faiss", "1.json",
        ]  # fmt: skip


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_modes_of_files_follow_the_umask(build, photos, mask):
    before = os.umask(mask)
    try:
        _, store = build(FolderSource(photos))
        with ImageIndex(store.path, kind="hnsw") as index:
            _ = index.vector_index
    finally:
        os.umask(before)
    for file in store.path.rglob("*"):
        if file.is_file() and file.name != ".lock":
            assert file.stat().st_mode & 0o777 == 0o666 & ~mask, file.name
