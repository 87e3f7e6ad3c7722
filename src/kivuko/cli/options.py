"""Options that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kivuko.errors import UsageError
from kivuko.languages import DEFAULT_LANGUAGES

if TYPE_CHECKING:
    from kivuko.studies.low_resource.grid import Grid, Size


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
    """Accept ``-l sw -l so``, ``-l sw,so`` and ``-l "sw so"`` alike; check and normalize the codes."""
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


_LISTS = ("-r", "--recipe", "--sizes")  # options that take several values; the command has no arguments of its own


class Listed(SpacedValues):
    """Also takes ``--sizes 100 300 all`` and ``--recipe mse optical``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click; says the option's name again before each further value."""
        spelled, current = list[str](), ""
        for position, word in enumerate(args):
            if word.startswith("-"):
                current = word if word in _LISTS else ""
            elif current and args[position - 1] != current:
                spelled.append(current)
            spelled.append(word)
        return super().parse_args(ctx, spelled)


def study_options(records: str, quick: str, larger: str) -> Callable[[Command], Command]:
    """Add the options that studies share. ``records``: the default file; ``quick``, ``larger``: what these do."""
    options = (
        click.option(
            "-r", "--recipe", "recipes", multiple=True, metavar="NAME|FILE",
            help="Recipes' names or files; several.  [default: a set with and without transport]",
        ),
        click.option(
            "--sizes", multiple=True, metavar="N|all",
            help="Sentence pairs per language; several.  [default: the grid's]",
        ),
        click.option("--seeds", type=click.IntRange(1, 100), help="Number of seeds.  [default: 5]"),
        click.option("--steps", type=click.IntRange(min=1), help="Steps of every recipe.  [default: by size]"),
        click.option(
            "--workers", type=click.IntRange(1, 256), help="Processes, one core each.  [default: the number of cores]"
        ),
        click.option(
            "--translator", metavar="NAME|FOLDER",
            help="A translation model for translate-test, in place of those trained on the bitext.",
        ),
        click.option("--no-translation", is_flag=True, help="Leave out translate-test."),
        click.option("--quick", is_flag=True, help=quick),
        click.option("--larger", is_flag=True, help=larger),
        click.option(
            "--records", type=click.Path(path_type=Path), default=Path(records), show_default=True,
            help="JSON Lines file.",
        ),
    )  # fmt: skip

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def grid_changes(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Return what the options put in the place of a grid's own sizes, seeds, steps, languages and translator."""
    named: dict[str, Any] = {"translator": options["translator"]}
    if options["steps"]:
        named["steps"] = options["steps"]
    if options["seeds"]:
        named["seeds"] = tuple(range(options["seeds"]))
    if options["sizes"]:
        named["sizes"] = read_sizes(options["sizes"])
    if ctx.get_parameter_source("languages") != click.core.ParameterSource.DEFAULT:
        named["languages"] = options["languages"]
    if options["no_translation"]:
        named["translation"] = None
    return named


def check_options(options: dict[str, Any]) -> None:
    """Refuse options of a study that contradict each other, and a translator's folder that is not there."""
    from kivuko.errors import UsageError

    translator = options["translator"]
    if options["quick"] and options["larger"]:
        raise UsageError("--quick and --larger contradict each other: choose one.")
    if translator and options["no_translation"]:
        raise UsageError("--translator and --no-translation contradict each other: choose one.")
    if translator is not None and translator.startswith((".", "~", "/")) and not Path(translator).expanduser().is_dir():
        raise UsageError(f"{translator}: no such model folder. Name a folder or a translation model on the hub.")


def check_languages(grid: Grid) -> None:
    """Refuse a study without a low-resource language."""
    from kivuko.errors import UsageError
    from kivuko.languages import resource_groups

    if not resource_groups(grid.languages)["low-resource"]:
        raise UsageError("none of the languages is a low-resource one: add one, for example --languages sw so.")


def read_sizes(given: Sequence[str]) -> tuple[Size, ...]:
    """Read ``100 300 all``, also with commas.

    Raises:
        UsageError: something that is neither a number nor "all".
    """
    from kivuko.errors import UsageError

    words = [word for one in given for word in one.replace(",", " ").split()]
    for word in words:
        if word != "all" and not (word.isdecimal() and len(word) <= 18 and int(word) > 0):
            raise UsageError(f"--sizes {word[:40]}: give a number of pairs per language, at least 1, or 'all'.")
    return tuple(dict.fromkeys(None if word == "all" else int(word) for word in words))


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
