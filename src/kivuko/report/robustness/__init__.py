"""The page about a robustness study: one self-contained HTML document, a pure function of its records."""

from kivuko.report.robustness.findings import Findings, examine
from kivuko.report.robustness.page import render_page, robustness_page

__all__ = ["Findings", "examine", "render_page", "robustness_page"]
