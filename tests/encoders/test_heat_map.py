"""Heat maps as images, as SVG and in the terminal."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, features
from rich.console import Console

from kivuko.encoders.heat_map import (
    Drawing,
    Line,
    Panel,
    heat_map_image,
    heat_map_svg,
    heat_map_table,
    hex_color,
    ink_on,
    luminance,
    scale_color,
    shade,
    to_image,
)
from kivuko.errors import UsageError
from kivuko.fonts import draw_line, font_for, is_right_to_left, line_width, script_runs, shortened

SVG = "{http://www.w3.org/2000/svg}"
WORDS = {"sw": "mweusi", "mr": "क्षत्रिय", "am": "ጥቁር", "ar": "سوداء", "th": "แมวดำ"}
ENGLISH = ["black", "cat", "<&>"]


def panel(rows=("paka", "mweusi"), columns=ENGLISH, title="regularization 0.02", **others) -> Panel:
    values = np.linspace(0, 1, len(rows) * len(columns)).reshape(len(rows), len(columns))
    return Panel(title, list(rows), list(columns), values, **others)


def printed(table, width=80) -> list[str]:
    console = Console(width=width, record=True, file=open("/dev/null", "w"), color_system=None)  # noqa: SIM115, PTH123
    console.print(table)
    return console.export_text().splitlines()


def texts(svg: str) -> list[str]:
    isolates = str.maketrans("", "", "\u2067\u2069")
    return ["".join(one.itertext()).translate(isolates) for one in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def ink(image: Image.Image) -> tuple[int, int, int, int] | None:
    """Bounding box of what is not paper."""
    return ImageChops.difference(image, Image.new("RGB", image.size, "white")).getbbox()


def lightness(color) -> float:
    y = luminance(color)
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_the_scale_is_even_in_lightness():
    steps = [lightness(scale_color(value)) for value in np.linspace(0, 1, 21)]
    falls = -np.diff(steps)
    assert falls.min() > 0
    assert falls.max() < 1.6 * falls.mean()
    assert steps[0] > 96
    assert steps[-1] < 25


@given(st.floats(0, 1))
def test_figures_can_be_read_on_every_color(value):
    background = scale_color(value)
    light, dark = sorted((luminance(background), luminance(ink_on(background))), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_shares_outside_the_range_are_clipped():
    assert scale_color(-1) == scale_color(0)
    assert scale_color(2) == scale_color(1)
    assert [shade(value) for value in (-1, 0, 0.3, 0.6, 0.995, 2)] == ["░", "░", "▒", "▓", "█", "█"]


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow without Raqm cannot shape letters")
@pytest.mark.parametrize("word", [WORDS["mr"], WORDS["ar"], "योद्धा"])
def test_letters_are_shaped(word):
    """Joined letters take less room than the same letters one by one."""
    (script, _), *others = script_runs(word)
    assert not others
    apart = sum(font_for(script, 30).getlength(letter) for letter in word)
    assert line_width(word, 30) < 0.95 * apart


@pytest.mark.parametrize("word", WORDS.values())
def test_every_script_is_drawn_with_letters_and_not_boxes(word):
    def drawn(text: str) -> Image.Image:
        canvas = Image.new("RGB", (300, 80), "white")
        draw_line(ImageDraw.Draw(canvas), (20, 50), text, 30, "black")
        return canvas

    assert ink(drawn(word)) is not None
    assert line_width(word, 30) > 20
    for letter in regex.findall(r"\p{Lo}", word):
        assert drawn(letter).tobytes() != drawn("\U0010ffff").tobytes()


def test_parts_of_a_line_have_fonts_of_their_own():
    assert list(script_runs("ድመት! cat")) == [("Ethi", "ድመት"), ("Latn", "! cat")]
    assert list(script_runs("है। ")) == [("Deva", "है। ")]
    assert list(script_runs("قطة، سوداء")) == [("Arab", "قطة، سوداء")]
    assert list(script_runs("a · b")) == [("Latn", "a · b")]
    assert list(script_runs("·◌ी")) == [("Latn", "·"), ("Deva", "◌ी")]
    assert list(script_runs("")) == []


def test_a_right_to_left_line_ends_on_the_left():
    assert is_right_to_left("!قطة a")
    assert not is_right_to_left("a قطة")
    assert not is_right_to_left("12")

    def drawn(text: str) -> Image.Image:
        canvas = Image.new("RGB", (400, 80), "white")
        draw_line(ImageDraw.Draw(canvas), (20, 50), text, 40, "black")
        return canvas

    exclamation = drawn("!").crop((20, 0, 20 + int(line_width("!", 40)), 80))
    both = drawn("قطة!").crop((20, 0, 20 + int(line_width("!", 40)), 80))
    assert exclamation.tobytes() == both.tobytes()


@pytest.mark.parametrize(("limit", "cut"), [(5, "क्षत्रिय"), (3, "क्षत्रिय"), (2, "क्ष…"), (1, "…")])
def test_words_are_cut_between_clusters(limit, cut):
    assert shortened("क्षत्रिय", limit) == cut


def test_a_image_has_every_cell_in_its_color():
    one = panel(rows=WORDS.values())
    image = heat_map_image([one], ["paka", "cat"], ["note"])
    colors = {color for _, color in image.getcolors(1 << 22)}
    assert {scale_color(value) for value in one.values.flat} <= colors
    assert scale_color(0.123) not in colors


def test_a_row_without_mass_is_grey_and_says_so():
    values = np.array([[0.4, 0.6], [np.nan, np.nan]])
    one = Panel("t", ["paka", "日本"], ["black", "cat"], values)
    assert (0xEE, 0xEE, 0xEE) in {color for _, color in heat_map_image([one]).getcolors(1 << 22)}
    assert texts(heat_map_svg([one])).count("–") == 2
    assert [line.split()[-2:] for line in printed(heat_map_table(one, 80, in_color=False))][2] == ["–", "–"]


@pytest.mark.parametrize(
    "columns", [["a"], ["incomprehensibilities"], ["black", "cat"] * 8, ["x" * 80] * 3, ["a", "b", "kilichofunguliwa"]]
)
@pytest.mark.parametrize("rows", [["a"], ["قطة", "आनंदाश्रूंचा" * 4]])
def test_nothing_is_cut_at_the_edges(rows, columns):
    image = heat_map_image([panel(rows, columns, notes=["a note " * 12])] * 2, ["title " * 15], ["note"])
    left, top, right, bottom = ink(image)
    assert left > 20
    assert top > 20
    assert right < image.width - 20
    assert bottom < image.height - 10


def test_slanted_words_do_not_touch_each_other_or_the_cells():
    lines = [Line(60 + 46 * place, 200, "kilichofunguliwa", 16, "black", rising=True) for place in range(3)]
    image = np.asarray(to_image(Drawing(400, 220, [], lines), scale=1).convert("L")) < 128
    assert not image[205:].any()
    # Along the slant, between two words, runs a line without ink.
    offsets = [x + y for y, x in zip(*np.nonzero(image), strict=True)]
    filled = np.bincount(offsets, minlength=620)
    gaps = [run for run in np.split(filled, np.nonzero(np.diff(filled > 0))[0] + 1) if not run.any()]
    assert len(gaps) == 4


def test_panels_stand_side_by_side_and_then_below():
    one, two, many = (heat_map_image([panel()] * count) for count in (1, 2, 12))
    assert two.width > 1.6 * one.width
    assert two.height == one.height
    assert many.width < 2 * 1500
    assert many.height > 2 * one.height


def test_a_large_image_shrinks_and_a_huge_one_is_refused(monkeypatch):
    whole = heat_map_image([panel()])
    monkeypatch.setattr("kivuko.encoders.heat_map._MOST_PIXELS", whole.width * whole.height - 1)
    assert heat_map_image([panel()]).width == whole.width // 2
    monkeypatch.setattr("kivuko.encoders.heat_map._MOST_PIXELS", whole.width * whole.height // 4 - 1)
    with pytest.raises(UsageError, match=r"too large: .*SVG"):
        heat_map_image([panel()])


def test_values_must_fit_the_words():
    with pytest.raises(UsageError, match=r"\[2, 2\]: give \[1, 2\]"):
        Panel("t", ["a"], ["b", "c"], np.zeros((2, 2)))
    with pytest.raises(UsageError, match="not empty"):
        Panel("t", [], ["b"], np.zeros((0, 1)))


def test_svg_holds_the_words_as_text():
    rows = list(WORDS.values())
    svg = heat_map_svg([panel(rows), panel(rows, title="0.5 < x")], ["paka & co"], ["a note"])
    result = texts(svg)
    for word in (*rows, *ENGLISH):
        assert result.count(word) == 2, word
    for line in ("paka & co", "a note", "0.5 < x", "100"):
        assert line in result
    root = ElementTree.fromstring(svg)
    assert len(list(root.iter(f"{SVG}rect"))) == 1 + 2 * len(rows) * len(ENGLISH)
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == "paka & co"
    assert "mweusi: <&> 14 %" in root.find(f"{SVG}desc").text


def test_svg_asks_nothing_of_the_network():
    svg = heat_map_svg([panel()]).replace('xmlns="http://www.w3.org/2000/svg"', "")
    for word in ("http", "url(", "href", "@import", "<script", "<image"):
        assert word not in svg


def test_svg_keeps_right_to_left_words_apart():
    svg = heat_map_svg([panel(["قطة!", "paka"])])
    assert ">\u2067قطة!\u2069<" in svg
    assert ">paka<" in svg


def test_svg_survives_what_xml_has_no_place_for():
    assert "a�b�" in texts(heat_map_svg([panel(["a\x00b\ud800", "c"])]))
    assert "�" in texts(heat_map_svg([panel(["\ufffe", "c"])]))


def test_table_has_a_figure_for_every_pair_and_fits():
    one = panel(rows=list(WORDS.values()))
    lines = printed(heat_map_table(one, 80, in_color=False))
    assert len(lines) == 1 + len(WORDS)
    for word in ENGLISH:
        assert word in lines[0]
    for word, line, values in zip(one.rows, lines[1:], one.values, strict=True):
        assert word in line
        assert [int(result) for result in regex.findall(r"\d+", line)] == [round(100 * value) for value in values]
        assert shade(values[-1]) in line


def test_table_in_color_has_no_block_characters():
    table = heat_map_table(panel(), 80, in_color=True)
    console = Console(width=80, color_system="truecolor", force_terminal=True, highlight=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(table)
    shown = captured.get()
    red, green, blue = scale_color(1.0)
    assert f"48;2;{red};{green};{blue}" in shown
    assert not set("░▒▓█") & set(shown)


@pytest.mark.parametrize("columns", [["kilichofunguliwa"] * 5, ["a"] * 12, ["abcdefg"] * 9, ["abcdefg"] * 40])
def test_table_never_exceeds_the_terminal(columns):
    for rows in (["paka"], ["a" * 60]):
        lines = printed(heat_map_table(panel(rows, columns), 80, in_color=False), width=200)
        assert max(len(line.rstrip()) for line in lines) <= 80


def test_a_long_sentence_becomes_a_list_of_the_largest_shares():
    one = panel(["paka", "mbwa"], [f"word{number:03}" for number in range(30)])
    lines = printed(heat_map_table(one, 80, in_color=False))
    assert "3 largest" in lines[0]
    assert lines[1].split() == ["paka", "word029", "49,", "word028", "47,", "word027", "46"]


def test_right_to_left_words_do_not_take_the_figures_along():
    lines = printed(heat_map_table(panel(["قطة", "paka"]), 80, in_color=False))
    assert "\u200eقطة\u200e" in lines[1]
    assert "\u200e" not in lines[2]


def test_colors_are_written_as_hexadecimal():
    assert hex_color((0, 10, 255)) == "#000aff"
