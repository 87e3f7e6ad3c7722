"""Which fields of named records, as in Parquet and JSON lines, hold the two sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kivuko.bitext.columns import columns_in_header, named_columns
from kivuko.errors import DataError, UsageError

TRANSLATION = "translation"  # OPUS on the Hugging Face hub: {"translation": {"en": ..., "sw": ...}}

Path = tuple[str, ...]  # the names that lead to a field


class Sides(NamedTuple):
    """The names that lead to the two sides: of a column, or of a struct and a field in it."""

    text: Path
    english: Path


def sides_of(
    fields: Mapping[str, Sequence[str]],
    language: str,
    columns: tuple[int, int] | tuple[str, str] | None,
    place: str,
) -> Sides:
    """Find the sides among the fields of a record.

    Args:
        fields: name -> the names of the fields in it, none where it is no struct; in the order of the record.
        language: normalised BCP 47 code.
        columns: two positions from 1, or two names; ``translation.sw`` is the field ``sw`` in ``translation``.
        place: for messages.

    Raises:
        DataError: the record lacks them; the message lists what it has.
    """
    paths = _paths(fields)
    if columns is None:
        return _found(fields, language, place)
    text, english = columns
    if isinstance(text, str) and isinstance(english, str):
        where = named_columns(list(paths), (text, english), place)
        return Sides(list(paths.values())[where.text], list(paths.values())[where.english])
    if isinstance(text, str) or isinstance(english, str):
        raise UsageError(f"columns {columns!r}: give two positions or two headings")
    names = list(fields)
    if max(text, english) > len(names):
        raise DataError(f"{place}: there are {len(names)} columns, not {max(text, english)}: {_listed(names)}")
    return Sides((names[text - 1],), (names[english - 1],))


def _found(fields: Mapping[str, Sequence[str]], language: str, place: str) -> Sides:
    names = list(fields)
    if where := columns_in_header(names, language, place):
        return Sides((names[where.text],), (names[where.english],))
    for name in (*(name for name in names if name.casefold() == TRANSLATION), *names):
        inner = list(fields[name])
        if inner and (where := columns_in_header(inner, language, f"{place}: {name}")):
            return Sides((name, inner[where.text]), (name, inner[where.english]))
    raise DataError(
        f"{place}: no columns for {language} and en, but: {_listed(list(_paths(fields)))}; name two of them as columns"
    )


def _paths(fields: Mapping[str, Sequence[str]]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for name, inner in fields.items():
        for path in ((name, one) for one in inner) if inner else [(name,)]:
            paths.setdefault(".".join(path), path)
    return paths


def _listed(names: Sequence[str]) -> str:
    listed = ", ".join(name.strip()[:40] for name in names[:10])
    return (listed + (", ..." if len(names) > 10 else "")) or "none"
