"""Attacks on the pixels of images: noise and gradients, inside a radius or at a severity."""

from kivuko.perturbations.image.apgd import apgd
from kivuko.perturbations.image.goal import AttackedImages, ImageGoal, ImageToText, TextToImage, broken
from kivuko.perturbations.image.pgd import fgsm, pgd
from kivuko.perturbations.image.pixel_tower import PixelTower
from kivuko.perturbations.image.square import square
from kivuko.perturbations.image.standard import standard
from kivuko.perturbations.image.threat import Threat
from kivuko.perturbations.image.universal import apply_universal, universal

__all__ = [
    "AttackedImages",
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
    "universal",
]
