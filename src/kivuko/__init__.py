"""Kivuko carries an English image-search model into another language by optimal transport.

Everything public is imported on first use, so that ``import kivuko`` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

_WHERE = {
    "KivukoError": "kivuko.errors",
    "read_bitext": "kivuko.bitext",
    "Bitext": "kivuko.bitext",
    "Pair": "kivuko.bitext",
    "hold_out": "kivuko.bitext",
    "emoji_world": "kivuko.datasets.emoji",
    "shipped_image_tower": "kivuko.datasets.emoji",
    "load_teacher": "kivuko.encoders.teacher",
    "load_image_tower": "kivuko.encoders.image_tower",
    "Alignment": "kivuko.encoders.alignment",
    "align": "kivuko.encoders.alignment",
    "Model": "kivuko.encoders.model",
    "load_model": "kivuko.encoders.model",
    "TokenBatch": "kivuko.encoders.token_batch",
    "solve": "kivuko.transport",
    "Plan": "kivuko.transport",
    "load_recipe": "kivuko.training.recipe",
    "distill": "kivuko.training.distill",
    "harden": "kivuko.training.harden",
    "Searcher": "kivuko.search",
    "build_index": "kivuko.search",
    "read_records": "kivuko.evaluation",
    "evaluate": "kivuko.evaluation.evaluate",
    "Evaluation": "kivuko.evaluation.evaluate",
    "compare": "kivuko.evaluation.comparison",
    "Comparison": "kivuko.evaluation.comparison",
    "attack": "kivuko.evaluation.attack",
    "AttackReport": "kivuko.evaluation.attack",
    "write_report": "kivuko.report.writing",
}

__all__ = ["__version__", "losses", *_WHERE]

if TYPE_CHECKING:
    from kivuko import losses as losses
    from kivuko.bitext import Bitext, Pair, hold_out, read_bitext
    from kivuko.datasets.emoji import emoji_world, shipped_image_tower
    from kivuko.encoders.alignment import Alignment, align
    from kivuko.encoders.image_tower import load_image_tower
    from kivuko.encoders.model import Model, load_model
    from kivuko.encoders.teacher import load_teacher
    from kivuko.encoders.token_batch import TokenBatch
    from kivuko.errors import KivukoError
    from kivuko.evaluation import read_records
    from kivuko.evaluation.attack import AttackReport, attack
    from kivuko.evaluation.comparison import Comparison, compare
    from kivuko.evaluation.evaluate import Evaluation, evaluate
    from kivuko.report.writing import write_report
    from kivuko.search import Searcher, build_index
    from kivuko.training.distill import distill as distill
    from kivuko.training.harden import harden as harden
    from kivuko.training.recipe import load_recipe
    from kivuko.transport import Plan, solve


def __getattr__(name: str) -> Any:
    if name == "losses":
        return importlib.import_module("kivuko.losses")
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'kivuko' has no attribute '{name}'")
