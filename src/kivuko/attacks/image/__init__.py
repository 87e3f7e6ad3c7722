"""Attacks on the pixels of images: noise and gradients, inside a radius or at a severity."""

from kivuko.attacks.image.apgd import apgd
from kivuko.attacks.image.goal import Away, ImageGoal, ImageToText, TextToImage, broken
from kivuko.attacks.image.pgd import fgsm, pgd
from kivuko.attacks.image.pixel_tower import PixelTower
from kivuko.attacks.image.result import AttackedImages
from kivuko.attacks.image.square import square
from kivuko.attacks.image.standard import standard, standard_curve
from kivuko.attacks.image.threat import Threat
from kivuko.attacks.image.universal import apply_universal, universal

__all__ = [
    "AttackedImages",
    "Away",
    "ImageGoal",
    "ImageToText",
    "PixelTower",
    "TextToImage",
    "Threat",
    "apgd",
    "apply_universal",
    "broken",
    "fgsm",
    "pgd",
    "square",
    "standard",
    "standard_curve",
    "universal",
]
