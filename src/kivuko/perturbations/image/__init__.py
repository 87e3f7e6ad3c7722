"""Attacks on the pixels of images."""
