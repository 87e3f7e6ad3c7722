"""Relevance judgements: which documents answer which query."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kivuko.errors import DataError

Qrels = Mapping[str, Collection[str]]
"""Query id to the ids of its relevant documents: binary relevance, one or more per query."""


def relevant_of(query: str, qrels: Qrels) -> Collection[str]:
    """Return the relevant documents of a query; DataError if it has none."""
    relevant = qrels.get(query, ())
    if isinstance(relevant, str):
        raise DataError(f"query {query!r}: its relevant documents are one string; give a set of document ids")
    if not relevant:
        raise DataError(f"query {query!r} has no relevant document in the qrels; add one or drop the query")
    return relevant


def relevance_matrix(
    query_ids: Sequence[str], columns: Mapping[str, int], qrels: Qrels
) -> NDArray[np.bool_]:  # [queries, documents]
    """Mark the relevant documents of each query among the gallery's columns.

    A relevant document outside the gallery counts as never found (recall and AP divide by all relevant
    documents), but a query with none inside could only score zero: it is an error, not a zero.

    Args:
        query_ids: the rows.
        columns: document id to its column, covering 0 .. documents - 1.
        qrels: the judgements; queries beyond ``query_ids`` are ignored.

    Returns:
        bool [queries, documents], at least one True per row.

    Raises:
        DataError: a query has no relevant document in the gallery.
    """
    matrix = np.zeros((len(query_ids), len(columns)), dtype=np.bool_)
    for row, query in enumerate(query_ids):
        inside = [columns[document] for document in relevant_of(query, qrels) if document in columns]
        if not inside:
            raise DataError(
                f"query {query!r}: none of its relevant documents is in the gallery of {len(columns)}; "
                "add them to the gallery or drop the query"
            )
        matrix[row, inside] = True
    return matrix
