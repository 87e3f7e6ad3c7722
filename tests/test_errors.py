"""Errors of libraries become one of Kivuko's; what is no error of theirs passes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from kivuko.errors import (
    DataError,
    ModelError,
    UsageError,
    check_number,
    check_path,
    check_seed,
    check_type,
    first_line,
    wrap_errors,
)


class PanicException(BaseException):
    """Stand in for a panic in a library written in Rust."""


def as_model_error(reason):
    return ModelError(f"here: {reason}.")


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (ValueError("is bad\nand more"), "here: is bad."),
        (KeyError("types"), "here: KeyError: 'types'."),
        (RuntimeError(), "here: RuntimeError."),
        (PanicException("index out of bounds"), "here: index out of bounds."),
        (OSError("too " + "x" * 999), f"here: too {'x' * 196}."),
    ],
    ids=["lines", "bare word", "silent", "panic", "long"],
)
def test_an_error_of_a_library_becomes_one_line(problem, expected):
    with pytest.raises(ModelError) as caught, wrap_errors(as_model_error):
        raise problem
    assert str(caught.value) == expected
    assert caught.value.__cause__ is problem


@pytest.mark.parametrize("problem", [DataError("own"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_own_errors_and_the_users_signals_pass(problem):
    with pytest.raises(type(problem)) as caught, wrap_errors(as_model_error):
        raise problem
    assert caught.value is problem


def test_the_first_line_is_of_the_words():
    assert first_line(ValueError("\n  one line\ntwo")) == "one line"


@pytest.mark.parametrize(
    ("value", "limits", "expected"),
    [
        (3, {"least": 1, "whole": True}, 3),
        (np.int64(3), {"least": 1, "whole": True}, 3),
        (np.float32(0.5), {"above": 0, "most": 0.5}, 0.5),
        (Fraction(1, 4), {"above": 0}, 0.25),
        (2, {}, 2),
        (None, {"optional": True}, None),
    ],
)
def test_numbers_of_every_library_become_plain_ones(value, limits, expected):
    number = check_number("k", value, **limits)
    assert (number, type(number)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        ("3", {"least": 1, "whole": True}, "k='3': choose a whole number of at least 1."),
        (3.0, {"whole": True}, "k=3.0: choose a whole number."),
        (True, {"least": 1, "most": 10_000}, "k=True: choose a number from 1 to 10,000."),
        (float("nan"), {"above": 0, "most": 0.5}, "k=nan: choose a number above 0, up to 0.5."),
        (float("inf"), {"above": 0}, "k=inf: choose a number above 0."),
        (0, {"above": 0}, "k=0: choose a number above 0."),
        (10**30, {"whole": True}, f"k={10**30}: choose a whole number."),
        (None, {}, "k=None: choose a number."),
        (np.zeros((2, 2)), {}, "k=array([[0., 0.], [0., 0.]]): choose a number."),
    ],
)
def test_other_values_are_refused_in_one_line(value, limits, message):
    with pytest.raises(UsageError) as caught:
        check_number("k", value, **limits)
    assert str(caught.value) == message


def test_seeds_are_whole_numbers_that_torch_takes():
    assert check_seed(np.int32(7)) == 7
    for wrong in ("a", -1, 1.5, 2**63, None):
        with pytest.raises(UsageError, match=r"^seed=.*: choose a whole number from 0 to 2\*\*63 - 1\.$"):
            check_seed(wrong)


def test_paths_are_text_or_paths(tmp_path):
    assert check_path("out", "model") == Path("model")
    assert check_path("out", tmp_path) is not None
    assert check_path("out", None, optional=True) is None
    for wrong in (None, 3, b"model", "", "a\0b", ["a"]):
        with pytest.raises(UsageError, match=r"^out=.*: give a folder, as text or a Path\.$"):
            check_path("out", wrong, "a folder")


def test_types_are_named_by_what_is_wanted():
    check_type("progress", None, bool | None, "True, False or None")
    with pytest.raises(UsageError, match="progress='yes': give True, False or None"):
        check_type("progress", "yes", bool | None, "True, False or None")
