"""The kinds of objectives that a recipe can name: their options, the checks of these, and how each is built.

An objective of your own is named ``package.module:Class`` and satisfies ``kivuko.losses.Objective``.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from kivuko.errors import is_number
from kivuko.losses import objectives as own
from kivuko.losses.objectives import Objective
from kivuko.plugins import is_plugin, load_plugin
from kivuko.transport.solve import METHODS

Options = Mapping[str, Any]
Build = Callable[[Tensor, dict[str, Any]], Objective]  # from the teacher's mean content token [dim] and the options


@dataclass(frozen=True)
class Check:
    """The values that an entry of a recipe may have; ``complaint`` describes any other value."""

    accepts: Callable[[Any], bool]
    complaint: str

    def __call__(self, entry: str, value: Any) -> None:
        """Raise a ValueError that names the entry, unless the value is one it may have."""
        if not self.accepts(value):
            raise ValueError(f"{entry} = {value!r} {self.complaint}")


def one_of(*values: str | bool) -> Check:
    """Only these values; 1 is not ``true``."""
    names = ", ".join(str(value).lower() if isinstance(value, bool) else value for value in values)
    return Check(lambda value: any(type(value) is type(one) and value == one for one in values), f"is none of: {names}")


POSITIVE = Check(lambda value: is_number(value) and value > 0, "is not a positive number")
COUNT = Check(lambda value: is_number(value, whole=True) and value > 0, "is not a positive whole number")
NOT_NEGATIVE = Check(lambda value: is_number(value) and value >= 0, "is not a number of 0 or more")
FLAG = Check(lambda value: isinstance(value, bool), "is neither true nor false")


@dataclass(frozen=True)
class Kind:
    """A kind of objective."""

    build: Build
    options: Mapping[str, Check] = field(default_factory=dict)
    conflict: Callable[[Options], str | None] = lambda options: None  # why options do not go together
    transports: Callable[[Options], bool] = lambda options: False  # True if it solves transport plans

    def check(self, name: str, options: Options) -> None:
        """Raise a ValueError that names the first option that this kind, called ``name``, does not have or take."""
        for key, value in options.items():
            if key not in self.options:
                known = ", ".join(sorted(self.options)) or "none"
                raise ValueError(f"objective '{name}' has no option '{key}' (it has: {known})")
            self.options[key](f"objective '{name}': {key}", value)
        if conflict := self.conflict(options):
            raise ValueError(f"objective '{name}': {conflict}")


@dataclass(frozen=True)
class Term:
    """One objective of a recipe: its kind, its weight, and its options."""

    kind: str
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def transports(self) -> bool:
        return self.weight > 0 and find_kind(self.kind).transports(self.options)

    def build(self, center: Tensor) -> Objective:
        """Build the objective; ``center`` [dim] is the teacher's mean content token."""
        return find_kind(self.kind).build(center, dict(self.options))

    def described(self) -> dict[str, Any]:
        """Return everything that decides what it computes, the source of an own class included, for JSON."""
        about: dict[str, Any] = {"kind": self.kind, "weight": self.weight, "options": dict(self.options)}
        if is_plugin(self.kind):
            part = load_plugin(self.kind, "objective")
            about["source"] = inspect.getsource(inspect.getmodule(part) or part)
        return about


def read_term(entry: Any) -> Term:
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or not (kind in KINDS or is_plugin(kind)):
        raise ValueError(
            f"unknown objective kind {kind!r}: choose one of {', '.join(KINDS)}, or a class of your own as "
            "package.module:Class"
        )
    options = {key: value for key, value in entry.items() if key not in ("kind", "weight")}
    find_kind(kind).check(kind, options)
    weight = entry.get("weight", 1.0)
    NOT_NEGATIVE(f"objective '{kind}': weight", weight)
    return Term(kind, float(weight), options)


def find_kind(name: str) -> Kind:
    """Return the kind of that name, or one that builds the class ``package.module:Class``."""
    if name in KINDS:
        return KINDS[name]
    part = load_plugin(name, "objective")
    if not callable(part):
        raise ValueError(f"objective '{name}' is not a class")
    parameters = inspect.signature(part).parameters
    options = {key: _ANYTHING for key, one in parameters.items() if one.kind is not inspect.Parameter.VAR_KEYWORD}
    needed = {key for key, one in parameters.items() if one.default is one.empty and key in options} - {"center"}

    def build(center: Tensor, given: dict[str, Any]) -> Objective:
        objective: Objective = part(**({"center": center} if "center" in parameters else {}) | given)
        return objective

    def conflict(given: Options) -> str | None:
        missing = sorted(needed - given.keys())
        return f"needs the option '{missing[0]}'" if missing else None

    return Kind(build, options, conflict)


_ANYTHING = Check(lambda value: True, "")

# ``true`` and ``false`` are "both" and "none".
CENTERED = one_of("both", "teacher", "none", True, False)
_SOLVER = {"regularization": POSITIVE, "centered": CENTERED, "tolerance": POSITIVE, "max_iterations": COUNT}


def _pooled(objective: Callable[..., Objective]) -> Build:
    return lambda _, options: objective(**options)


def _on_tokens(objective: Callable[..., Objective], default: str) -> Build:
    """Build an objective on tokens, with ``centered`` in that objective's own words; ``default``: of ``centered``."""

    def build(center: Tensor, options: dict[str, Any]) -> Objective:
        centered = options.pop("centered", default)
        return objective(
            **options, center=None if centered in ("none", False) else center, student_centered=centered != "teacher"
        )

    return build


def _contrastive(_: Tensor, options: dict[str, Any]) -> Objective:
    learned = options.pop("learned", False)
    return own.LearnedContrastive(**options) if learned else own.SentenceContrastive(**options)


def _transport_conflict(options: Options) -> str | None:
    method = METHODS[options.get("method", "sinkhorn")]
    if "marginal_penalty" in options and not method.entropic:
        return f"marginal_penalty needs a Sinkhorn method, and method '{options['method']}' keeps the marginals"
    if "regularization" in options and not method.regularized:
        return f"regularization means nothing to method '{options['method']}'"
    if "marginals" in options and options.get("method") == "greedy":
        return "marginals mean nothing to method 'greedy'"
    return None


def _contrastive_conflict(options: Options) -> str | None:
    least, most = own.LEAST_LEARNED, own.LARGEST_LEARNED
    temperature = options.get("temperature", most)
    if options.get("learned") and not least <= temperature <= most:
        return f"a learned temperature starts at {least} to {most}, not at {temperature}"
    return None


KINDS: Mapping[str, Kind] = {
    "transport": Kind(
        _on_tokens(own.TransportObjective, "both"),
        _SOLVER
        | {"marginal_penalty": POSITIVE, "method": one_of(*METHODS)}
        | {"marginals": one_of(*own.MARGINALS), "cost": one_of(*own.COSTS)},
        conflict=_transport_conflict,
        transports=lambda options: options.get("method") != "greedy",
    ),
    "mse": Kind(_pooled(own.SentenceMSE)),
    "cosine": Kind(_pooled(own.SentenceCosine)),
    "contrastive": Kind(_contrastive, {"temperature": POSITIVE, "learned": FLAG}, conflict=_contrastive_conflict),
    "greedy": Kind(_on_tokens(own.GreedyObjective, "none"), {"centered": CENTERED}),
    "barycenter": Kind(_on_tokens(own.BarycenterObjective, "both"), _SOLVER, transports=lambda options: True),
    "relational": Kind(_pooled(own.RelationalObjective), {"temperature": POSITIVE}),
}
