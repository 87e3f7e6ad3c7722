"""Edits of text in any script: what may be changed in a query, one edit at a time."""

from kivuko.perturbations.edits import (
    EDIT_GROUPS,
    EDIT_KINDS,
    Edit,
    EditKind,
    Perturbed,
    all_edits,
    apply_edit,
    code_switch,
    edit_kinds,
    perturb,
)
from kivuko.perturbations.graphemes import graphemes

__all__ = [
    "EDIT_GROUPS",
    "EDIT_KINDS",
    "Edit",
    "EditKind",
    "Perturbed",
    "all_edits",
    "apply_edit",
    "code_switch",
    "edit_kinds",
    "graphemes",
    "perturb",
]
