"""Parallel text: reading it, cleaning it, taking samples of it."""
