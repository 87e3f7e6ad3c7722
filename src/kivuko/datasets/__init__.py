"""Data sets: emoji, image-caption sets, text collections, and the user's own; ``spec.open_dataset`` opens them all."""
