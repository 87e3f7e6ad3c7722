"""Images from the color emoji font, and what is said of files that are none."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from kivuko.datasets.emoji.sources import HEIGHT, WIDTH, EmojiFont, find_font
from kivuko.errors import DataError, MissingDependencyError


@pytest.fixture(scope="module")
def font():
    return EmojiFont(find_font())


@pytest.fixture
def text_font(tmp_path):
    """A font with letters and no emoji: the one that comes inside Pillow."""
    file = tmp_path / "letters.ttf"
    file.write_bytes(ImageFont.load_default(10).font_bytes)
    return file


def test_an_emoji_is_drawn_in_color_on_nothing(font):
    pixels = font.render("🍎")
    assert pixels.shape == (HEIGHT, WIDTH, 4) == (128, 136, 4)
    assert pixels.dtype == np.uint8
    opaque = pixels[pixels[..., 3] == 255][:, :3].mean(0)
    assert opaque[0] > 1.5 * opaque[1], "an apple is red"
    assert (pixels[..., 3] == 0).mean() > 0.1, "the ground around it is transparent"


def test_joined_sequences_and_flags_are_one_image_of_their_own(font):
    firefighter, person, engine = font.render("🧑‍🚒"), font.render("🧑"), font.render("🚒")
    assert firefighter is not None
    assert not np.array_equal(firefighter, person)
    assert not np.array_equal(firefighter, engine)
    assert not np.array_equal(font.render("🇰🇪"), font.render("🇳🇴"))
    assert font.render("3⃣") is not None


@pytest.mark.parametrize("sequence", ["🐈🐟", "🐈\u200d🐟", "🧑‍🚒🧑"])
def test_several_glyphs_side_by_side_are_no_image(font, sequence):
    assert font.render(sequence) is None


@pytest.mark.parametrize("sequence", ["∑", "म", "\U0010fffe", "\U000e0fff"])
def test_what_the_font_does_not_know_is_no_image(font, sequence):
    assert font.render(sequence) is None


def test_a_missing_font_is_named(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"none\.ttf: no such font file"):
        find_font(tmp_path / "none.ttf")
    monkeypatch.setenv("KIVUKO_FONT", str(tmp_path / "other.ttf"))
    with pytest.raises(DataError, match=r"other\.ttf: no such font file"):
        find_font()
    monkeypatch.delenv("KIVUKO_FONT")
    monkeypatch.setattr("kivuko.datasets.emoji.sources.FONT_PLACES", (str(tmp_path / "gone.ttf"),))
    with pytest.raises(DataError, match="apt-get install fonts-noto-color-emoji"):
        find_font()


def test_the_font_named_goes_before_the_environment_and_that_before_the_systems(text_font, tmp_path, monkeypatch):
    other = tmp_path / "other.ttf"
    other.write_bytes(b"x")
    monkeypatch.setenv("KIVUKO_FONT", str(other))
    assert find_font() == other
    assert find_font(text_font) == text_font


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"\x00\x01\x00\x00" + bytes(200)])
def test_a_file_that_is_no_font_is_refused_by_name(tmp_path, content):
    file = tmp_path / "broken.ttf"
    file.write_bytes(content)
    with pytest.raises(DataError, match="not a color emoji font") as caught:
        EmojiFont(file)
    assert str(caught.value).startswith(f"{file}: ")


def test_a_font_that_draws_no_emoji_is_refused_by_name(text_font):
    with pytest.raises(DataError, match="this font draws no emoji") as caught:
        EmojiFont(text_font)
    assert str(caught.value).startswith(f"{text_font}: ")


def test_a_pillow_that_cannot_join_sequences_is_refused(monkeypatch):
    monkeypatch.setattr("kivuko.datasets.emoji.sources.features.check", lambda _: False)
    with pytest.raises(MissingDependencyError, match="raqm"):
        EmojiFont(find_font())
