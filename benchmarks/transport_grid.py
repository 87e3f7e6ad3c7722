"""Which problems the transport benchmark solves: the cells of a quick, a normal and a full run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

BATCHES = (16, 64, 256, 1024, 4096)
SIZES = ((8, 8), (16, 16), (32, 64), (64, 64), (128, 128))
REGULARIZATIONS = (0.1, 0.05, 0.02, 0.01)
KEY_BATCH, KEY_SIZE, KEY_REGULARIZATIONS = 256, (32, 64), (0.05, 0.02)
GROWTH_REGULARIZATION = 0.05


@dataclass(frozen=True)
class Cell:
    """One batch of problems at one regularization. For the "ragged" kind, n and m are 0: the text decides."""

    kind: str
    batch: int
    n: int
    m: int
    regularization: float

    @property
    def key(self) -> bool:
        """Whether it is one of those that the answer is read from, and so measured more often."""
        return (
            self.kind in ("centered", "random")
            and (self.batch, (self.n, self.m)) == (KEY_BATCH, KEY_SIZE)
            and self.regularization in KEY_REGULARIZATIONS
        )

    @property
    def size(self) -> str:
        return f"{self.n}x{self.m}" if self.n else "ragged"

    def record(self) -> dict[str, Any]:
        """Return the cell as the fields of a record."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.kind} {self.batch} of {self.size} at {self.regularization:g}"


@dataclass(frozen=True)
class Extent:
    """How much a run measures.

    ``budget``: how many seconds one call of a contender may be predicted to take; above, it is left out of the cell.
    ``key_budget``: likewise at the key cells. ``memory``: the cells at which peak memory is measured.
    """

    cells: tuple[Cell, ...]
    budget: float
    key_budget: float
    memory: tuple[Cell, ...]

    def allows(self, cell: Cell) -> float:
        """Return the budget of a cell."""
        return self.key_budget if cell.key else self.budget


def extent(name: str) -> Extent:
    """Return the extent of that name: "quick" (under two minutes), "normal" (about fifteen) or "full" (hours)."""
    key = Cell("centered", KEY_BATCH, *KEY_SIZE, 0.1)
    large = Cell("centered", 1024, 128, 128, 0.1)
    if name == "quick":
        return Extent(_in_order(_quick()), 0.5, 1.0, ())
    if name == "normal":
        return Extent(_in_order(_normal()), 1.5, 20.0, (key, large))
    return Extent(_in_order([*_normal(), *_everything()]), 20.0, 60.0, (key, large))


def _quick() -> Iterator[Cell]:
    for kind in ("centered", "random"):
        for regularization in KEY_REGULARIZATIONS:
            yield Cell(kind, KEY_BATCH, *KEY_SIZE, regularization)
    yield Cell("centered", 16, 8, 8, 0.05)
    yield Cell("ragged", KEY_BATCH, 0, 0, 0.05)


def _normal() -> Iterator[Cell]:
    """Yield the rows and columns of the grid that cross at the key cell, its corners, and the other kinds."""
    for regularization in REGULARIZATIONS:
        for kind in ("centered", "cosine", "random"):
            yield Cell(kind, KEY_BATCH, *KEY_SIZE, regularization)
        for batch in (KEY_BATCH, 4096):
            yield Cell("ragged", batch, 0, 0, regularization)
    for regularization in KEY_REGULARIZATIONS:
        for batch in BATCHES:
            yield Cell("centered", batch, *KEY_SIZE, regularization)
        for size in SIZES:
            yield Cell("centered", KEY_BATCH, *size, regularization)
    for batch, size in itertools.product((16, 4096), ((8, 8), (128, 128))):
        yield Cell("centered", batch, *size, GROWTH_REGULARIZATION)
    for size in SIZES:
        yield Cell("random", KEY_BATCH, *size, GROWTH_REGULARIZATION)


def _everything() -> Iterator[Cell]:
    for batch, size, regularization in itertools.product(BATCHES, SIZES, REGULARIZATIONS):
        yield Cell("centered", batch, *size, regularization)
        yield Cell("ragged", batch, 0, 0, regularization)


def _in_order(cells: Any) -> tuple[Cell, ...]:
    """Put the key cells first, then small batches before large ones, so that predictions have a basis."""
    return tuple(
        sorted(set(cells), key=lambda c: (not c.key, c.batch, c.n * c.m, c.kind, -c.regularization))
    )  # fmt: skip
