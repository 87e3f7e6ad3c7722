"""The measures, by name: a thin table over ``ir_measures``, which computes all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kivuko.errors import UsageError

MEASURES = ("R@1", "R@5", "R@10", "MAP", "MRR", "nDCG@10")
"""What is reported unless another list is asked for. All lie in [0, 1]; higher is better."""

MOST = 1_000_000
"""The largest cutoff; trec_eval ends the whole process on some numbers out of range, and grades are far below it."""

# The field writes MAP and MRR for the means; ir_measures names the value of one query, AP and RR.
_FIELD_NAMES = {"MAP": "AP", "MRR": "RR"}


def parse_measures(names: Sequence[str]) -> dict[str, Any]:
    """Turn names into ``ir_measures`` measures, keeping the order and the names given.

    ``MAP`` is the mean of AP over the full ranking, ``MRR`` the mean of RR. Any other name is
    ``ir_measures``' own (``nDCG@10``, ``P@5``, ``Success@1``). ``R@k`` is recall, the share of a query's
    relevant documents among the first k; where queries have several relevant documents, "at least one
    among the first k", which some image-text papers also write R@k, is ``Success@k``.

    Raises:
        UsageError: no name, a name twice, one that ``ir_measures`` or its pytrec_eval provider lacks, or a cutoff or a
            level of relevance (``P(rel=2)@5``) that is not 1 to ``MOST``.
    """
    import ir_measures

    if not names:
        raise UsageError(f"no measure named; name at least one, such as {', '.join(MEASURES)}")
    measures: dict[str, Any] = {}
    for name in names:
        try:
            measure = ir_measures.parse_measure(_FIELD_NAMES.get(name, name))
            supported = ir_measures.pytrec_eval.supports(measure)
        except (NameError, ValueError, AssertionError) as problem:  # the last where a cutoff is missing or 1.5
            raise UsageError(f"measure {name!r} is unknown; known are {', '.join(MEASURES)}") from problem
        for key, what in (("cutoff", "cutoff"), ("rel", "level of relevance")):
            value = measure.params.get(key, 1)
            if type(value) is not int or not 1 <= value <= MOST:
                raise UsageError(f"measure {name!r}: {what} {value}; give a whole number from 1 to {MOST:,}")
        if not supported:
            raise UsageError(f"measure {name!r} is not computed by pytrec_eval; use {', '.join(MEASURES)}")
        if measure in measures.values():
            raise UsageError(f"measure {name!r} is named twice; name it once")
        measures[name] = measure
    return measures
