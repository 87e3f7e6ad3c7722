"""Cards, tables and images are functions of records."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image
from rich.console import Console

from kivuko.encoders.model import About
from kivuko.encoders.model_card import model_card
from kivuko.evaluation.records import Record
from kivuko.evaluation.tables import comparison_table, index_records, no_better_line, results_table, with_interval
from kivuko.fonts import font_for
from kivuko.report.result_image import ResultRow, results_image
from kivuko.text import script_of

ABOUT = About(
    teacher="all-MiniLM-L6-v2", teacher_source="x", student="static", recipe="optical", seed=3,
    bitext_sizes={"sw": 1200}, best_step=400, validation_score=0.25, kivuko="0.1", fertility={"sw": 1.5},
)  # fmt: skip


def record(language: str, measure: str, value: float, **changes) -> Record:
    fields = {
        "dataset": "emoji", "split": "test", "model": "model", "objective": "optical", "subset": "headline",
        "language": language, "measure": measure, "value": value, "low": value - 0.1, "high": value + 0.1,
        "queries": 10,
    }  # fmt: skip
    return Record(**{**fields, **changes})


RECORDS = [record("sw", "MAP", 0.4), record("low-resource", "MAP", 0.4), record("sw", "MAP", 0.1, objective="mse")]


def shown(table) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(table)
    return console.export_text()


def test_attacked_records_never_stand_for_clean_ones():
    attacked = record("sw", "MAP", 0.9, attack="typo", budget=2.0)
    assert index_records([RECORDS[0], attacked])["optical", "sw", "headline", "MAP"].value == 0.4


def test_a_model_that_finds_no_more_than_its_teacher_is_told():
    teacher = [record("sw", "MAP", 0.4, objective="teacher"), record("so", "MAP", 0.1, objective="teacher")]
    own = [record("sw", "MAP", 0.35), record("so", "MAP", 0.3), record("low-resource", "MAP", 0.1)]
    others = [record("so", "MAP", 0.0, subset="all"), record("so", "MAP", 0.0, attack="typo", budget=1.0)]
    assert "(MAP): sw 0.350 against 0.400. It needs more pairs" in no_better_line([*teacher, *own, *others], "optical")
    assert no_better_line([*teacher[1:], *own], "optical") is None
    assert no_better_line(own, "optical") is None


def test_missing_figure_is_a_dash():
    assert with_interval(None) == "–"
    assert with_interval(RECORDS[0]) == "0.400 [0.300, 0.500]"


def test_card_says_what_was_measured_and_what_was_not():
    card = model_card(ABOUT, RECORDS)
    assert "| sw | 10 | 0.400 [0.300, 0.500] |" in card
    assert "1.50" in card
    assert "1,200" in card
    assert "0.100" not in card  # the other recipe's figure
    assert "Not measured yet" in model_card(ABOUT)
    assert "Student: static; seed 3\n" in card
    assert "; trained in bfloat16\n" in model_card(replace(ABOUT, precision="bfloat16"))
    assert card.startswith("---\nlanguage:\n- sw\n")


def test_tables_hold_one_objective_or_all():
    one = shown(results_table(RECORDS, "optical"))
    assert "sw Swahili" in one
    assert "0.400" in one
    assert "0.100" not in one
    both = shown(comparison_table(RECORDS))
    assert "optical" in both
    assert "mse" in both


@pytest.mark.parametrize(
    ("text", "script"), [("paka mweusi", "Latn"), ("काळी मांजर", "Deva"), ("ጥቁር ድመት", "Ethi"), ("قطة سوداء", "Arab")]
)
def test_script_and_its_font(text, script):
    assert script_of(text) == script
    font = font_for(script, 20)
    # A missing glyph would be drawn like that of a character no font has.
    assert bytes(font.getmask(text[0])) != bytes(font.getmask("\U0010ffff"))


def test_image_frames_the_right_result():
    images = [Image.new("RGB", (136, 136), color) for color in ("red", "blue")]
    row = ResultRow("काळी मांजर", "Marathi", "Deva", "black cat", images, right=1)
    plain = ResultRow("काळी मांजर", "Marathi", "Deva", "black cat", images, right=None)
    green = (0, 158, 115)

    def greens(image: Image.Image) -> int:
        return sum(count for count, color in image.getcolors(1 << 20) if color == green)

    assert greens(results_image([row], "title")) > 500
    assert greens(results_image([plain], "title")) == 0


def test_captions_stand_below_images_and_stay_in_their_width():
    images = [Image.new("RGB", (50, 50), "white")] * 2
    row = ResultRow("paka", "", "Latn", "", images, captions=("", "an extraordinarily-long-single-word " * 9))
    drawn = results_image([row], "").convert("L")
    assert drawn.height == results_image([row], "title").height - 44
    under = [drawn.crop((330 + place * 106, 106, 330 + place * 106 + 96, drawn.height)) for place in range(2)]
    assert [one.getextrema()[0] < 100 for one in under] == [False, True]
    assert drawn.crop((330 + 106 + 96, 0, drawn.width, drawn.height)).getextrema() == (255, 255)
