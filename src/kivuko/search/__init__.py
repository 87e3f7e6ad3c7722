"""Indexes of images: building them, opening them, and searching them with words or an image."""
