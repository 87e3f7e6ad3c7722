"""Attacks on the characters and words of queries, in any language."""

from kivuko.attacks.text.goal import EncodeTexts, TextGoal
from kivuko.attacks.text.gradient import GradientEncoder, gradient_encoder
from kivuko.attacks.text.greedy import greedy_search
from kivuko.attacks.text.hotflip import char_gradient, hotflip
from kivuko.attacks.text.result import AttackedText
from kivuko.attacks.text.universal import Pattern, apply_patterns, universal_edit

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
