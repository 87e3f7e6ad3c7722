"""Rules that make no sense are refused in one line; languages know their scripts."""

from __future__ import annotations

from typing import Any

import pytest

from kivuko.bitext.rules import Rules, scripts_of
from kivuko.errors import UsageError


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_characters": 0}, {"max_length_ratio": 0.5}, {"max_length_ratio": float("nan")}, {"length_allowance": -1},
        {"min_script_share": 1.5}, {"min_script_share": float("nan")}, {"max_translations": 0},
        {"max_translations": 251}, {"expected_pairs": 10}, {"language_id": "perhaps"}, {"scripts": ("Klingon",)},
        {"scripts": ("}",)},
    ],
)  # fmt: skip
def test_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=": give"):
        Rules(**wrong)


def test_scripts_of_languages() -> None:
    assert scripts_of("sw") == ("Latn",)
    assert scripts_of("mr") == ("Deva",)
    assert scripts_of("ja") == ("Jpan",)
    assert scripts_of("sr") == ("Cyrl", "Latn")
    assert scripts_of("sr-Latn") == ("Latn",)
    assert scripts_of("zh-Hant") == ("Hant",)
    assert scripts_of("sw", ["Arab"]) == ("Arab",)
