"""Distillation: objectives, recipes, and the training loop."""
