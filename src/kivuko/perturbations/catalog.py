"""The catalog of attacks and their parameters; ``kivuko.perturbations.runner`` runs them. Torch is not imported."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from kivuko.errors import UsageError
from kivuko.perturbations.edits import EDIT_GROUPS, EDIT_KINDS

Value = Fraction | int | bool | str
LEVELS = 255  # steps of an 8-bit image between black and white: radii are written as shares of them
_LONGEST = 60  # code points of what was written that a message repeats
MOST = 1_000_000  # steps, queries, edits: more than any machine will do

# Lengths are bounded against numbers of a million digits; every result of ``written`` can be read.
_NUMBERS = (
    re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,40})?"),
    re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,20})?([eE][+-]?0?[0-9]|/[0-9]{1,9})"),
    re.compile(r"[+-]?[0-9]{1,40}/[0-9]{1,40}"),
)
_WHOLE = re.compile(r"[+-]?[0-9]{1,12}")


@dataclass(frozen=True)
class Parameter:
    """One parameter of an attack; ``allowed`` describes its values, in words that follow "give"."""

    name: str
    default: Value

    @property
    def allowed(self) -> str:
        raise NotImplementedError

    def read(self, text: str) -> Value:
        """Return the value of a text, or raise ValueError, perhaps with the reason."""
        raise NotImplementedError

    def written(self, value: Value) -> str:
        """Return the shortest text that ``read`` turns into this value."""
        return str(value)


@dataclass(frozen=True)
class Number(Parameter):
    """An exact number from ``low`` to ``high``, written as 0.01, 1e-2, 2/255 or 0.5/255."""

    low: int
    high: int
    described: str

    @property
    def allowed(self) -> str:
        return self.described

    def read(self, text: str) -> Fraction:
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
        """Return a plain decimal where there is one, else levels (1/85 is 3/255), else a fraction."""
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
class Whole(Parameter):
    """A whole number from ``low`` to ``high``."""

    low: int = 0
    high: int = MOST

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.low:,} to {self.high:,}"

    def read(self, text: str) -> int:
        if not _WHOLE.fullmatch(text):
            raise ValueError("it is no whole number")
        if not self.low <= int(text) <= self.high:
            raise ValueError("it is out of range")
        return int(text)


@dataclass(frozen=True)
class Choice(Parameter):
    """One of a few words; with ``several``, some of them joined by a plus sign (typo+case), in the order given."""

    choices: tuple[str, ...]
    several: bool = False

    @property
    def allowed(self) -> str:
        some = ", or several such as " + "+".join(self.choices[:2]) if self.several else ""
        return f"one of {', '.join(self.choices)}{some}"

    def read(self, text: str) -> str:
        parts = text.split("+") if self.several else [text]
        if not all(part in self.choices for part in parts):
            raise ValueError
        return "+".join(dict.fromkeys(parts))


@dataclass(frozen=True)
class Flag(Parameter):
    default: Value = False
    allowed = "true or false"

    def read(self, text: str) -> bool:
        if text not in ("true", "false"):
            raise ValueError
        return text == "true"

    def written(self, value: Value) -> str:
        return "true" if value else "false"


@dataclass(frozen=True)
class Text(Parameter):
    """Any text, for custom attacks."""

    allowed = "a text without commas and bars"

    def read(self, text: str) -> str:
        return text


def read_value(parameter: Parameter, text: str, where: str) -> Value:
    """Read a value; a UsageError names a wrong one."""
    try:
        return parameter.read(text)
    except ValueError as problem:
        reason = f" ({problem})" if str(problem) else ""
        raise UsageError(
            f"{where}: {parameter.name}={shown(text)} cannot be used{reason}; give {parameter.allowed}."
        ) from None


def shown(text: str) -> str:
    """Return a quoted text for a message: on one line, not too long."""
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


Kind = Literal["text", "image", "joint"]
Needs = Literal["nothing", "queries", "gradients"]
Family = Literal["text noise", "text adversarial", "image noise", "image adversarial", "joint"]

LARGEST_RADIUS = 1000  # an L2 radius; L-inf radii end at 1, see ``spec``
CODE_SWITCH = "code-switch"
CODE_POINTS = "code-points"


@dataclass(frozen=True)
class Attack:
    """One kind of attack."""

    name: str
    kind: Kind  # what it changes: the query, the image, or both
    needs: Needs  # what it uses of the model: "nothing" (noise), answers to "queries", or "gradients"
    budget: str  # name of the parameter that limits it, whose value is a field of its records
    parameters: tuple[Parameter, ...]  # all of them, the budget first
    description: str  # half a sentence for a list

    def parameter(self, name: str) -> Parameter:
        names = [one.name for one in self.parameters]
        if name not in names:
            hint = _nearest(name, names, f"it has {', '.join(names)}.")
            raise UsageError(f"attack '{self.name}' has no parameter {shown(name)}; {hint}")
        return self.parameters[names.index(name)]

    def has(self, name: str) -> bool:
        return any(one.name == name for one in self.parameters)

    @property
    def family(self) -> Family:
        if self.kind == "joint":
            return "joint"
        if self.kind == "text":
            return "text noise" if self.needs == "nothing" else "text adversarial"
        return "image noise" if self.needs == "nothing" else "image adversarial"

    @property
    def unit(self) -> str:
        """The unit of its budget: "edits", "points" (of code), "severity" (levels of noise) or "radius" (on 0-1)."""
        return {"eps": "radius"}.get(self.budget, self.budget)


def _nearest(name: str, names: list[str], otherwise: str) -> str:
    near = difflib.get_close_matches(name.lower(), names, 1, 0.6)
    return f"did you mean '{near[0]}'?" if near else otherwise


_GROUPS = {
    "typo": "letters put in, left out, swapped or exchanged",
    "form": "diacritics, case, width or normalization changed",
    "word": "words joined, split, left out or swapped",
    "any": "an edit of any kind",
}
_NOISES = {
    "gaussian-noise": "normal noise on every pixel",
    "blur": "Gaussian blur",
    "jpeg": "JPEG at low quality",
    "occlusion": "a gray patch over part of the image",
    "contrast": "contrast taken away",
}
_EDITS = Whole("edits", 1, 0, 100)
_EPS = Number(
    "eps", Fraction(2, LEVELS), 0, LARGEST_RADIUS,
    f"a radius from 0 to 1 on the pixel scale, such as 2/255 or 0.01 (with norm=l2 up to {LARGEST_RADIUS})",
)  # fmt: skip
_NORM = Choice("norm", "linf", ("linf", "l2"))
_TARGETED = Flag("targeted")
_EARLY_STOP = Flag("early_stop")
_CRAFTED = Choice("crafted", "own", ("own", "english"))
_WARM_START = Flag("warm_start")
_LOSS = Choice("loss", "ce", ("margin", "ce", "dlr", "targeted-dlr"))
_RESTARTS = Whole("restarts", 1, 1, 1000)
_KINDS = Choice("kinds", "typo", (*EDIT_GROUPS, *EDIT_KINDS), several=True)


def _text(name: str, needs: Needs, description: str, *more: Parameter) -> Attack:
    return Attack(name, "text", needs, "edits", (_EDITS, *more), description)


def _image(name: str, needs: Needs, description: str, *more: Parameter) -> Attack:
    return Attack(name, "image", needs, "eps", (_EPS, _NORM, *more, _TARGETED, _CRAFTED), description)


def _joint(name: str, description: str, *more: Parameter) -> Attack:
    usual = (_NORM, _EDITS, Whole("steps", 10, 1), Whole("candidates", 32, 1, 100_000), _KINDS)
    return Attack(name, "joint", "gradients", "eps", (_EPS, *usual, *more), description)


def _attacks() -> Iterator[Attack]:
    for name, description in _GROUPS.items():
        yield _text(name, "nothing", description)
    for kind in EDIT_KINDS.values():
        yield _text(kind.name, "nothing", kind.description)
    yield _text(CODE_SWITCH, "nothing", "words said in English, by the training bitext")
    points = Whole("points", 2, 0, 1000)
    yield Attack(
        CODE_POINTS, "text", "nothing", "points", (points, _KINDS), "as many edits as change so many code points"
    )
    candidates = Whole("candidates", 64, 1, 100_000)
    yield _text("greedy", "queries", "the worst of random edits, one after another", candidates, _KINDS)
    few = Whole("candidates", 16, 1, 100_000)
    yield _text("hotflip", "gradients", "subwords exchanged where the gradient points", few)
    yield _text("char-gradient", "gradients", "characters edited where the gradient points", few, _KINDS)
    yield _text("universal-text", "queries", "one misspelling for all queries, learned on training names")
    for name, description in _NOISES.items():
        yield Attack(name, "image", "nothing", "severity", (Whole("severity", 3, 0, 5),), description)
    steps, many, tries = Whole("steps", 10, 1), Whole("steps", 100, 1), Whole("queries", 1000, 1)
    yield _image("fgsm", "gradients", "one step along the gradient's signs", _LOSS)
    yield _image("pgd", "gradients", "projected gradient descent", steps, _RESTARTS, _LOSS, _EARLY_STOP)
    yield _image(
        "apgd", "gradients", "PGD that sets its own step size; with warm_start a sweep's larger radius begins at the "
        "smaller one's result", many, _RESTARTS, _LOSS, _EARLY_STOP, _WARM_START,
    )  # fmt: skip
    yield _image("square", "queries", "random squares, kept where they harm", tries, _EARLY_STOP)
    yield _image("standard", "gradients", "the ensemble of APGD and Square; stops at success", many, tries)
    yield _image(
        "universal", "gradients", "one change for all images, learned on training names", Whole("epochs", 10, 1)
    )
    yield _joint(
        "sep-attack", "query and image attacked apart, then put together (Sep-Attack)",
        Choice("image", "pgd", ("pgd", "apgd")), _CRAFTED, _WARM_START,
    )  # fmt: skip
    yield _joint("co-attack", "the query first, then the image against that query (Co-Attack)")
    yield _joint("sga", "the image at several sizes against its names in all languages, then the query (SGA)")


ATTACKS: Mapping[str, Attack] = {attack.name: attack for attack in _attacks()}
_FORMER_NAMES = {"sep": "sep-attack"}


def is_catalog_name(name: str) -> bool:
    """Return True for the name of an attack of the catalog, now or in the last release."""
    return name in ATTACKS or name in _FORMER_NAMES


def attack_named(name: str) -> Attack:
    """Return an attack of the catalog."""
    name = _FORMER_NAMES.get(name, name)
    if name not in ATTACKS:
        hint = _nearest(name, list(ATTACKS), "'kivuko attack --list' shows all.")
        raise UsageError(f"unknown attack {shown(name)}; {hint}")
    return ATTACKS[name]
