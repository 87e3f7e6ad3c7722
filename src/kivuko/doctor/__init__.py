"""Examination of a model: faults of the model, its tokenizer and its index, each with a remedy."""
