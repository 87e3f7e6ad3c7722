"""Kivuko carries an English image-search model into another language by optimal transport.

Everything public is imported on first use, so that ``import kivuko`` stays cheap.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False

__version__ = "0.1.0.dev1"

_WHERE = {
    "distill": "kivuko.training.distill",
    "load_model": "kivuko.encoders.model",
    "evaluate": "kivuko.evaluation.evaluate",
    "attack": "kivuko.evaluation.attack.run",
    "compare": "kivuko.evaluation.comparison",
    "harden": "kivuko.training.harden",
    "build_index": "kivuko.search.building",
    "Searcher": "kivuko.search.searcher",
    "align": "kivuko.encoders.alignment",
    "solve": "kivuko.transport.solve",
    "read_bitext": "kivuko.bitext.reading",
    "write_report": "kivuko.report.writing",
    "KivukoError": "kivuko.errors",
    # The types that these calls take and return.
    "Alignment": "kivuko.encoders.alignment",
    "AttackReport": "kivuko.evaluation.attack.run",
    "Bitext": "kivuko.bitext.pairs",
    "Comparison": "kivuko.evaluation.comparison",
    "Evaluation": "kivuko.evaluation.evaluate",
    "Hit": "kivuko.search.items",
    "ImageIndex": "kivuko.search.image_index",
    "Model": "kivuko.encoders.model",
    "Pair": "kivuko.bitext.pairs",
    "Plan": "kivuko.transport.problem",
}

__all__ = ["__version__", "losses", *_WHERE]

if TYPE_CHECKING:
    from typing import Any

    from kivuko import losses as losses
    from kivuko.bitext.pairs import Bitext, Pair
    from kivuko.bitext.reading import read_bitext
    from kivuko.encoders.alignment import Alignment, align
    from kivuko.encoders.model import Model, load_model
    from kivuko.errors import KivukoError
    from kivuko.evaluation.attack.run import AttackReport, attack
    from kivuko.evaluation.comparison import Comparison, compare
    from kivuko.evaluation.evaluate import Evaluation, evaluate
    from kivuko.report.writing import write_report
    from kivuko.search.building import build_index
    from kivuko.search.image_index import ImageIndex
    from kivuko.search.items import Hit
    from kivuko.search.searcher import Searcher
    from kivuko.training.distill import distill as distill
    from kivuko.training.harden import harden as harden
    from kivuko.transport.problem import Plan
    from kivuko.transport.solve import solve


def __getattr__(name: str) -> Any:
    if name == "losses":
        return importlib.import_module("kivuko.losses")
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'kivuko' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
