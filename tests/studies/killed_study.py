"""A tiny study; as a script, one that is killed when its first run is on disk: python killed_study.py CLDR RECORDS."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


class Watch:
    """Notes nothing; kills the process after the first run if requested."""

    def __init__(self, deadly: bool = False) -> None:
        self.deadly = deadly

    def planned(self, finished, waiting, workers) -> None:
        """Nothing to note."""

    def began(self, run) -> None:
        """Nothing to note."""

    def ended(self, run, seconds) -> None:
        """Die, if that is requested."""
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    def ticked(self) -> None:
        """Nothing to note."""


MSE = '[[objective]]\nkind = "mse"\n'
OPTICAL = '[[objective]]\nkind = "contrastive"\n[[objective]]\nkind = "transport"\nregularization = 0.1\n'


def tiny_recipes():
    """One recipe without transport and one with it, both from random first weights."""
    from kivuko.training.recipe import parse_recipe

    return parse_recipe(MSE, "mse", "mse.toml"), parse_recipe(OPTICAL, "optical", "optical.toml")


def tiny_grid(**changes):
    """Two recipes, one size, two seeds, a few steps."""
    from kivuko.studies.grid import Grid

    few = {
        "recipes": tiny_recipes(), "sizes": (8,), "seeds": (0, 1),
        "languages": ("sw", "mr"), "steps": 2, "translation": None, "lexical": False,
    }  # fmt: skip
    return Grid(**(few | changes))


def tiny_bench(cldr: Path):
    """The inputs of the tests' tiny world, from its CLDR folder."""
    from kivuko.datasets.emoji import world as splits
    from kivuko.datasets.emoji.world import emoji_world
    from kivuko.encoders.teacher import load_teacher
    from kivuko.studies.data import EmojiData
    from kivuko.studies.inputs import study_inputs

    splits.TEST_CONCEPTS, splits.VALIDATION_CONCEPTS = 8, 6
    return study_inputs(EmojiData(emoji_world(["sw", "mr"], cldr=cldr), ("sw", "mr")), load_teacher())


def main() -> None:
    """See the module."""
    from kivuko.studies.engine import Place, perform_study
    from kivuko.studies.low_resource import LOW_RESOURCE

    inputs, place = tiny_bench(Path(sys.argv[1])), Place(Path(sys.argv[2]))
    perform_study(LOW_RESOURCE, tiny_grid(), inputs, place, command="tiny", workers=1, watch=Watch(deadly=True))


if __name__ == "__main__":
    main()
