"""Language codes as a user may write them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kivuko.errors import UsageError
from kivuko.languages import DEFAULT_LANGUAGES, Language, language, resource_groups, written_scripts


def test_swahili_in_full() -> None:
    assert language("sw") == Language("sw", "Swahili", "Kiswahili", "Latn", "ltr", "low")


@pytest.mark.parametrize(
    ("given_code", "normalized"),
    [
        ("swa", "sw"), ("swh", "sw"), ("swh_Latn", "sw"), ("SW", "sw"), (" sw\n", "sw"),
        ("tl", "fil"), ("tgl", "fil"), ("fil", "fil"), ("iw", "he"), ("cmn", "zh"), ("zsm", "ms"),
        ("zh-Hant", "zh-Hant"), ("zho_Hant", "zh-Hant"), ("zh_TW", "zh-TW"), ("mr", "mr"),
        ("quy", "quy"), ("quz", "quz"), ("qu", "qu"), ("quz-PE", "quz-PE"), ("nb", "no"), ("nn", "nn"),
    ],
)  # fmt: skip
def test_codes_are_normalized(given_code: str, normalized: str) -> None:
    assert language(given_code).code == normalized
    assert language(normalized).code == normalized


@pytest.mark.parametrize(
    ("code", "script", "direction"),
    [
        ("mr", "Deva", "ltr"), ("ar", "Arab", "rtl"), ("he", "Hebr", "rtl"), ("dv", "Thaa", "rtl"),
        ("zh-Hant", "Hant", "ltr"), ("zh-TW", "Hant", "ltr"), ("sr-Latn", "Latn", "ltr"),
        ("ff-Adlm", "Adlm", "rtl"),
        ("quy", "Latn", "ltr"), ("pbt", "Arab", "rtl"), ("ur-Latn", "Latn", "ltr"), ("tlh", "Latn", "ltr"),
        ("ber", "Zzzz", "ltr"),
    ],
)  # fmt: skip
def test_script_and_direction(code: str, script: str, direction: str) -> None:
    assert (language(code).script, language(code).direction) == (script, direction)


@pytest.mark.parametrize(
    ("code", "level"),
    [
        ("sw", "low"), ("so", "low"), ("mr", "low"), ("fil", "low"), ("tl", "low"), ("quy", "low"),
        ("si", "low"), ("id", "medium"), ("el", "medium"), ("fi", "high"), ("de", "high"),
        ("zh-Hant", "high"), ("tlh", "low"),
    ],
)  # fmt: skip
def test_resource_level(code: str, level: str) -> None:
    assert language(code).resource == level


def test_default_languages_are_four_low_and_three_high() -> None:
    assert resource_groups(DEFAULT_LANGUAGES) == {
        "low-resource": ("sw", "so", "fil", "mr"),
        "high-resource": ("fi", "de", "fr"),
    }


def test_groups_put_medium_with_high_and_drop_repeats() -> None:
    assert resource_groups(["id", "swa", "sw", "de"]) == {
        "low-resource": ("sw",),
        "high-resource": ("id", "de"),
    }
    assert resource_groups([]) == {"low-resource": (), "high-resource": ()}


@pytest.mark.parametrize(
    ("wrong", "suggestion"),
    [
        ("swahili", "sw (Swahili)"), ("Kiswahili", "sw (Swahili)"), ("swaheli", "sw (Swahili)"),
        ("filippino", "fil (Filipino)"), ("Deutsch", "de (German)"), ("germn", "de (German)"),
        ("qechua", "qu (Quechua)"), ("sw-nope1", "sw (Swahili)"), ("tagalog", "fil (Filipino)"),
    ],
)  # fmt: skip
def test_near_misses_get_suggestions(wrong: str, suggestion: str) -> None:
    with pytest.raises(UsageError, match="did you mean") as raised:
        language(wrong)
    assert suggestion in str(raised.value)
    assert wrong in str(raised.value)


@pytest.mark.parametrize(
    "wrong",
    [
        "xx-unknown",
        "xx",
        "",
        " ",
        "q",
        "und",
        "mul",
        "zxx",
        "root",
        "qaa",
        "x-foo",
        "\ud800",
        "\0",
        "*",
        "z" * 5000,
    ],
)
def test_what_is_no_language_is_refused_in_one_line(wrong: str) -> None:
    with pytest.raises(UsageError, match="unknown language code") as raised:
        language(wrong)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 250


@given(st.text(max_size=20))
@example("\x00𐀀")  # the index of names fails on it with an error of its own
@settings(max_examples=60, deadline=None)
def test_any_text_is_a_language_or_a_usage_error(text: str) -> None:
    try:
        described = language(text)
    except UsageError as refused:
        message = str(refused)
    else:
        message = "known"
        assert language(described.code) == described
    assert "\n" not in message


def test_import_does_not_load_the_language_data() -> None:
    script = "import sys, kivuko.languages; print([m for m in sys.modules if m.startswith('lang')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("code", "scripts"),
    [("azb", {"Arab", "Latn"}), ("crh", {"Cyrl", "Latn"}), ("tt", {"Cyrl", "Latn"}), ("uz", {"Latn", "Cyrl", "Arab"}),
     ("bjn", {"Latn", "Arab"}), ("ks", {"Arab", "Deva"}), ("lad", {"Hebr", "Latn"}), ("taq", {"Latn", "Tfng"}),
     ("shi", {"Tfng", "Latn"}), ("mni", {"Beng", "Mtei"}), ("pa", {"Guru", "Arab"}), ("nan", {"Hans", "Latn"})],
)  # fmt: skip
def test_every_script_that_a_language_is_written_in(code: str, scripts: set[str]) -> None:
    assert scripts <= set(written_scripts(code))
    assert written_scripts(code)[0] == language(code).script


def test_scripts_of_codes_that_name_one_and_of_unknown_ones() -> None:
    assert written_scripts("sr-Latn") == ("Latn",)
    assert written_scripts("ber") == ()
    assert "Latn" not in written_scripts("zh"), "Latin letters transcribe Chinese"
    assert "Deva" not in written_scripts("sw")
    assert written_scripts("am") == ("Ethi",)
