"""Custom attacks, named ``package.module:Class`` where an attack of the catalog is named.

The keywords of the class, all with defaults, are its parameters; ``edits`` or ``eps`` is its budget, unless the class
attribute ``budget`` names another one. It has one of two methods, ``perturb_texts`` or ``perturb_images``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

from kivuko.errors import UsageError
from kivuko.perturbations.catalog import Attack, Flag, Number, Parameter, Text, Value, Whole, is_catalog_name
from kivuko.perturbations.edits import Perturbed
from kivuko.plugins import load_plugin
from kivuko.text import pluralize

if TYPE_CHECKING:
    from torch import Tensor

    from kivuko.perturbations.image.goal import ImageGoal
    from kivuko.perturbations.image.pixel_tower import PixelTower
    from kivuko.perturbations.text.search import EncodeTexts, TextGoal

_FORM = re.compile(r"\s*([^\W\d][\w.]*:[^\W\d][\w.]*)\s*(?:(:)(.*))?", re.DOTALL)
_LARGEST = 1_000_000_000


class TextAttack(Protocol):
    """An attack on queries."""

    def perturb_texts(
        self, texts: Sequence[str], languages: Sequence[str], encode: EncodeTexts, goal: TextGoal
    ) -> Sequence[str | Perturbed]:
        """Return the perturbed queries, one for each; languages are codes such as "sw".

        ``encode``: texts to unit vectors, float32 [texts, dim]; every text counts as a call. ``goal``: the gallery and
        the right image of each query; ``goal.rank(encode(texts), rows)`` ranks it.
        """
        ...


class ImageAttack(Protocol):
    """An attack on the image that each query should find."""

    def perturb_images(self, pixels: Tensor, goal: ImageGoal, tower: PixelTower) -> Tensor:
        """Return the perturbed images, of the shape of ``pixels``: float32 [n, 3, height, width] in 0-1.

        They are rounded to 8-bit levels and, where the class has a parameter ``eps``, cut to that L-inf radius. The
        attacker wants ``goal.margins(tower(pixels), rows)`` below 0, rows being int64 [n]; ``tower`` is differentiable.
        """
        ...


def is_custom(text: str) -> bool:
    """Return True for ``package.module:Class``, perhaps with parameters; False for an attack of the catalog."""
    return _FORM.fullmatch(text) is not None and not is_catalog_name(text.partition(":")[0].strip())


def custom_attack(text: str) -> tuple[Attack, str, str, Callable[..., Any]]:
    """Load the class that a text names: its description, the colon and the parameters after it, and the class."""
    form = _FORM.fullmatch(text)
    assert form is not None
    name, colon, rest = form[1], form[2] or "", form[3] or ""
    build = load_plugin(name, "attack")
    on_texts, on_images = (callable(getattr(build, method, None)) for method in ("perturb_texts", "perturb_images"))
    if on_texts == on_images:
        raise UsageError(f"attack {name}: give it one of the methods perturb_texts and perturb_images.")
    budget = str(getattr(build, "budget", "edits" if on_texts else "eps"))
    try:
        signature = inspect.signature(build)
    except (TypeError, ValueError) as problem:
        raise UsageError(f"attack {name}: its keywords cannot be read; make it a class or a dataclass.") from problem
    parameters = [_parameter(name, one) for one in signature.parameters.values()]
    parameters.sort(key=lambda one: one.name != budget)
    if not parameters or parameters[0].name != budget:
        raise UsageError(f"attack {name}: it has no keyword '{budget}' for its budget; add one, or name another one "
                         "as the class attribute 'budget'.")  # fmt: skip
    description = (inspect.getdoc(build) or "an attack of your own").strip().partition("\n")[0].rstrip(".")
    kind = "text" if on_texts else "image"
    needs = getattr(build, "needs", "queries" if on_texts else "gradients")
    return Attack(name, kind, needs, budget, tuple(parameters), description), colon, rest, build  # type: ignore[arg-type]


def rebuilt(custom: Any, attack: Attack, values: Sequence[Value]) -> Any:
    """Return the custom attack with these values; None for an attack of the catalog."""
    if custom is None:
        return None
    build = custom if inspect.isclass(custom) else type(custom)
    named = {
        one.name: float(value) if isinstance(value, Fraction) else value
        for one, value in zip(attack.parameters, values, strict=True)
    }
    try:
        return build(**named)
    except Exception as problem:
        reason = (str(problem) or type(problem).__name__).splitlines()[0]
        raise UsageError(
            f"attack {attack.name}: {', '.join(f'{k}={v}' for k, v in named.items())}: {reason}"
        ) from problem


def perturbed_texts(
    custom: TextAttack, texts: Sequence[str], languages: Sequence[str], encode: EncodeTexts, goal: TextGoal
) -> tuple[list[Perturbed], int]:
    """Run a custom attack on queries; the second value counts the texts that it encodes, per query."""
    calls = 0

    def counting(queries: Sequence[str]) -> Any:
        nonlocal calls
        calls += len(queries)
        return encode(queries)

    results = list(custom.perturb_texts(list(texts), list(languages), counting, goal))
    if len(results) != len(texts) or not all(isinstance(one, str | Perturbed) for one in results):
        name = f"{type(custom).__module__}:{type(custom).__qualname__}"
        raise UsageError(
            f"attack {name}: perturb_texts must return {pluralize(len(texts), 'text')}, one for each query."
        )
    perturbed = [
        one if isinstance(one, Perturbed) else Perturbed(text, one) for text, one in zip(texts, results, strict=True)
    ]
    return perturbed, -(-calls // max(1, len(texts)))


def _parameter(name: str, keyword: inspect.Parameter) -> Parameter:
    """Return the parameter that a keyword with a default is read as."""
    default = keyword.default
    if default is inspect.Parameter.empty:
        raise UsageError(f"attack {name}: its keyword '{keyword.name}' has no default; give it one.")
    if isinstance(default, bool):
        return Flag(keyword.name, default)
    if isinstance(default, int):
        return Whole(keyword.name, default, 0, _LARGEST)
    if isinstance(default, float | Fraction):
        number = Number(
            keyword.name, Fraction(0), 0, _LARGEST, "a number that is not negative, such as 0.5 or 2/255"
        )  # fmt: skip
        return replace(number, default=number.read(str(default)))
    if isinstance(default, str):
        return Text(keyword.name, default)
    raise UsageError(f"attack {name}: its keyword '{keyword.name}' must be a number, a text, true or false.")
