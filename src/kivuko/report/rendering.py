"""Templates of the pages: every value is escaped, and a value that a template lacks is an error."""

from __future__ import annotations

from typing import Any

import jinja2

from kivuko.report.low_resource.wording import tied


def render(template: str, **values: Any) -> str:
    """Return a page as text that UTF-8 can hold: JSON can hold halves of surrogate pairs, UTF-8 cannot.

    Args:
        template: a file in ``templates/``.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kivuko.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["tied"] = tied
    return environment.get_template(template).render(**values).encode("utf-8", "replace").decode()
