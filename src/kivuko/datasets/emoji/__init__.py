"""The emoji world: images with names in over a hundred languages, from the system's font and CLDR."""
