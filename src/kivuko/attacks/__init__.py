"""Perturbations of texts and images with explicit budgets, and what they do to a search."""
