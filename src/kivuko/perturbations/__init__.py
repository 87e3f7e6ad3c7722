"""Perturbations of queries and images: edits, attacks, and the runner that measures them."""
