"""Search in a student's own space: as it is, and with each language's mean difference taken away."""

from __future__ import annotations

import numpy as np
import pytest

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.errors import DataError
from kivuko.training.own_space import OwnSpace, shifted
from kivuko.vectors import unit_rows

ENGLISH = {"cat": [1.0, 0.0, 0.0], "dog": [0.9, 0.436, 0.0], "bird": [0.9, -0.436, 0.0]}
AWAY = np.array([0.0, 0.3, 0.0])  # where the other language lies


def encode(texts):
    return np.array([unit_rows(np.array([ENGLISH[t.removeprefix("x-")]], np.float32))[0] + AWAY * t.startswith("x-")
                     for t in texts], np.float32)  # fmt: skip


def ranks(space):
    scores = space.queries([f"x-{one}" for one in ENGLISH], "sw") @ space.documents([*ENGLISH]).T
    return (scores >= scores.diagonal()[:, None]).sum(1).tolist()


def test_a_shift_finds_what_the_offset_of_a_language_hides():
    pairs = Bitext(tuple(Pair("sw", f"x-{one}", one, "test") for one in ENGLISH))
    assert ranks(OwnSpace(encode)) == [2, 1, 2]
    space = shifted(encode, pairs)
    assert ranks(space) == [1, 1, 1]
    expected = (unit_rows(encode([f"x-{one}" for one in ENGLISH])) - unit_rows(encode([*ENGLISH]))).mean(0)
    np.testing.assert_allclose(space.shifts["sw"], expected, atol=1e-6)
    np.testing.assert_allclose(space.queries(["x-cat"], "so"), OwnSpace(encode).queries(["x-cat"], "so"))


def test_a_shift_needs_pairs():
    with pytest.raises(DataError, match="no pairs to take the mean difference of"):
        shifted(encode, Bitext(()))
