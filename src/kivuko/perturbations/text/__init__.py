"""Attacks on the characters and words of queries, in any language."""

from kivuko.perturbations.text.goal import AttackedText, EncodeTexts, TextGoal
from kivuko.perturbations.text.gradient import GradientEncoder, gradient_encoder
from kivuko.perturbations.text.greedy import greedy_search
from kivuko.perturbations.text.hotflip import char_gradient, hotflip
from kivuko.perturbations.text.universal import Pattern, apply_patterns, universal_edit

__all__ = [
    "AttackedText",
    "EncodeTexts",
    "GradientEncoder",
    "Pattern",
    "TextGoal",
    "apply_patterns",
    "char_gradient",
    "gradient_encoder",
    "greedy_search",
    "hotflip",
    "universal_edit",
]
