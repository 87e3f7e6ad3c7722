"""The page: findings laid out as one self-contained HTML document."""

from __future__ import annotations

from collections.abc import Sequence

from kivuko.evaluation import Header, PerQueryScores, Record
from kivuko.report.low_resource.comparisons import RULE
from kivuko.report.low_resource.figures import gap_figure, map_figures, parity_figures
from kivuko.report.low_resource.findings import DEFINITIONS, Findings, examine, limits, protocol_facts, recipes_told
from kivuko.report.low_resource.tables import language_table, recipe_tables, significance_table, subset_table
from kivuko.report.rendering import Table, render, setting_label


def low_resource_page(header: Header, records: Sequence[Record], per_query: Sequence[PerQueryScores]) -> str:
    """Return the page about a low-resource study; the same records give the same bytes.

    Args:
        header, records, per_query: as ``read_records`` and ``read_per_query`` return them.

    Raises:
        DataError: there is nothing to report, or two records contradict each other.
        MissingDependencyError: matplotlib is not installed.
    """
    return render_page(examine(header, records, per_query))


def render_page(findings: Findings) -> str:
    """Lay out what was found.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    recipes = recipes_told(findings)
    return render(
        "low_resource.html.j2",
        findings=findings,
        header=findings.study.header,
        rule=RULE,
        headline=setting_label(findings.headline),
        maps=map_figures(findings),
        parities=parity_figures(findings),
        gap=gap_figure(findings),
        significance=significance_table(findings.family) if findings.family.tests else None,
        recipe_tables=recipe_tables(findings),
        subsets=subset_table(findings),
        languages=language_table(findings),
        facts=protocol_facts(findings),
        recipes=recipes,
        recipes_are_a_table=isinstance(recipes, Table),
        definitions=DEFINITIONS,
        limits=limits(findings),
    )
