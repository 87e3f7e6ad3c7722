"""Attacks on the characters and words of queries, in any language."""
