"""CLDR annotations and emoji images: what is read and drawn, and the errors where that is not possible."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from kivuko.datasets.emoji.sources import (
    HEIGHT,
    WIDTH,
    Annotation,
    EmojiFont,
    annotation_files,
    available_languages,
    find_cldr,
    find_font,
    read_annotations,
)
from kivuko.errors import DataError, MissingDependencyError


def overwrite(folder, body, name="sw.xml"):
    file = folder / "annotations" / name
    file.write_text(f'<?xml version="1.0" encoding="UTF-8" ?>\n<ldml><annotations>\n{body}\n</annotations></ldml>')
    return file


def test_names_and_keywords_come_from_both_files(tiny_cldr):
    result = read_annotations(tiny_cldr, "en")
    assert result["🐈"] == Annotation("cat", ("cat", "pet"))
    assert result["👩‍🚒"] == Annotation("woman firefighter", ("firefighter", "woman")), "from annotationsDerived"


def test_the_presentation_selector_is_left_out_of_the_sequence(tiny_cldr):
    result = read_annotations(tiny_cldr, "en")
    assert result["❤"].name == "red heart"
    assert result["🤷\u200d♀"].name == "woman shrugging"
    assert not any("\ufe0f" in sequence for sequence in result)


def test_an_inherited_value_is_not_a_translation(tiny_cldr):
    result = read_annotations(tiny_cldr, "sw")
    assert "🎁" not in result
    assert "↑↑↑" not in {annotation.name for annotation in result.values()}


def test_an_inherited_list_of_keywords_is_no_keyword(own_cldr):
    overwrite(own_cldr, '<annotation cp="🐈">↑↑↑</annotation><annotation cp="🐈" type="tts">paka</annotation>')
    (own_cldr / "annotationsDerived" / "sw.xml").unlink()
    assert read_annotations(own_cldr, "sw") == {"🐈": Annotation("paka", ())}


def test_an_emoji_with_keywords_but_no_name_is_left_out(tiny_cldr):
    assert "🔔" in read_annotations(tiny_cldr, "en")
    assert "🔔" not in read_annotations(tiny_cldr, "sw")


def test_white_space_is_tidied_and_empty_keywords_dropped(own_cldr):
    overwrite(
        own_cldr,
        '<annotation cp="🐈"> a |  | b\n c |</annotation><annotation cp="🐈" type="tts"> p\n q </annotation>',
    )
    assert read_annotations(own_cldr, "sw")["🐈"] == Annotation("p q", ("a", "b c"))


def test_a_language_may_do_without_derived_annotations(own_cldr):
    (own_cldr / "annotationsDerived" / "sw.xml").unlink()
    result = read_annotations(own_cldr, "sw")
    assert result["🐈"].name == "paka"
    assert "👩‍🚒" not in result


def test_a_folder_is_found_by_name_by_its_parent_and_by_the_environment(tiny_cldr, tmp_path, monkeypatch):
    assert find_cldr(tiny_cldr) == tiny_cldr
    (tmp_path / "common").symlink_to(tiny_cldr)
    assert find_cldr(tmp_path) == tmp_path / "common"
    monkeypatch.setenv("KIVUKO_CLDR", str(tiny_cldr))
    assert find_cldr() == tiny_cldr
    assert find_cldr(tmp_path) == tmp_path / "common", "what is named goes before the environment"


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_a_folder_that_is_not_cldr_is_named(tmp_path, kind):
    folder = tmp_path / "elsewhere"
    if kind == "empty":
        folder.mkdir()
    with pytest.raises(DataError, match="not a CLDR folder") as caught:
        find_cldr(folder)
    assert str(caught.value).startswith(f"{folder}: ")


def test_no_cldr_at_all_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr("kivuko.datasets.emoji.sources.CLDR_PLACES", (str(tmp_path),))
    with pytest.raises(DataError, match="apt-get install unicode-cldr-core"):
        find_cldr()


def test_languages_are_listed_by_their_bcp_47_codes(own_cldr):
    overwrite(own_cldr, "", "sr_Latn.xml")
    assert available_languages(own_cldr) == ("en", "mr", "sr-Latn", "sw")
    assert annotation_files(own_cldr, "sr-Latn") == [own_cldr / "annotations" / "sr_Latn.xml"]


def test_a_language_without_annotations_is_named_with_what_is_near(own_cldr):
    overwrite(own_cldr, "", "sr_Latn.xml")
    with pytest.raises(DataError, match=r"no annotations for language 'sr-Cyrl'; near it: sr-Latn\."):
        annotation_files(own_cldr, "sr-Cyrl")
    with pytest.raises(DataError, match=r"annotations/xx\.xml: no annotations for language 'xx'"):
        read_annotations(own_cldr, "xx")


def test_malformed_xml_is_named_with_its_line(own_cldr):
    file = overwrite(own_cldr, '<annotation cp="🐈" type="tts">paka</annotation>\n<annotation cp="🐕" type="tts">mbwa')
    with pytest.raises(DataError, match="not well-formed XML") as caught:
        read_annotations(own_cldr, "sw")
    assert str(caught.value).startswith(f"{file}:5: "), "the line where the reader could not go on"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\x01\x02", b"\xff\xfe\x00", "<?xml version='1.0'?><a>\u00e9</a>".encode("latin-1"),
     b"<?xml version='1.0' encoding='no-such-code'?><a></a>", b"<?xml version='1.0' encoding='utf-7'?><a></a>"],
)  # fmt: skip
def test_bytes_that_are_no_xml_are_refused_with_the_file(own_cldr, content):
    file = own_cldr / "annotations" / "sw.xml"
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_annotations(own_cldr, "sw")
    assert str(caught.value).startswith(f"{file}:")


def test_a_file_that_names_no_emoji_is_refused(own_cldr):
    overwrite(own_cldr, '<annotation cp="🐈">paka</annotation>')
    (own_cldr / "annotationsDerived" / "sw.xml").unlink()
    with pytest.raises(DataError, match="no emoji has a name in language 'sw'"):
        read_annotations(own_cldr, "sw")


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
