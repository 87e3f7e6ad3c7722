"""The protocol of the transport benchmark in words: what ran where, what was timed, how each contender was set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.transport_contenders import MAX_ITERATIONS, contenders
from benchmarks.transport_inputs import KINDS
from benchmarks.transport_measure import KEY_ROUNDS, ROUNDS, SLOW


def protocol(results: dict[str, Any]) -> Iterable[str]:
    """Say what ran where, what was timed, and how each contender was set, its handicaps included."""
    machine = results["machine"]
    yield "## Protocol"
    yield (
        f"{machine['processor']}; {machine['cores']} cores usable, {machine['torch_threads']} threads, "
        f"OMP_WAIT_POLICY {machine['omp_wait_policy']}; "
        f"{machine['memory_gib']} GiB; {machine['system']}; Python {machine['python']}; "
        + ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
        + f". Run on {results['date']}."
    )
    yield "\n".join(f"- {line}" for line in _rules(results))
    yield "\n".join(f"- {one.label}: {one.how}" for one in contenders() if one.label not in results["absent"])
    if results["absent"]:
        yield "Left out: " + "; ".join(f"{label} ({reason})" for label, reason in results["absent"].items()) + "."


def _rules(results: dict[str, Any]) -> Iterable[str]:
    yield (
        f"Float32 on the CPU. All solve the same entropic problem, uniform marginals, to an L1 marginal error of "
        f"{results['tolerance']:g} in every problem of the batch; the error shown is the worst, taken again in float64 "
        f"from the plan returned, 2 % above the tolerance let pass as rounding. At most {MAX_ITERATIONS} iterations."
    )
    yield (
        "Timed: from cost matrices in memory, in the contender's own arrays, to the complete plans in its own arrays. "
        "Not timed: conversion, compiling, the choice of a setting, the first call."
    )
    yield (
        f"The contenders run in turn within a round, each round starting with another, after a pause in which threads "
        f"go to sleep; {KEY_ROUNDS} rounds at the key cells, {ROUNDS} elsewhere, 1 where a call takes over {SLOW:g} s. "
        "Short calls are repeated and averaged. A ratio is the median of the ratios within rounds."
    )
    yield (
        f"A contender whose call is predicted to take over {results['budget']:g} s is left out of a cell (over "
        f"{results['key_budget']:g} s: of a key cell). The "
        "prediction is scaled in proportion from a smaller batch, so it errs in favor of those that wait for the "
        "hardest problem."
    )
    yield "Costs: " + "; ".join(f"**{kind}**: {meaning}" for kind, meaning in KINDS.items()) + "."
    yield (
        "Token vectors are all-MiniLM-L6-v2's of the emoji world's English training text, content tokens only, run "
        "together; rows are a stretch of that text, columns the stretch that follows. Ragged sizes are the subwords of "
        "a Swahili text (fresh vocabulary) by the tokens of its English."
    )
    yield (
        "What favors us: every problem of ours stops by itself, while POT, GeomLoss and OTT under vmap go on until "
        "the hardest of the batch is done (OTT under lax.map stops each by itself, too). Kivuko accelerates its "
        "iteration and OTT does so only where momentum is named. In ragged batches ours takes masks and the peers get "
        "padding with zero mass, which all of them survive; POT is tried with a call per exact shape as well, OTT is "
        "not, as it would compile anew for every shape. OTT's momentum leaves the rows inexact, which its own "
        "threshold does not see: it is marked where that breaks the tolerance."
    )
    yield (
        "What favors the peers: their settings were chosen with the answer known, cell by cell; compiling is free; "
        "OTT returns nothing but the plan; ours checks its input in every call and returns cost, value, entropy and "
        "error of each problem as well."
    )
