"""``kivuko.attack``: a model measured clean and under attacks, per language."""
