"""Attacks on queries, in any language."""
