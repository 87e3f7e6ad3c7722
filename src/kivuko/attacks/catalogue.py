"""The catalogue of attacks: what each is called, what it changes, what it must know of the model, what it takes.

Nothing here runs an attack, and torch is not imported; ``kivuko.studies.attack`` runs them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from kivuko.attacks.parameters import LEVELS, Choice, Flag, Number, Parameter, Whole, shown
from kivuko.edits import EDIT_GROUPS, EDIT_KINDS
from kivuko.errors import UsageError

Kind = Literal["text", "image", "joint"]
Needs = Literal["nothing", "queries", "gradients"]
Family = Literal["text noise", "text adversarial", "image noise", "image adversarial", "joint"]

LARGEST_RADIUS = 1000  # an L2 radius; L-inf radii end at 1, see ``spec``
CODE_SWITCH = "code-switch"


@dataclass(frozen=True)
class Attack:
    """One kind of attack.

    Attributes:
        kind: what it changes: the query, the picture, or both.
        needs: what it must have of the model: "nothing" (noise), answers to "queries", or "gradients".
        budget: name of the parameter that limits it. In records it stands apart from the name.
        parameters: all of them, the budget first.
        description: half a sentence for a list.
    """

    name: str
    kind: Kind
    needs: Needs
    budget: str
    parameters: tuple[Parameter, ...]
    description: str

    def parameter(self, name: str) -> Parameter:
        """Return a parameter by its name.

        Raises:
            UsageError: there is no such parameter; the nearest is named.
        """
        names = [one.name for one in self.parameters]
        if name not in names:
            hint = _nearest(name, names, f"it has {', '.join(names)}.")
            raise UsageError(f"attack '{self.name}' has no parameter {shown(name)}; {hint}")
        return self.parameters[names.index(name)]

    def has(self, name: str) -> bool:
        """Tell whether there is such a parameter."""
        return any(one.name == name for one in self.parameters)

    @property
    def family(self) -> Family:
        """Under which heading it is listed and reported."""
        if self.kind == "joint":
            return "joint"
        if self.kind == "text":
            return "text noise" if self.needs == "nothing" else "text adversarial"
        return "image noise" if self.needs == "nothing" else "image adversarial"

    @property
    def unit(self) -> str:
        """What its budget counts: "edits", "severity" (levels of noise) or "radius" (on the pixel scale 0-1)."""
        return {"eps": "radius"}.get(self.budget, self.budget)


def _nearest(name: str, names: list[str], otherwise: str) -> str:
    """Return a hint that ends a message: the nearest name if one is near."""
    near = difflib.get_close_matches(name.lower(), names, 1, 0.5)
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
    "occlusion": "a grey patch over part of the picture",
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
_LOSS = Choice("loss", "ce", ("margin", "ce", "dlr", "targeted-dlr"))
_RESTARTS = Whole("restarts", 1, 1, 1000)
_KINDS = Choice("kinds", "typo", (*EDIT_GROUPS, *EDIT_KINDS), several=True)


def _text(name: str, needs: Needs, description: str, *more: Parameter) -> Attack:
    return Attack(name, "text", needs, "edits", (_EDITS, *more), description)


def _image(name: str, needs: Needs, description: str, *more: Parameter) -> Attack:
    return Attack(name, "image", needs, "eps", (_EPS, _NORM, *more, _TARGETED, _CRAFTED), description)


def _joint(name: str, description: str) -> Attack:
    more = (_NORM, _EDITS, Whole("steps", 10, 1), Whole("candidates", 32, 1, 100_000), _KINDS)
    return Attack(name, "joint", "gradients", "eps", (_EPS, *more), description)


def _attacks() -> Iterator[Attack]:
    for name, description in _GROUPS.items():
        yield _text(name, "nothing", description)
    for kind in EDIT_KINDS.values():
        yield _text(kind.name, "nothing", kind.description)
    yield _text(CODE_SWITCH, "nothing", "words said in English, by the training bitext")
    candidates = Whole("candidates", 64, 1, 100_000)
    yield _text("greedy", "queries", "the worst of random edits, one after another", candidates, _KINDS)
    few = Whole("candidates", 16, 1, 100_000)
    yield _text("hotflip", "gradients", "subwords exchanged where the gradient points", few)
    yield _text("char-gradient", "gradients", "characters edited where the gradient points", few, _KINDS)
    yield _text("universal-text", "queries", "one misspelling for all queries, found on training names")
    for name, description in _NOISES.items():
        yield Attack(name, "image", "nothing", "severity", (Whole("severity", 3, 0, 5),), description)
    steps, many, asked = Whole("steps", 10, 1), Whole("steps", 100, 1), Whole("queries", 1000, 1)
    yield _image("fgsm", "gradients", "one step along the gradient's signs", _LOSS)
    yield _image("pgd", "gradients", "projected gradient descent", steps, _RESTARTS, _LOSS, _EARLY_STOP)
    yield _image("apgd", "gradients", "the same, its step size set by itself", many, _RESTARTS, _LOSS, _EARLY_STOP)
    yield _image("square", "queries", "random squares, kept where they harm", asked, _EARLY_STOP)
    yield _image("standard", "gradients", "the ensemble of APGD and Square; stops at success", many, asked)
    yield _image(
        "universal", "gradients", "one change for all pictures, found on training names", Whole("epochs", 10, 1)
    )
    yield _joint("sep", "query and picture attacked apart, then put together")
    yield _joint("co-attack", "the query first, then the picture against that query (Co-Attack)")
    yield _joint("sga", "the picture at several sizes against its names in all languages, then the query (SGA)")


ATTACKS: Mapping[str, Attack] = {attack.name: attack for attack in _attacks()}


def attack_named(name: str) -> Attack:
    """Return an attack of the catalogue.

    Raises:
        UsageError: there is none of that name; the nearest is named.
    """
    if name not in ATTACKS:
        hint = _nearest(name, list(ATTACKS), "'kivuko attack --list' shows all.")
        raise UsageError(f"unknown attack {shown(name)}; {hint}")
    return ATTACKS[name]
