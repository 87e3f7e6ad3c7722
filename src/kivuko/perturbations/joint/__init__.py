"""Attacks on a query and its image together, with edits that work in any language."""

from kivuko.perturbations.joint.pairs import AttackedPairs, Pairs, TextSide, co_attack, separate
from kivuko.perturbations.joint.sga import sga

__all__ = ["AttackedPairs", "Pairs", "TextSide", "co_attack", "separate", "sga"]
