"""Attacks on a query and its picture together, with edits that work in any language."""

from kivuko.attacks.joint.co_attack import co_attack
from kivuko.attacks.joint.pairs import AttackedPairs, Pairs, TextSide
from kivuko.attacks.joint.separate import separate
from kivuko.attacks.joint.set_level import set_level

__all__ = ["AttackedPairs", "Pairs", "TextSide", "co_attack", "separate", "set_level"]
