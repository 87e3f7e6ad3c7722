"""What every benchmark's page is made of: parts with a line between them, and Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def page(title: str, finished: bool, parts: Iterable[str]) -> str:
    """Return a Markdown page; empty parts are left out, and a run that is not finished says so at the top."""
    told = "" if finished else "**This run is not finished.**"
    return "\n\n".join(part for part in (f"# {title}", told, *parts) if part) + "\n"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, first column to the left."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
