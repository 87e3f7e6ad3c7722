"""The page: findings laid out as one self-contained HTML document."""

from __future__ import annotations

from collections.abc import Sequence

from kivuko.evaluation import Header, PerQueryScores, Record
from kivuko.evaluation.robustness import AttackedExample
from kivuko.report.rendering import Table, header_facts, render, told_table
from kivuko.report.robustness.comparisons import RULE
from kivuko.report.robustness.figures import PER_ATTACK, curve_figures, image_examples, text_examples
from kivuko.report.robustness.findings import DEFINITIONS, Findings, examine, limits
from kivuko.report.robustness.hardening import text_hardening_table, tower_table
from kivuko.report.robustness.tables import (
    gap_table,
    language_table,
    matched_table,
    robust_table,
    significance_table,
    success_table,
)


def robustness_page(
    header: Header,
    records: Sequence[Record],
    per_query: Sequence[PerQueryScores],
    examples: Sequence[AttackedExample] = (),
) -> str:
    """Return the page about a robustness study; the same records give the same bytes.

    Args:
        header, records, per_query, examples: as ``read_records``, ``read_per_query`` and ``read_examples`` return them.

    Raises:
        DataError: there is nothing to report, or two records contradict each other.
        MissingDependencyError: matplotlib is not installed.
    """
    return render_page(examine(header, records, per_query, examples))


def render_page(findings: Findings) -> str:
    """Lay out what was found.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    header = findings.study.header
    recipes = told_table(header.protocol.get("recipes"), "recipes", ("kind", "transport", "robust", "description"))
    attacks = told_table(header.protocol.get("attacks"), "attacks", ("kind", "description"))
    return render(
        "robustness.html.j2",
        findings=findings,
        header=header,
        rule=RULE,
        curves=curve_figures(findings),
        robust=robust_table(findings),
        success=success_table(findings),
        significance=significance_table(findings.family) if findings.family.tests else None,
        matched=matched_table(findings.family),
        languages=language_table(findings),
        gap=gap_table(findings),
        text_hardening=text_hardening_table(findings),
        tower=tower_table(findings),
        texts=text_examples(findings),
        images=image_examples(findings),
        per_attack=PER_ATTACK,
        facts=header_facts(header, RULE, ("recipes", "attacks")),
        told=[(name, told, isinstance(told, Table)) for name, told in (("recipes", recipes), ("attacks", attacks))],
        definitions=DEFINITIONS,
        limits=limits(findings),
    )
