"""Parameters of attacks as they are written: what a value may be, how it is read, how it is written again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from kivuko.errors import UsageError

Value = Fraction | int | bool | str
LEVELS = 255  # steps of an 8-bit image between black and white: radii are written as shares of them
_LONGEST = 60  # code points of what was written that a message repeats
MOST = 1_000_000  # steps, queries, edits: more than any machine will do

# Lengths are bounded so that no text makes a number of a million digits, and so that what ``written`` gives is read.
_NUMBERS = (
    re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,40})?"),
    re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,20})?([eE][+-]?0?[0-9]|/[0-9]{1,9})"),
    re.compile(r"[+-]?[0-9]{1,40}/[0-9]{1,40}"),
)
_WHOLE = re.compile(r"[+-]?[0-9]{1,12}")


class Parameter(Protocol):
    """One parameter of an attack."""

    @property
    def name(self) -> str:
        """As it is written before the equals sign."""
        ...

    @property
    def default(self) -> Value:
        """What it is where it is not written."""
        ...

    @property
    def allowed(self) -> str:
        """Which values it takes, in words that go after "give"."""
        ...

    def read(self, text: str) -> Value:
        """Return the value that a text stands for; ValueError, with the reason or none, where there is no such."""
        ...

    def written(self, value: Value) -> str:
        """Return the shortest text that ``read`` gives this value for."""
        ...


@dataclass(frozen=True)
class Number:
    """An exact number from ``low`` to ``high``, written as 0.01, 1e-2, 2/255 or 0.5/255."""

    name: str
    default: Value
    low: int
    high: int
    allowed: str

    def read(self, text: str) -> Fraction:
        """See Parameter."""
        if not any(form.fullmatch(text) for form in _NUMBERS):
            raise ValueError("it is no number")
        over, _, under = text.partition("/")
        if under and not int(under):
            raise ValueError("it divides by zero")
        value = Fraction(over) / int(under or 1)
        level = Fraction(round(value * LEVELS), LEVELS)
        if float(value) == float(level):  # a radius as records print it, 0.00784313725490196, is 2/255 again
            value = level
        if not self.low <= value <= self.high:
            raise ValueError("it is out of range")
        return value

    def written(self, value: Value) -> str:
        """See Parameter: a plain decimal where there is one, else in levels (1/85 is 3/255), else as a fraction."""
        exact = Fraction(value)
        if decimal := _decimal(exact, 40):
            return decimal
        levels = _decimal(exact * LEVELS, 20)
        return f"{levels}/{LEVELS}" if levels else str(exact)


def _decimal(exact: Fraction, places: int) -> str:
    """Return a number, at least 0, as a decimal of up to so many places; an empty text if that does not hold it."""
    shifted = exact * 10**places
    if shifted.denominator != 1:
        return ""
    digits = f"{shifted.numerator:0{places + 1}d}"
    return f"{digits[:-places]}.{digits[-places:]}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Whole:
    """A whole number from ``low`` to ``high``."""

    name: str
    default: Value
    low: int = 0
    high: int = MOST

    @property
    def allowed(self) -> str:
        """See Parameter."""
        return f"a whole number from {self.low:,} to {self.high:,}"

    def read(self, text: str) -> int:
        """See Parameter."""
        if not _WHOLE.fullmatch(text):
            raise ValueError("it is no whole number")
        if not self.low <= int(text) <= self.high:
            raise ValueError("it is out of range")
        return int(text)

    def written(self, value: Value) -> str:
        """See Parameter."""
        return str(value)


@dataclass(frozen=True)
class Choice:
    """One of a few words; with ``several``, some of them joined by a plus sign (typo+case), in the order given."""

    name: str
    default: Value
    choices: tuple[str, ...]
    several: bool = False

    @property
    def allowed(self) -> str:
        """See Parameter."""
        some = ", or several such as " + "+".join(self.choices[:2]) if self.several else ""
        return f"one of {', '.join(self.choices)}{some}"

    def read(self, text: str) -> str:
        """See Parameter."""
        parts = text.split("+") if self.several else [text]
        if not all(part in self.choices for part in parts):
            raise ValueError
        return "+".join(dict.fromkeys(parts))

    def written(self, value: Value) -> str:
        """See Parameter."""
        return str(value)


@dataclass(frozen=True)
class Flag:
    """True or false."""

    name: str
    default: Value = False
    allowed = "true or false"

    def read(self, text: str) -> bool:
        """See Parameter."""
        if text not in ("true", "false"):
            raise ValueError
        return text == "true"

    def written(self, value: Value) -> str:
        """See Parameter."""
        return "true" if value else "false"


def read_value(parameter: Parameter, text: str, where: str) -> Value:
    """Read a value, or say in one line what is wrong with it.

    Raises:
        UsageError: the text stands for no value that the parameter takes; ``where`` is named.
    """
    try:
        return parameter.read(text)
    except ValueError as problem:
        reason = f" ({problem})" if str(problem) else ""
        raise UsageError(
            f"{where}: {parameter.name}={shown(text)} cannot be used{reason}; give {parameter.allowed}."
        ) from None


def shown(text: str) -> str:
    """Return what was written as a message shows it: on one line, not too long."""
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
