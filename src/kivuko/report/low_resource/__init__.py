"""The page about a low-resource study: one self-contained HTML document, a pure function of its records."""

from kivuko.report.low_resource.findings import Findings, examine
from kivuko.report.low_resource.page import low_resource_page, render_page

__all__ = ["Findings", "examine", "low_resource_page", "render_page"]
