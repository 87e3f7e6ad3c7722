"""Attacks on the pixels of images: noise and gradients, inside a radius or at a severity."""
