"""Indexing: what is stored, what an incremental run does, what is refused; vectors and metadata never out of step."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3

import numpy as np
import pytest
from PIL import Image
from tiny_encoder import DIM, TinyEncoder, image, prepare, write_images

from kivuko.errors import CorruptFileError, DataError, ImageIndexError, KivukoError
from kivuko.search import building as indexing
from kivuko.search import resumable_writer as merging
from kivuko.search import store as store_module
from kivuko.search.decoding import Limits
from kivuko.search.image_index import ImageIndex
from kivuko.search.sources import CaptionsSource, FolderSource
from kivuko.search.store import DATABASE, IndexStore, writing


def by_key(store):
    return {item.key: item for item in store.items(store.ids())}


@pytest.fixture
def photos(tmp_path):
    return write_images(tmp_path / "photos", range(1, 13))


def test_what_is_stored_is_what_the_encoder_gives(build, photos):
    summary, store = build(FolderSource(photos), storage="float32")
    assert (summary.generation, summary.images, summary.files, summary.new) == (1, 12, 12, 12)
    keys = sorted(by_key(store))
    order = [item.key for item in store.items(store.ids())]
    prepared = [prepare(Image.open(photos / key).convert("RGB")) for key in order]
    ids, vectors = next(store.vectors())
    np.testing.assert_allclose(vectors, TinyEncoder().encode(prepared), atol=1e-6)
    np.testing.assert_array_equal(ids, store.ids())
    np.testing.assert_array_equal(store.vector(int(ids[5])), vectors[5])
    item = store.items([ids[0]])[0]
    assert (item.width, item.height, item.caption, item.copies) == (24, 16, None, 1)
    assert Image.open(store.image_path(item.id)).size == (24, 16)
    assert store.thumbnail(item.id).startswith(b"\xff\xd8")
    assert "sub0/0012.png" in keys


@pytest.mark.parametrize(("storage", "tolerance"), [("float16", 5e-4), ("int8", 0.01)])
def test_smaller_storage_stays_close(build, photos, tmp_path, storage, tolerance):
    _, exact = build(FolderSource(photos), storage="float32", path=tmp_path / "exact.index")
    _, store = build(FolderSource(photos), storage=storage)
    for (_, left), (_, right) in zip(exact.vectors(5), store.vectors(5), strict=True):
        np.testing.assert_allclose(left, right, atol=tolerance)
        np.testing.assert_allclose(np.linalg.norm(right, axis=1), 1, atol=1e-6)


def test_the_same_bytes_are_stored_once_within_and_across_runs(build, photos):
    shutil.copy(photos / "0001.png", photos / "copy.png")
    summary, store = build(FolderSource(photos))
    assert (summary.images, summary.files, summary.duplicates) == (12, 13, 1)
    assert by_key(store)["0001.png"].copies == 2
    shutil.copy(photos / "0002.png", photos / "0000.png")
    encoder = TinyEncoder()
    summary, store = build(FolderSource(photos), encoder=encoder)
    assert (summary.images, summary.files, summary.new, encoder.batches) == (12, 14, 0, [])
    assert by_key(store)["0000.png"].copies == 2  # the first by name stands for both


def test_copies_are_written_as_they_come_and_not_held_for_the_next_commit(build, photos, monkeypatch):
    from kivuko.search import resumable_writer as writer

    monkeypatch.setattr(writer, "_ADDED_AT_ONCE", 2)
    waiting = []
    put = writer.IndexWriter.put

    def watched(self, work, content):
        put(self, work, content)
        waiting.append(len(self._added))

    monkeypatch.setattr(writer.IndexWriter, "put", watched)
    for number in range(9):
        shutil.copy(photos / "0001.png", photos / f"copy{number}.png")
    summary, store = build(FolderSource(photos))
    assert max(waiting) == 1
    assert (summary.images, summary.files) == (12, 21)
    assert by_key(store)["0001.png"].copies == 10


def test_unchanged_files_are_not_decoded_again(build, photos):
    build(FolderSource(photos))
    for file in photos.rglob("*.png"):  # other bytes, but size and time say: the same
        state = file.stat()
        file.write_bytes(b"x" * state.st_size)
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    summary, _ = build(FolderSource(photos))
    assert (summary.unchanged, summary.skipped, summary.generation) == (12, {}, 1)


def test_changed_new_and_vanished_files(build, photos):
    _, first = build(FolderSource(photos))
    earlier = by_key(first)
    image(99).save(photos / "0001.png")
    (photos / "0002.png").unlink()
    image(98).save(photos / "new.png")
    (photos / "0003.png").write_bytes(b"broken now")
    summary, second = build(FolderSource(photos))
    assert (summary.generation, summary.new, summary.vanished, summary.unchanged) == (2, 2, 1, 9)
    now = by_key(second)
    assert sorted(earlier.keys() - now.keys()) == ["0002.png", "0003.png"]
    assert now["0001.png"].id != earlier["0001.png"].id
    assert now["0005.png"] == earlier["0005.png"]
    assert second.skipped() == [("0003.png", "not an image", "")]
    # Who has the generation before open still sees all of it.
    assert first.newer()
    assert not second.newer()
    assert by_key(first) == earlier
    assert sum(len(ids) for ids, _ in first.vectors(4)) == 12
    assert first.thumbnail(earlier["0002.png"].id) is not None
    assert second.thumbnail(earlier["0002.png"].id) is None
    with pytest.raises(KeyError):
        second.vector(earlier["0002.png"].id)


def test_what_died_is_deleted_in_the_run_after_next(build, photos):
    def contents():
        with sqlite3.connect(photos.parent / "g.index" / DATABASE) as database:
            return database.execute("SELECT COUNT(*) FROM contents").fetchone()[0]

    build(FolderSource(photos))
    (photos / "0001.png").unlink()
    build(FolderSource(photos))
    assert contents() == 12
    image(50).save(photos / "50.png")
    build(FolderSource(photos))
    assert contents() == 13
    image(51).save(photos / "51.png")
    build(FolderSource(photos))
    assert contents() == 13


def test_an_image_that_comes_back_is_not_encoded_again(build, photos):
    _, first = build(FolderSource(photos))
    kept = (photos / "0001.png").read_bytes()
    (photos / "0001.png").unlink()
    build(FolderSource(photos))
    (photos / "0001.png").write_bytes(kept)
    summary, third = build(FolderSource(photos))
    assert summary.new == 0
    assert by_key(third).keys() == by_key(first).keys()


def test_captions_and_metadata_follow_their_file_without_decoding(build, photos):
    file = photos / "c.jsonl"

    def write(year):
        rows = [{"image": f"000{n}.png", "caption": f"image {n}", "year": year} for n in (1, 2)]
        file.write_text("\n".join(json.dumps(row) for row in [*rows, {"image": "gone.png"}, rows[0]]))

    write(1998)
    summary, first = build(CaptionsSource(file))
    assert summary.skipped == {"missing": 1, "named twice": 1}
    assert (by_key(first)["0001.png"].caption, first.captioned()) == ("image 1", True)
    write(2001)
    summary, second = build(CaptionsSource(file))
    assert (summary.generation, summary.unchanged, summary.new) == (2, 2, 0)
    assert by_key(second)["0002.png"].metadata == {"year": 2001}
    assert by_key(first)["0002.png"].metadata == {"year": 1998}


def test_a_copy_without_a_caption_takes_that_of_another(build, photos):
    shutil.copy(photos / "0001.png", photos / "a.png")
    (photos / "c.tsv").write_text("0001.png\t\na.png\ta cat\n")
    _, store = build(CaptionsSource(photos / "c.tsv"))
    assert [(item.key, item.caption, item.copies) for item in store.items(store.ids())] == [("0001.png", "a cat", 2)]


def test_hostile_files_are_skipped_counted_and_listed(build, photos):
    (photos / "empty.png").touch()
    (photos / "text.jpg").write_text("not an image")
    whole = (photos / "0001.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    image(1, (300, 300)).save(photos / "large.png")
    image(1, (900, 2)).save(photos / "narrow.png")
    (photos / "wrong.txt").write_bytes((photos / "0002.png").read_bytes()[:-1] + b"?")  # an image all the same
    os.mkfifo(photos / "pipe.png")
    summary, store = build(FolderSource(photos), limits=Limits(pixels=50_000, bytes=100_000))
    assert summary.images == 13
    assert summary.skipped == {
        "empty file": 1, "not an image": 1, "broken image": 1, "too many pixels": 1, "not a regular file": 1,
        "too narrow": 1,
    }  # fmt: skip
    assert [row[0] for row in store.skipped()] == [
        "cut.png",
        "empty.png",
        "large.png",
        "narrow.png",
        "pipe.png",
        "text.jpg",
    ]


def test_names_that_are_no_utf8_are_indexed_and_found_again(build, photos):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        shutil.copy(photos / "0001.png", photos / name)
    except OSError:
        pytest.skip("this file system takes no such names")
    image(77).save(photos / name)
    summary, store = build(FolderSource(photos))
    item = by_key(store)["caf\\xe9.png"]
    assert store.image_path(item.id) == photos / name
    again, _ = build(FolderSource(photos))
    assert (again.unchanged, again.new, again.generation) == (summary.files, 0, summary.generation)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_without_permission(build, photos):
    (photos / "0001.png").chmod(0)
    assert build(FolderSource(photos))[0].skipped == {"cannot be read": 1}


def test_several_sources_keep_their_keys_apart_and_may_grow(build, photos, tmp_path):
    more = write_images(tmp_path / "more", range(1, 3))
    image(77).save(more / "0001.png")
    build(FolderSource(photos))
    summary, store = build(FolderSource(photos), FolderSource(more))
    assert (summary.new, summary.unchanged, summary.files) == (1, 12, 14)
    assert "more/0001.png" in by_key(store)
    with pytest.raises(ImageIndexError, match="was made from"):
        build(FolderSource(more))
    assert len(IndexStore.open(store.path)) == 13


def test_another_model_is_refused_until_rebuilt(build, photos):
    _, first = build(FolderSource(photos))
    with pytest.raises(ImageIndexError, match=r"another model.*--out.*--rebuild") as refused:
        build(FolderSource(photos), encoder=TinyEncoder("other"))
    assert "\n" not in str(refused.value)
    summary, second = build(FolderSource(photos), encoder=TinyEncoder("other"), rebuild=True)
    assert (summary.generation, summary.new, second.fingerprint) == (2, 12, "other")
    assert first.newer()
    assert not set(first.ids().tolist()) & set(second.ids().tolist())  # never taken for one another
    assert sorted(one.name for one in photos.parent.iterdir()) == ["g.index", "photos"]


def test_a_second_run_at_the_same_time_is_refused(build, photos):
    _, store = build(FolderSource(photos))
    with writing(store.path), pytest.raises(ImageIndexError, match="another 'kivuko index' is at work"):
        build(FolderSource(photos))


def test_nothing_to_index_leaves_the_index_as_it_was(build, photos, tmp_path):
    with pytest.raises(DataError, match="no image"):
        build(FolderSource(tmp_path / "photos" / "sub2"), path=tmp_path / "e.index", limits=Limits(pixels=1))
    assert not (tmp_path / "e.index").exists()  # there was none before, and there is none now
    build(FolderSource(photos))
    for file in photos.rglob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match="no image"):
        build(FolderSource(photos))
    assert len(IndexStore.open(tmp_path / "g.index")) == 12


def test_what_a_first_run_has_done_stays_where_a_source_ends_in_a_fault(build, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "COMMIT", 4)
    monkeypatch.setattr(indexing, "BATCH", 4)
    monkeypatch.setattr(indexing, "_WINDOW", 1)

    class Faulty(FolderSource):
        def __iter__(self):
            yield from list(super().__iter__())[:9]
            raise DataError("photos: damaged")

    with pytest.raises(DataError, match="damaged"):
        build(Faulty(photos))
    assert list((tmp_path / "g.index" / "segments").glob("*.safetensors"))
    summary, _ = build(FolderSource(photos))
    assert summary.resumed
    assert (summary.images, summary.new) == (12, 4)


def test_a_foreign_folder_is_not_touched(build, photos, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ImageIndexError, match="not an index"):
        build(FolderSource(photos), path=tmp_path / "mine")
    assert [one.name for one in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_a_full_disk_is_one_line_and_what_was_committed_is_kept(build, photos, monkeypatch):
    monkeypatch.setattr(indexing, "BATCH", 4)
    monkeypatch.setattr(indexing, "COMMIT", 4)
    written = []

    def full(folder, number, parts):
        written.append(number)
        if number == 3:
            raise OSError(28, "No space left on device")
        return write(folder, number, parts)

    write = store_module.write_segment
    monkeypatch.setattr(store_module, "write_segment", full)
    with pytest.raises(KivukoError, match="disk is full"):
        build(FolderSource(photos))
    monkeypatch.setattr(store_module, "write_segment", write)
    summary, store = build(FolderSource(photos))
    assert (summary.resumed, summary.unchanged, summary.new, len(store)) == (True, 8, 4, 12)


def test_many_small_segments_are_merged_and_nothing_else_changes(build, photos, monkeypatch):
    monkeypatch.setattr(indexing, "BATCH", 2)
    monkeypatch.setattr(indexing, "COMMIT", 2)
    _, store = build(FolderSource(photos))
    before = np.concatenate([vectors for _, vectors in store.vectors()])
    reader = IndexStore.open(store.path)
    reader.vector(int(reader.ids()[0]))
    merge = merging.merge_segments
    monkeypatch.setattr(merging, "merge_segments", lambda writer, dim: merge(writer, dim, 3))
    summary, merged = build(FolderSource(photos))
    assert summary.generation == 1
    for one in (merged, store, reader):
        np.testing.assert_array_equal(np.concatenate([vectors for _, vectors in one.vectors()]), before)
    build(FolderSource(photos))
    assert len(list((store.path / "segments").iterdir())) == 1  # the old ones went with the next run
    np.testing.assert_array_equal(reader.vector(int(reader.ids()[-1])), before[-1])


def test_damage_is_reported(build, photos, tmp_path):
    _, store = build(FolderSource(photos))
    (segment,) = (store.path / "segments").iterdir()
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-5])
    with pytest.raises(CorruptFileError, match="damaged"):
        list(IndexStore.open(store.path).vectors())
    segment.write_bytes(whole[: -DIM * 2] + b"\0" * DIM * 2)
    with pytest.raises(CorruptFileError, match="checksum"):
        list(IndexStore.open(store.path).vectors())
    segment.unlink()
    with pytest.raises(CorruptFileError, match="missing"):
        IndexStore.open(store.path)
    (store.path / DATABASE).write_bytes(b"garbage" * 1000)
    for rest in store.path.glob("index.sqlite-*"):
        rest.unlink()
    with pytest.raises(CorruptFileError, match="--rebuild"):
        IndexStore.open(store.path)
    summary, _ = build(FolderSource(photos), rebuild=True)
    assert summary.images == 12
    for wrong in (tmp_path / "gone.index", photos):
        with pytest.raises(ImageIndexError, match="kivuko index"):
            IndexStore.open(wrong)


def flipped(file, place, bit=1):
    content = bytearray(file.read_bytes())
    content[place] ^= bit
    file.write_bytes(content)


@pytest.mark.parametrize("storage", ["float16", "float32", "int8"])
def test_every_changed_byte_of_the_vectors_is_noticed(build, photos, monkeypatch, storage):
    monkeypatch.setattr(indexing, "BATCH", 4)
    monkeypatch.setattr(indexing, "COMMIT", 4)
    _, store = build(FolderSource(photos), storage=storage)
    assert store.verify() == []
    files = sorted((store.path / "segments").iterdir())
    whole = [file.read_bytes() for file in files]
    assert len(files) == 3

    def refused():
        with IndexStore.open(store.path) as damaged:
            assert any("checksum" in line for line in damaged.verify())
            with pytest.raises(CorruptFileError, match="checksum differs") as message:
                list(damaged.vectors())
            assert "\n" not in str(message.value)
            assert "--rebuild" in str(message.value)

    for place in (-1, -5, -20, 12, len(whole[0]) // 2):
        flipped(files[0], place)
        refused()
        files[0].write_bytes(whole[0])
    files[0].write_bytes(whole[1])  # segments of the same size, exchanged
    files[1].write_bytes(whole[0])
    refused()
    for file, content in zip(files, whole, strict=True):
        file.write_bytes(content)
    with IndexStore.open(store.path) as mended:
        assert mended.verify() == []
        assert len(list(mended.vectors())) == 1


def test_damage_is_not_merged_into_new_segments(build, photos, monkeypatch):
    monkeypatch.setattr(indexing, "BATCH", 2)
    monkeypatch.setattr(indexing, "COMMIT", 2)
    _, store = build(FolderSource(photos))
    flipped(sorted((store.path / "segments").iterdir())[0], -3)
    merge = merging.merge_segments
    monkeypatch.setattr(merging, "merge_segments", lambda writer, dim: merge(writer, dim, 3))
    with pytest.raises(CorruptFileError, match="checksum"):
        build(FolderSource(photos))


def test_an_index_of_an_earlier_version_gets_checksums_with_its_next_run(build, photos):
    _, store = build(FolderSource(photos))
    with sqlite3.connect(store.path / DATABASE) as database:
        database.execute("DROP TABLE segments")
    with IndexStore.open(store.path) as old:
        assert old.verify() == []
        assert sum(len(ids) for ids, _ in old.vectors()) == 12
    _, new = build(FolderSource(photos))
    flipped(next((store.path / "segments").iterdir()), -3)
    assert new.verify() == ["000001.safetensors: its checksum differs from what was written"]


def test_a_damaged_database_is_one_line(build, photos):
    _, store = build(FolderSource(photos))
    store.close()
    file = store.path / DATABASE
    for rest in store.path.glob("index.sqlite-*"):
        rest.unlink()
    whole = file.read_bytes()
    noticed, messages = 0, []
    random = np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole)
        place = int(random.integers(len(content)))
        content[place : place + 40] = bytes(random.integers(0, 256, 40, dtype=np.uint8))[: len(content) - place]
        file.write_bytes(content)
        try:
            with ImageIndex(store.path) as index:
                hits = index.search(np.eye(DIM, dtype=np.float32)[:2], 5, "caption!=x")
                [index.store.thumbnail(hit.item.id) for row in hits for hit in row]
                [index.store.image_path(hit.item.id) for row in hits for hit in row]
                index.store.fields()
                index.store.skipped()
                noticed += bool(index.store.verify())
        except (CorruptFileError, ImageIndexError) as problem:
            messages.append(str(problem))
    assert noticed + len(messages) > 10  # what is damaged differs with the lengths of paths
    assert all("\n" not in line and ("--rebuild" in line or "kivuko index" in line) for line in messages)


def test_a_closed_file_of_an_index_is_named_and_not_called_damaged(build, photos, monkeypatch):
    _, store = build(FolderSource(photos))
    access = os.access
    for closed in (store.path / DATABASE, store.path / "segments" / "000001.safetensors"):
        monkeypatch.setattr(os, "access", lambda path, mode, closed=closed: path != closed and access(path, mode))
        with pytest.raises(ImageIndexError) as refused, IndexStore.open(store.path) as opened:
            opened.verify()
        assert str(refused.value).startswith(f"{closed}: no permission to read it")
        assert not {"delete", "rebuild", "damaged"} & {
            word.strip("(.:)").lower() for word in str(refused.value).split()
        }


def test_a_damaged_list_of_checksums_is_one_line(build, photos):
    _, store = build(FolderSource(photos))
    store.close()
    with sqlite3.connect(store.path / DATABASE) as database:
        database.executescript("DROP TABLE segments; CREATE TABLE segments(number)")
    for read in (IndexStore.verify, lambda opened: list(opened.vectors())):
        with IndexStore.open(store.path) as opened, pytest.raises(CorruptFileError, match="--rebuild"):
            read(opened)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE contents SET row = x'00' WHERE id = 3",
        "UPDATE contents SET row = -1 WHERE id = 3",
        "UPDATE contents SET row = 1000000 WHERE id = 3",
        "UPDATE contents SET segment = 'one' WHERE id = 3",
        "UPDATE items SET content = -7 WHERE content = 3",
        "UPDATE items SET content = 'three' WHERE content = 3",
        "UPDATE items SET content = 2.5 WHERE content = 3",
    ],
)
def test_places_of_vectors_that_nobody_wrote_are_damage(build, photos, change):
    _, store = build(FolderSource(photos))
    store.close()
    with sqlite3.connect(store.path / DATABASE) as database:
        assert database.execute(change).rowcount == 1
    with pytest.raises(CorruptFileError, match="--rebuild"), ImageIndex(store.path) as index:
        index.search(np.eye(DIM, dtype=np.float32)[:2], 5)


def test_a_store_serves_several_threads(build, photos):
    from concurrent.futures import ThreadPoolExecutor

    _, store = build(FolderSource(photos))
    ids = store.ids().tolist()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda id: (store.items([id])[0].id, store.vector(id).shape), ids * 10))
    assert found == [(id, (DIM,)) for id in ids] * 10


def test_items_keep_the_order_asked_for_and_leave_out_the_unknown(build, photos):
    _, store = build(FolderSource(photos))
    assert [item.id for item in store.items([5, 999, 2, 5])] == [5, 2, 5]
    assert store.items([]) == []


def test_memory_of_a_run_is_bounded_by_batches(build, photos, monkeypatch):
    monkeypatch.setattr(indexing, "BATCH", 5)
    monkeypatch.setattr(indexing, "COMMIT", 10)
    encoder = TinyEncoder()
    build(FolderSource(photos), encoder=encoder)
    assert encoder.batches == [5, 5, 2]
