"""Benchmarks against peers: same run, same inputs, reported as ratios."""
