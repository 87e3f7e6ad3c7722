"""Queries in two scripts and a student under which each finds its own image, for the tests of text attacks."""

from __future__ import annotations

import torch

from kivuko.encoders.student import StaticStudent
from kivuko.encoders.vocabulary import train_vocabulary

TEXTS = [
    "paka mweusi", "mbwa mdogo", "samaki mkubwa", "ndege mwekundu", "gari la zimamoto", "nyumba kubwa", "हसरा चेहरा",
    "लाल हृदय",
]  # fmt: skip
LANGUAGES = ["sw"] * 6 + ["mr"] * 2


def small_student() -> StaticStudent:
    """A static student with random vectors over a vocabulary of these texts."""
    torch.manual_seed(0)
    return StaticStudent(train_vocabulary(TEXTS, 120), 16).eval()
