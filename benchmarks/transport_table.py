"""The results of the transport benchmark as a page: first the answer, then how it was come by, then all tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.page import page, table
from benchmarks.transport_contenders import OURS, OURS_TORCH, REFERENCE
from benchmarks.transport_grid import KEY_BATCH, KEY_SIZE
from benchmarks.transport_growth import PANELS, exponent, growth_curves
from benchmarks.transport_inputs import KINDS
from benchmarks.transport_protocol import protocol

Row = dict[str, Any]
_OWN = {OURS.name, OURS_TORCH.name, REFERENCE.name}

_QUIET = 0.05  # share of the cores' time that others may take


def report(results: dict[str, Any], chart: bool) -> str:
    """Return the Markdown page of a run, finished or not."""
    rows = results["rows"]
    parts = [
        *_warning(rows),
        *_answer(rows),
        *_key_table(rows),
        *_slower(rows),
        *_memory_table(results["memory"]),
        *_growth_tables(rows, chart),
        *protocol(results),
        *_full_tables(rows),
    ]
    return page("Batched entropic transport: Kivuko and its peers", results["finished"], parts)


def _warning(rows: Sequence[Row]) -> Iterable[str]:
    """Warn of a machine that others were busy on."""
    shares = [row["others"] for row in rows if row["others"] is not None]
    if shares and statistics.median(shares) > _QUIET:
        yield (
            f"**Not a quiet machine:** in the median cell, other processes took {statistics.median(shares):.0%} of the "
            "cores' time. That hurts most those whose threads wait for one another (torch, so POT, GeomLoss and two of "
            "Kivuko's entries). Do not quote these figures."
        )


def _answer(rows: Sequence[Row]) -> Iterable[str]:
    """Say how Kivuko compares with the fastest peer of each cell that met the tolerance."""
    values = sorted(row["ratio"] for row in _best_peers(rows).values())
    if not values:
        return
    faster = sum(value > 1 for value in values)
    yield (
        f"Against the fastest peer setting of each cell, chosen after the fact among all that met the tolerance there, "
        f"Kivuko is the faster in **{faster} of {len(values)}** cells: {_times(statistics.median(values))} in the "
        f"median cell, from {_times(values[0])} to {_times(values[-1])}."
    )
    lines = []
    for cell in dict.fromkeys(_identity(row) for row in rows if row["key"]):
        here = [row for row in _valid_peers(rows) if _identity(row) == cell]
        fastest: dict[str, Row] = {}
        for row in sorted(here, key=lambda row: row["ratio"]):
            fastest.setdefault(row["label"].split(",")[0], row)
        shown = "; ".join(
            f"{_times(row['ratio'])} ({_times(row['ratio_min'])} to {_times(row['ratio_max'])}) over {row['label']}"
            for row in fastest.values()
        )
        lines.append(
            f"- {cell[0]} costs at {cell[4]:g}, {cell[1]} of {cell[2]}x{cell[3]}: {shown or 'no peer got there'}"
        )
    yield "Each library's fastest setting at the key cells:"
    yield "\n".join(lines)


def _key_table(rows: Sequence[Row]) -> Iterable[str]:
    """Show every contender at the key cells: time, ratio with its range, and the error reached."""
    key = [row for row in rows if row["key"]]
    if not key:
        return
    yield f"## At the key cells: {KEY_BATCH} problems of {KEY_SIZE[0]}x{KEY_SIZE[1]}"
    yield (
        "Median time of a call; times as long as Kivuko took (median of the rounds' ratios, least and most); worst "
        "marginal error. † stopped short of the tolerance, so its time is no answer to the same question."
    )
    cells = list(dict.fromkeys((row["kind"], row["regularization"]) for row in key))
    found = {(row["label"], row["kind"], row["regularization"]): row for row in key}
    body = []
    for label in dict.fromkeys(row["label"] for row in key):
        shown = [_whole(found[label, *cell]) if (label, *cell) in found else "" for cell in cells]
        body.append([label, *shown])
    yield table(["", *(f"{kind}, {regularization:g}" for kind, regularization in cells)], body)


def _slower(rows: Sequence[Row]) -> Iterable[str]:
    """List the cells in which some peer that met the tolerance was faster than Kivuko."""
    yield "## Where Kivuko is slower"
    short = [_cell(row) for row in rows if row["contender"] == OURS.name and (row["within_tolerance"] or 0) < 1]
    if short:
        yield "Short of the tolerance itself, or left out: " + "; ".join(short) + "."
    beaten = [row for row in _valid_peers(rows) if row["ratio"] < 1]
    if not beaten:
        yield "Nowhere in this run."
        return
    body = [
        [_cell(row), row["label"], _time(row["seconds"]), f"{row['ratio']:.2f}"]
        for row in sorted(beaten, key=lambda row: row["ratio"])
    ]
    yield table(["cell", "peer", "its time", "its time / Kivuko's"], body)


def _memory_table(memory: Sequence[Row]) -> Iterable[str]:
    if not memory:
        return
    yield "## Peak memory"
    yield (
        "How far the process's peak rises during one call above what it held just before, with the inputs in place and "
        "after a warm-up, as multiples of the size of the cost tensor. The input is **not** counted, the plan that is "
        "returned is: 1.0 is the least there can be. Each in a fresh process; regularization 0.1."
    )
    cells = list(dict.fromkeys(_cell(row) for row in memory))
    found = {(row["label"], _cell(row)): row["multiple"] for row in memory}
    body = []
    for label in dict.fromkeys(row["label"] for row in memory):
        values = [found.get((label, cell)) for cell in cells]
        body.append([label, *("not known" if value is None else f"{value:.1f}" for value in values)])
    yield table(["", *cells], body)


def _growth_tables(rows: Sequence[Row], chart: bool) -> Iterable[str]:
    if not chart:
        return
    yield "## Growth"
    yield "Centered costs, regularization 0.05; the last column is the exponent between the first and last time shown."
    yield "![Time by batch and by size](transport_growth.svg)"
    for panel, title in PANELS.items():
        curves = growth_curves(rows, panel)
        places = sorted({x for curve in curves.values() for x, _ in curve})
        body = []
        for label, curve in curves.items():
            times = dict(curve)
            shown = [_time(times[place]) if place in times else "-" for place in places]
            body.append([label, *shown, f"{exponent(curve):.2f}"])
        yield f"**{title}**"
        yield table(["", *(f"{place:g}" for place in places), "exponent"], body)


def _full_tables(rows: Sequence[Row]) -> Iterable[str]:
    """Show every cell: all times, with marks, and the fastest peer's ratio."""
    if not rows:
        return
    yield "## All cells"
    yield "Median time of a call. † short of the tolerance; ✗ broke (not a number); > left out, predicted too slow."
    best = _best_peers(rows)
    labels = list(dict.fromkeys(row["label"] for row in rows))
    for kind in KINDS:
        cells = list(dict.fromkeys(_identity(row) for row in rows if row["kind"] == kind))
        found = {(row["label"], _identity(row)): row for row in rows}
        if not cells:
            continue
        body = []
        for cell in sorted(cells, key=lambda cell: (cell[1], cell[2] * cell[3], -cell[4])):
            size = f"{cell[2]}x{cell[3]}" if cell[2] else "ragged"
            shown = [_brief(found.get((label, cell))) for label in labels]
            ratio = f"{best[cell]['ratio']:.1f}" if cell in best else "-"
            body.append([f"{cell[1]} of {size}", f"{cell[4]:g}", *shown, ratio])
        yield f"### {kind.capitalize()} costs"
        yield table(["", "reg.", *labels, "fastest peer / Kivuko"], body)


def _valid_peers(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of peers that met the tolerance in every problem."""
    return [
        row
        for row in rows
        if row["contender"] not in _OWN and row["ratio"] is not None and row["within_tolerance"] == 1.0
    ]


def _best_peers(rows: Sequence[Row]) -> dict[tuple[Any, ...], Row]:
    """Return for each cell the fastest of the peers that met the tolerance."""
    best: dict[tuple[Any, ...], Row] = {}
    for row in _valid_peers(rows):
        held = best.get(_identity(row))
        if held is None or row["ratio"] < held["ratio"]:
            best[_identity(row)] = row
    return best


def _identity(row: Row) -> tuple[Any, ...]:
    return row["kind"], row["batch"], row["n"], row["m"], row["regularization"]


def _cell(row: Row) -> str:
    return f"{row['kind']}, {row['batch']} of {row['size']} at {row['regularization']:g}"


def _whole(row: Row) -> str:
    if row["seconds"] is None:
        return f"> {row['note'].split('> ', 1)[-1]}"
    mark = _mark(row)
    error = "" if row["marginal_error"] is None else f", {row['marginal_error']:.1e}"
    if row["ratio"] is None or row["contender"] == OURS.name:
        return f"{_time(row['seconds'])}{mark}{error}"
    return (
        f"{_time(row['seconds'])}{mark}, **{row['ratio']:.1f}** ({row['ratio_min']:.1f}-{row['ratio_max']:.1f}){error}"
    )


def _brief(row: Row | None) -> str:
    if row is None:
        return ""
    return ">" if row["seconds"] is None else _time(row["seconds"]) + _mark(row)


def _mark(row: Row) -> str:
    return " ✗" if row["marginal_error"] is None else "" if row["within_tolerance"] == 1.0 else " †"


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{1e3 * seconds:.1f} ms" if seconds >= 1e-2 else f"{1e3 * seconds:.2f} ms"


def _times(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio >= 1 else f"{ratio:.2f}x"
