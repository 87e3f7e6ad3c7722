"""Batched, masked optimal transport on torch tensors: costs and marginals in, plans out."""
