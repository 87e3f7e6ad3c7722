"""``kivuko.attack``: a model measured clean and under attacks, per language."""

from kivuko.evaluation.attack.run import AttackReport, attack

__all__ = ["AttackReport", "attack"]
