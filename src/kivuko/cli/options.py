"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from kivuko.errors import UsageError
from kivuko.languages import DEFAULT_LANGUAGES

Command = TypeVar("Command", bound=Callable[..., Any])


# What may follow an option of several values without the option's name said again.
_FOLLOWS = {
    option: re.compile(pattern)
    for options, pattern in (
        (("-l", "--languages"), r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*"),
        (("-b", "--bitext"), r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*=.+"),
    )
    for option in options
}


class SpacedValues(click.Command):
    """A command whose list options also take ``--languages sw so mr``, which click by itself does not."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click; says the option's name again before each further value."""
        spelled, current = [], ""
        for position, word in enumerate(args):
            before = args[position - 1] if position else ""
            if current and before != current and not _FOLLOWS[current].fullmatch(word):
                current = ""
            if word in _FOLLOWS:
                current = word
            elif current and before != current:
                spelled.append(current)
            spelled.append(word)
        return super().parse_args(ctx, spelled)


SEED = click.IntRange(0, 2**63 - 1)  # what torch takes


class Share(click.FloatRange):
    """A range of floats that holds no NaN, which ``FloatRange`` lets pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See click."""
        number = float(super().convert(value, param, ctx))
        if number != number:
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


def split_codes(values: tuple[str, ...]) -> tuple[str, ...]:
    """Accept ``-l sw -l so``, ``-l sw,so`` and ``-l "sw so"`` alike; check and normalise the codes."""
    from kivuko.languages import language

    codes = tuple(dict.fromkeys(language(code).code for value in values for code in value.replace(",", " ").split()))
    if not codes:
        raise UsageError("--languages names none: give codes such as sw so.")
    if "en" in codes:
        raise UsageError("--languages en: English is the teacher's own and always there; name the other languages.")
    return codes


def languages_option(command: Command) -> Command:
    """Add ``--languages``; the default is the project's seven."""
    return click.option(
        "-l", "--languages", "languages", multiple=True, default=DEFAULT_LANGUAGES, metavar="CODES",
        callback=lambda _ctx, _param, values: split_codes(values),
        help="Language codes, such as sw so.  [default: " + ",".join(DEFAULT_LANGUAGES) + "]",
    )(command)  # fmt: skip


def sources_options(command: Command) -> Command:
    """Add ``--cldr`` and ``--font``: where the emoji world comes from if not from the system's folders."""
    command = click.option(
        "--font",
        type=click.Path(path_type=Path),
        help="NotoColorEmoji.ttf, if it is not in the system's folder.",
    )(command)
    return click.option(
        "--cldr",
        type=click.Path(path_type=Path),
        help="Folder that holds CLDR's annotations/, if not the system's.",
    )(command)
