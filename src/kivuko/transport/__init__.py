"""Batched, masked optimal transport on torch tensors: costs and marginals in, plans out."""

from kivuko.transport.alignment import Alignments, TokenLists, align_lists
from kivuko.transport.association import Association, associate
from kivuko.transport.cost import centered_cosine_cost, cosine_cost, squared_euclidean_cost
from kivuko.transport.marginals import idf_marginal, inverse_document_frequency, norm_marginal, normalize, uniform
from kivuko.transport.problem import Plan
from kivuko.transport.sinkhorn import BACKENDS
from kivuko.transport.solve import METHODS, solve

__all__ = [
    "BACKENDS", "METHODS", "Alignments", "Association", "Plan", "TokenLists", "align_lists", "associate",
    "centered_cosine_cost", "cosine_cost",
    "idf_marginal", "inverse_document_frequency", "norm_marginal", "normalize", "solve", "squared_euclidean_cost",
    "uniform",
]  # fmt: skip
