"""What commands print: lines, tables and JSON on standard output, warnings on standard error; rich is imported late."""

import json
import shlex
import sys
from typing import Any

import click


def show(*parts: Any) -> None:
    """Print lines, which are not cut, and tables."""
    from rich.text import Text

    from kivuko.progress import out

    for part in parts:
        out.print(part, soft_wrap=isinstance(part, str | Text))


def warn(text: str) -> None:
    from kivuko.progress import console

    console.print(text, soft_wrap=True)


def show_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def terminal_width() -> int:
    """Return the columns that tables may take: at least 80, also in a pipe or a file."""
    from kivuko.progress import out

    return max(80, out.width)


def typed_command() -> str:
    """Return the command line of this process, for records."""
    return shlex.join(["kivuko", *sys.argv[1:]])
