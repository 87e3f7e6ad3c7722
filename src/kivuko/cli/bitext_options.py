"""Options of ``kivuko bitext check`` and ``kivuko bitext clean``, and what they ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kivuko.cli.options import Decorated, Several
from kivuko.errors import UsageError

if TYPE_CHECKING:
    from kivuko.bitext.pairs import PairSource, RawPair
    from kivuko.bitext.rules import Rules


@dataclass(frozen=True)
class Asked:
    """What the options ask for."""

    spec: str
    language: str
    format: str | None
    columns: str | None
    keep_copied: bool
    language_id: str | None
    no_language_id: bool
    script: tuple[str, ...]
    max_length_ratio: float
    max_translations: int
    expected_pairs: int
    first: int | None
    against: tuple[str, ...]


def bitext_options(command: Decorated) -> Decorated:
    """Add what names the bitext, the rules, and the captions to be looked for; they come as one ``Asked``."""
    options = [
        click.argument("spec"),
        click.option("-l", "--language", required=True, metavar="CODE", help="The language that is not English."),
        click.option("--format", metavar="FORMAT", help="tsv, moses, tmx, parquet or jsonl.  [default: by the file]"),
        click.option(
            "--columns", metavar="A,B",
            help="Columns of the language and of English: positions from 1, or headings.  [default: told by the file]",
        ),
        click.option("--keep-copied", is_flag=True, help="Keep pairs whose sides are the same."),
        click.option(
            "--language-id", type=click.Choice(["fast", "full"]),
            help="Ask lingua about every sentence, or only where known words do not tell.  [default: fast]",
        ),
        click.option("--no-language-id", is_flag=True, help="Do not identify languages."),
        click.option(
            "--script", multiple=True, metavar="CODE",
            help="ISO 15924 code, if the language is not written in its usual script.",
        ),
        click.option(
            "--max-length-ratio", type=click.FloatRange(min=0), default=3.0, show_default=True,
            help="Of the longer side to the shorter; 0: any.",
        ),
        click.option(
            "--max-translations", type=click.IntRange(0, 250), default=20, show_default=True,
            help="Pairs that may share one side; 0: any number.",
        ),
        click.option(
            "--expected-pairs", type=click.IntRange(min=1000), default=10_000_000, show_default=True,
            help="Sizes the memory for duplicates, about 9 bytes a pair.",
        ),
        click.option("--first", type=click.IntRange(min=1), metavar="N", help="Read the first N pairs only."),
        click.option(
            "--against", cls=Several, metavar="CAPTIONS",
            help="Evaluation captions: emoji, a caption set such as xm3600:FOLDER, or a file with a caption a line.",
        ),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def asked(options: dict[str, Any]) -> Asked:
    """Collect the options' values, and take them out of ``options``.

    Raises:
        UsageError: options that contradict each other, or no language beside English.
    """
    found = Asked(**{one.name: options.pop(one.name) for one in fields(Asked)})
    found = replace(found, language=other_language(found.language))
    if found.no_language_id and found.language_id:
        raise UsageError(f"--no-language-id and --language-id {found.language_id} contradict each other")
    return found


def other_language(code: str) -> str:
    """Return the normalized code of a language that is not English.

    Raises:
        UsageError: unknown, or English.
    """
    from kivuko.languages import language

    found = language(code).code
    if found.partition("-")[0] == "en":
        raise UsageError(f"{code}: English is the other side; name the language that is not English")
    return found


def open_bitext(wanted: Asked) -> PairSource:
    """Open the bitext that was asked for, or its first pairs.

    Raises:
        KivukoError: as ``kivuko.bitext.open_source``.
    """
    from kivuko.bitext import open_source

    source = open_source(wanted.spec, wanted.language, format=wanted.format, columns=parse_columns(wanted.columns))
    return source if wanted.first is None else _First(source, wanted.first)


def refuse_overwriting(specs: Sequence[str], outputs: Sequence[Path]) -> None:
    """Refuse to write over what is read: the file or files of a SPEC, or a shard in its folder.

    Raises:
        UsageError: an output is such a file, or two outputs are one.
    """
    if len({output.resolve() for output in outputs}) < len(outputs):
        raise UsageError(f"{outputs[-1]}: is named for two outputs; give two files")
    for spec in specs:
        for part in {spec, *spec.split(",")} - {"", "-"}:
            place = Path(part).resolve()
            for output in (output for output in outputs if output.exists()):
                written = output.resolve()
                of_a_pair = not place.exists() and written.parent == place.parent
                if (
                    written == place
                    or place in written.parents
                    or (of_a_pair and written.name.startswith(f"{place.name}."))
                ):
                    raise UsageError(f"{output}: is what is read; give another file to write to")


def parse_columns(columns: str | None) -> tuple[int, int] | tuple[str, str] | None:
    """Read ``2,1`` as positions and ``sw,en`` as headings.

    Raises:
        UsageError: there are not two of them.
    """
    if columns is None:
        return None
    parts = [part.strip() for part in columns.split(",")]
    if len(parts) != 2 or not all(parts):
        raise UsageError(f"--columns {columns}: give two, such as 2,1 or sw,en")
    if all(part.isascii() and part.isdigit() for part in parts):
        return int(parts[0]), int(parts[1])
    return parts[0], parts[1]


def rules_for(wanted: Asked) -> tuple[Rules, list[str]]:
    """Return the rules that were asked for, and what is to be said about them.

    Languages are not identified where the library for it is missing, unless it was asked for by name.

    Raises:
        UsageError: a value out of range.
    """
    from kivuko.bitext.language_id import missing_library
    from kivuko.bitext.rules import Rules

    said: list[str] = []
    language_id = "off" if wanted.no_language_id else wanted.language_id or "fast"
    if language_id != "off" and wanted.language_id is None and (problem := missing_library()):
        language_id = "off"
        said.append(problem)
    rules = Rules(
        keep_copied=wanted.keep_copied,
        language_id=language_id,  # type: ignore[arg-type]
        scripts=wanted.script,
        max_length_ratio=wanted.max_length_ratio or None,
        max_translations=wanted.max_translations or None,
        expected_pairs=wanted.expected_pairs,
    )
    return rules, said


class _First:
    """The first pairs of a source, as a source."""

    def __init__(self, source: PairSource, pairs: int) -> None:
        self._source, self._pairs = source, pairs
        self.name, self.language, self.format = source.name, source.language, source.format
        self.size: int | None = None  # what a bar would fill up to is not known

    def __iter__(self) -> Iterator[RawPair]:
        return islice(self._source, self._pairs)

    def place(self, number: int) -> str:
        return self._source.place(number)

    def bytes_read(self) -> int:
        return self._source.bytes_read()
