"""The results of the benchmark of image attacks as a page: first the answer, then the tables and the protocol."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.image_attacks_protocol import protocol
from benchmarks.image_attacks_setting import HARDENED
from benchmarks.page import page, table

Row = dict[str, Any]
OURS, THEIRS = "kivuko", "art"
MOST_ABOVE = 0.01  # robust accuracy that ours may leave above theirs
_QUIET = 0.05  # share of the cores' time that others may take
_NAMES = {"apgd-ce": "APGD, cross entropy", "apgd-dlr": "APGD, DLR", "square": "Square"}


@dataclass(frozen=True)
class Ratio:
    """Median, least and most over rounds of how much more ours does in a second."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"**{self.median:.2f}** ({self.least:.2f}-{self.most:.2f})"


def report(results: dict[str, Any]) -> str:
    """Return the Markdown page of a run, finished or not."""
    parts = [
        *_warning([*results["strength"], *results["speed"]]),
        *_answer(results),
        *_strength_table(results["strength"]),
        *_speed_table(results["speed"]),
        *protocol(results),
    ]
    return page("Attacks on images: Kivuko and the Adversarial Robustness Toolbox", results["finished"], parts)


def _warning(rows: Sequence[Row]) -> Iterable[str]:
    shares = [row["others"] for row in rows if row["others"] is not None and "part" in row]
    if shares and statistics.median(shares) > _QUIET:
        yield (
            f"**Not a quiet machine:** while single attacks were timed, other processes took "
            f"{statistics.median(shares):.0%} of the cores' time in the median cell. Ratios of processor time stand; "
            "do not quote seconds."
        )


def excesses(rows: Sequence[Row]) -> dict[tuple[str, int], tuple[float, float]]:
    """Return by tower and radius how far ours is above theirs, 8-bit and as returned; negative: ours is stronger."""
    found = {(row["contender"], row["setting"], row["radius"]): row for row in rows}
    return {
        (setting, radius): (ours["rounded"] - theirs["rounded"], ours["rounded"] - theirs["raw"])
        for (who, setting, radius), ours in found.items()
        if who == OURS and (theirs := found.get((THEIRS, setting, radius))) is not None
    }


def ratios(rows: Sequence[Row], part: str, of: str = "tries", by: str = "processor") -> Ratio | None:
    """Return how many times as much of ``of`` ours does in a second as theirs, from rounds that both took part in."""
    rates = {(row["contender"], row["round"]): row[of] / row[by] for row in rows if row["part"] == part}
    pairs = [rate / rates[THEIRS, number] for (who, number), rate in rates.items()
             if who == OURS and (THEIRS, number) in rates]  # fmt: skip
    return Ratio(statistics.median(pairs), min(pairs), max(pairs)) if pairs else None


def _answer(results: dict[str, Any]) -> Iterable[str]:
    """Say whether ours is as strong and as fast."""
    above = excesses(results["strength"])
    if above:
        within = sum(max(pair) <= MOST_ABOVE + 1e-9 for pair in above.values())
        worst = max(max(pair) for pair in above.values())
        least = min(min(pair) for pair in above.values())
        yield (
            f"**Strength.** Robust accuracy that our ensemble leaves is no more than 1 point above what ART's leaves "
            f"in **{within} of {len(above)}** cells (tower by radius), the latter before and after rounding to 8 bits: "
            f"{100 * worst:+.0f} points at worst for us, {100 * least:+.0f} at best."
        )
    found = {part: ratios(results["speed"], part) for part in _NAMES}
    if any(found.values()):
        yield "**Speed.** Times as much work in a second of processor time as ART: " + "; ".join(
            f"{_NAMES[part]} {ratio}" for part, ratio in found.items() if ratio
        ) + "."  # fmt: skip


def _strength_table(rows: Sequence[Row]) -> Iterable[str]:
    """Show both ensembles by tower and radius."""
    if not rows:
        return
    yield "## Strength: robust accuracy after the ensembles, %"
    found = {(row["setting"], row["radius"], row["contender"]): row for row in rows}
    keys = sorted({(row["setting"] == HARDENED, row["setting"], row["radius"]) for row in rows})
    body = []
    for _, setting, radius in keys:
        ours, theirs = (found.get((setting, radius, who)) for who in (OURS, THEIRS))
        clean = (ours or theirs or {})["clean"]
        body.append([
            f"{setting}, {radius}/255", _percent(clean),
            "" if ours is None else _percent(ours["rounded"]),
            "" if theirs is None else _percent(theirs["raw"]), "" if theirs is None else _percent(theirs["rounded"]),
            "" if ours is None or theirs is None else _only(ours, theirs),
            "" if ours is None else _cost(ours), "" if theirs is None else _cost(theirs),
        ])  # fmt: skip
    head = ["tower, radius", "clean", "Kivuko, 8-bit", "ART, as returned", "ART, 8-bit",
            "fooled by Kivuko only / ART only", "Kivuko: forward, backward, s", "ART: same"]  # fmt: skip
    yield table(head, body)


def _speed_table(rows: Sequence[Row]) -> Iterable[str]:
    """Show each single attack: rates of both, their ratio, and how strong it was at this budget."""
    if not rows:
        return
    yield "## Speed: single attacks in turn, at the same steps, restarts and queries"
    head = ["attack", "contender", "images/s", "tries/s", "tower passes/s", "passes a try", "robust, %",
            "ratio, processor time", "ratio, wall clock"]  # fmt: skip
    body = []
    for part, label in dict.fromkeys((row["part"], row["label"]) for row in rows):
        here = [row for row in rows if (row["part"], row["label"]) == (part, label)]
        tries, passes = _sum(here, "tries"), _sum(here, "forward")
        own = here[0]["contender"] == OURS
        body.append([
            _NAMES[part], label, f"{_rate(here, 'images'):.1f}", f"{_rate(here, 'tries'):.0f}",
            f"{_rate(here, 'forward'):.0f}", f"{passes / tries:.2f}",
            _percent(statistics.mean(row["rounded"] for row in here)),
            str(ratios(rows, part) or "") if own else "", str(ratios(rows, part, by="seconds") or "") if own else "",
        ])  # fmt: skip
    yield table(head, body)
    yield (
        "A try is one step of one image, or one square. Rates are per second of processor time, medians of the "
        "rounds; ratios are those of tries, median (least-most) over rounds."
    )


def _only(ours: Row, theirs: Row) -> str:
    pairs = list(zip(ours["standing"], theirs["standing"], strict=True))
    return f"{pairs.count(('0', '1'))} / {pairs.count(('1', '0'))}"


def _cost(row: Row) -> str:
    return f"{row['forward']:,}, {row['backward']:,}, {row['seconds']:.0f}"


def _sum(rows: Sequence[Row], what: str) -> float:
    return float(sum(row[what] for row in rows))


def _rate(rows: Sequence[Row], what: str) -> float:
    return float(statistics.median(row[what] / row["processor"] for row in rows))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
