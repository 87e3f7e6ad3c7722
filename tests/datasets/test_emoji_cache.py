"""Building the emoji world and its cache."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kivuko.datasets.emoji.sources import EmojiFont, find_font
from kivuko.datasets.emoji.world import emoji_world
from kivuko.errors import CorruptFileError, DataError, KivukoError

pytestmark = pytest.mark.usefixtures("few_test_concepts")


@pytest.fixture
def renders(monkeypatch):
    """The emoji drawn so far, in order."""
    drawn, real = [], EmojiFont.render

    def render(self, sequence):
        drawn.append(sequence)
        return real(self, sequence)

    monkeypatch.setattr(EmojiFont, "render", render)
    return drawn


@pytest.fixture(scope="session")
def built(tiny_cldr, tiny_world, tmp_path_factory):
    """A cache folder that holds the tiny world; to be copied, not changed."""
    cache = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kivuko.datasets.emoji.world.TEST_CONCEPTS", 8)
        patch.setattr("kivuko.datasets.emoji.world.VALIDATION_CONCEPTS", 6)
        emoji_world(["sw", "mr"], cldr=tiny_cldr, cache=cache)
    return cache


@pytest.fixture
def cache(built, tmp_path):
    """A filled cache of one test's own."""
    return Path(shutil.copytree(built, tmp_path / "cache"))


def same(one, other):
    return (
        one.emoji == other.emoji
        and np.array_equal(one.images, other.images)
        and one.annotations == other.annotations
        and one.left_out == other.left_out
        and one.fingerprint == other.fingerprint
    )


def test_the_second_time_it_comes_from_the_cache(tiny_cldr, tmp_path, renders):
    first = emoji_world(["sw", "mr"], cldr=tiny_cldr, cache=tmp_path)
    assert len(renders) > 30
    renders.clear()
    second = emoji_world(["sw", "mr"], cldr=tiny_cldr, cache=tmp_path)
    assert renders == []
    assert same(first, second)


def test_annotations_come_from_the_cache_too(tiny_cldr, cache, monkeypatch):
    def read(*_):
        raise AssertionError("XML was read again")

    monkeypatch.setattr("kivuko.datasets.emoji.world.read_annotations", read)
    assert emoji_world(["sw"], cldr=tiny_cldr, cache=cache).annotations["sw"]["🐈"].name == "paka"


def test_the_cache_is_in_the_users_cache_folder_unless_named(tiny_cldr, tmp_path, monkeypatch):
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path))
    emoji_world([], cldr=tiny_cldr)
    assert sorted(entry.name.split("-")[0] for entry in (tmp_path / "emoji").iterdir()) == [
        "annotations",
        "world",
    ]


def test_english_is_always_there_and_once(tiny_cldr, cache):
    assert list(emoji_world(["mr", "en", "mr"], cldr=tiny_cldr, cache=cache).annotations) == ["en", "mr"]
    assert list(emoji_world([], cldr=tiny_cldr, cache=cache).annotations) == ["en"]


def test_it_is_built_again_when_the_english_names_change(own_cldr, cache, renders):
    file = own_cldr / "annotations" / "en.xml"
    file.write_text(file.read_text().replace(">cat<", ">house cat<"))
    world = emoji_world(["sw"], cldr=own_cldr, cache=cache)
    assert len(renders) > 30
    assert world.annotations["en"]["🐈"].name == "house cat"


def test_it_is_built_again_when_the_font_changes(tiny_cldr, cache, renders, tmp_path, tiny_world):
    font = tmp_path / "other.ttf"
    font.write_bytes(find_font().read_bytes() + b"\0")  # drawn alike, but not the same file
    world = emoji_world(["sw"], cldr=tiny_cldr, font=font, cache=cache)
    assert len(renders) > 30
    assert world.fingerprint != tiny_world.fingerprint


def test_a_changed_translation_is_seen_without_drawing_anything(own_cldr, cache, renders):
    file = own_cldr / "annotations" / "sw.xml"
    file.write_text(file.read_text().replace(">paka<", ">nyau<"))
    assert emoji_world(["sw"], cldr=own_cldr, cache=cache).annotations["sw"]["🐈"].name == "nyau"
    assert renders == []


def test_progress_ends_with_all_done(tiny_cldr, tmp_path):
    messages = []
    world = emoji_world([], cldr=tiny_cldr, cache=tmp_path, progress=lambda *at: messages.append(at))
    total = len(world.annotations["en"])
    assert messages[-1] == (total, total)


def test_images_survive_the_cache_unchanged(tiny_world):
    drawn = EmojiFont(find_font()).render("🍎")
    assert np.array_equal(tiny_world.images[tiny_world.image_sequences.index("🍎")], drawn)


def one(cache, pattern):
    result = list(cache.glob(pattern))
    assert len(result) == 1
    return result[0]


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGE = {
    "flipped bit": flip,
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-20]),
    "empty": lambda file: file.write_bytes(b""),
    "not text": lambda file: file.write_bytes(b"\xff\xfe\x00"),
    "other JSON": lambda file: file.write_text("[1, 2]"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "pattern",
    ["world-*/images.parquet", "world-*/emoji.json", "world-*/manifest.json", "annotations-sw-*.json"],
)
def test_a_damaged_cache_file_is_named_with_the_way_out(tiny_cldr, cache, pattern, damage):
    file = one(cache, pattern)
    DAMAGE[damage](file)
    with pytest.raises(CorruptFileError, match=r"Delete .* and run again\.") as caught:
        emoji_world(["sw"], cldr=tiny_cldr, cache=cache)
    message = str(caught.value)
    assert "\n" not in message
    # A flipped bit in the manifest may be in the checksum of another file, which then is the one to be named.
    assert str(file) in message or (pattern.endswith("manifest.json") and str(file.parent) in message)


@pytest.mark.parametrize("name", ["images.parquet", "emoji.json", "manifest.json"])
def test_a_missing_cache_file_is_named(tiny_cldr, cache, name):
    file = one(cache, f"world-*/{name}")
    file.unlink()
    with pytest.raises(CorruptFileError, match="Delete the folder") as caught:
        emoji_world(["sw"], cldr=tiny_cldr, cache=cache)
    assert str(file) in str(caught.value)


def test_after_deleting_what_the_message_names_it_works_again(tiny_cldr, cache, tiny_world):
    flip(one(cache, "world-*/images.parquet"))
    with pytest.raises(CorruptFileError) as caught:
        emoji_world(["sw", "mr"], cldr=tiny_cldr, cache=cache)
    folder = str(caught.value).split("Delete the folder ")[1].split(" and run again")[0]
    shutil.rmtree(folder)
    assert same(emoji_world(["sw", "mr"], cldr=tiny_cldr, cache=cache), tiny_world)


def test_the_manifest_guards_both_files(cache):
    manifest = json.loads(one(cache, "world-*/manifest.json").read_text())
    assert set(manifest["sha256"]) == {"images.parquet", "emoji.json"}


def test_a_failed_build_leaves_nothing(tiny_cldr, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kivuko.datasets.emoji.world.pq.write_table", fail)
    with pytest.raises(KivukoError, match="disk is full"):
        emoji_world(["sw"], cldr=tiny_cldr, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_build_leaves_nothing_that_loads(tiny_cldr, tmp_path, renders):
    script = (
        "import os, signal, sys; from pathlib import Path; import kivuko.datasets.emoji.world as build\n"
        "def killed(*_):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "build.sha256_of = lambda file, real=build.sha256_of: killed() if file.name == 'emoji.json' else real(file)\n"
        "build.emoji_world(['sw'], cldr=Path(sys.argv[1]), cache=Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", script, str(tiny_cldr), str(tmp_path)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    assert list(tmp_path.rglob("images.parquet")), "it was killed after the images had been written"
    assert not list(tmp_path.glob("world-*"))
    world = emoji_world(["sw"], cldr=tiny_cldr, cache=tmp_path)
    assert len(renders) > 30
    assert len(world.emoji) > 30


def test_a_language_without_annotations_fails_before_anything_is_built(tiny_cldr, tmp_path, renders):
    with pytest.raises(DataError, match="no annotations for language 'xx'"):
        emoji_world(["sw", "xx"], cldr=tiny_cldr, cache=tmp_path)
    assert renders == []
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(tiny_cldr, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(KivukoError, match="there is a file where a folder is needed"):
        emoji_world(["sw"], cldr=tiny_cldr, cache=tmp_path / "file")
