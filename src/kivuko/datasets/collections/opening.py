"""From what a user writes to a collection."""

from __future__ import annotations

from pathlib import Path

from kivuko.datasets.collections.collection import Collection
from kivuko.datasets.collections.ir_dataset import open_ir_dataset
from kivuko.datasets.collections.trec_folder import open_folder
from kivuko.errors import UsageError

KINDS = ("ir:", "trec:")


def is_collection(spec: str) -> bool:
    """Tell whether a dataset's name means a text collection."""
    return spec.startswith(KINDS)


def open_collection(spec: str) -> Collection:
    """Open ``ir:ID`` (a dataset of ir_datasets) or ``trec:FOLDER`` (or ``trec:FOLDER#SPLIT``), see ``open_folder``.

    Raises:
        UsageError: another kind of name, an unknown id or split.
        DataError: the collection is incomplete or cannot be read.
        MissingDependencyError: ir_datasets is needed and not installed.
    """
    kind, colon, rest = spec.partition(":")
    if not colon or not rest or f"{kind}:" not in KINDS:
        raise UsageError(f"{spec}: not a text collection; write ir:ID, such as ir:mmarco/v2/fr/dev, or trec:FOLDER.")
    if kind == "ir":
        return open_ir_dataset(rest)
    folder, _, split = rest.partition("#")
    if split and Path(rest).is_dir():  # a folder with such a sign in its name
        folder, split = rest, ""
    return open_folder(Path(folder).expanduser(), split)
