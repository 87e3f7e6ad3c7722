"""Edits of text in any script: what may be changed in a query, one edit at a time."""

from kivuko.edits.edit import Edit, Perturbed, apply_edit
from kivuko.edits.graphemes import graphemes
from kivuko.edits.kinds import EDIT_GROUPS, EDIT_KINDS, EditKind, edit_kinds
from kivuko.edits.noise import all_edits, perturb
from kivuko.edits.words import code_switch

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
