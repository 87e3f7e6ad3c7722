"""Objectives of distillation, for recipes and, as losses, for ``sentence_transformers.SentenceTransformerTrainer``."""

from kivuko.losses.objectives import (
    BarycenterObjective,
    GreedyObjective,
    LearnedContrastive,
    Objective,
    ObjectiveValue,
    RelationalObjective,
    SentenceContrastive,
    SentenceCosine,
    SentenceMSE,
    TransportObjective,
)
from kivuko.losses.trainer_losses import (
    BarycenterLoss,
    ContrastiveLoss,
    CosineLoss,
    DistillationLoss,
    GreedyLoss,
    MSELoss,
    RelationalLoss,
    TransportLoss,
)

__all__ = [
    "BarycenterLoss",
    "BarycenterObjective",
    "ContrastiveLoss",
    "CosineLoss",
    "DistillationLoss",
    "GreedyLoss",
    "GreedyObjective",
    "LearnedContrastive",
    "MSELoss",
    "Objective",
    "ObjectiveValue",
    "RelationalLoss",
    "RelationalObjective",
    "SentenceContrastive",
    "SentenceCosine",
    "SentenceMSE",
    "TransportLoss",
    "TransportObjective",
]
