"""Data sets: image-caption collections and the embedded emoji world."""
