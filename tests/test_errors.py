"""Errors of libraries become one of Kivuko's; what is no error of theirs passes."""

from __future__ import annotations

import pytest

from kivuko.errors import DataError, ModelError, first_line, wrap_errors


class PanicException(BaseException):
    """Stand in for a panic in a library written in Rust."""


def told(reason):
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
def test_what_a_library_raises_is_blamed_on_what_was_named(problem, expected):
    with pytest.raises(ModelError) as found, wrap_errors(told):
        raise problem
    assert str(found.value) == expected
    assert found.value.__cause__ is problem


@pytest.mark.parametrize("problem", [DataError("own"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_own_errors_and_the_users_signals_pass(problem):
    with pytest.raises(type(problem)) as found, wrap_errors(told):
        raise problem
    assert found.value is problem


def test_the_first_line_is_of_the_words():
    assert first_line(ValueError("\n  one line\ntwo")) == "one line"
