"""Attacks on a query and its image together, with edits that work in any language."""

from kivuko.perturbations.joint.co_attack import Pairs, TextSide, co_attack
from kivuko.perturbations.joint.sga import sga

__all__ = ["Pairs", "TextSide", "co_attack", "sga"]
