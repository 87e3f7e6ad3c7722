"""The captions of evaluation sets, to look for in training text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kivuko.datasets.captions import CaptionSet
from kivuko.datasets.emoji import EmojiWorld
from kivuko.datasets.spec import EMOJI, is_spec, open_dataset
from kivuko.errors import DataError, at
from kivuko.streams import text_lines

# Under these keys JSON Lines files of captions hold text: a string, a list of strings, or objects that hold some.
_KEYS = ("caption", "captions", "text", "texts", "sentence", "sentences", "query", "raw", "english", "translation")


def evaluation_captions(specs: Sequence[str], language: str) -> Iterator[str]:
    """Yield the captions of a language, and the English ones, of all evaluation sets named.

    A spec is a data set (see ``datasets.spec.SPECS``), of which captions or queries count, or a file: a caption on each
    line (cells between tabs are captions of their own, if they are more than one word), or JSON lines with captions
    under ``caption`` or the like.
    """
    for spec in specs:
        empty = True
        for caption in _captions(spec, language):
            empty = False
            yield caption
        if empty:
            raise DataError(f"{spec}: no caption in it in {language} or in English; check its content")


def _captions(spec: str, language: str) -> Iterable[str]:
    path = Path(spec)
    if spec == EMOJI or (is_spec(spec) and not path.exists()):
        return _of_dataset(spec, language)
    return _json_lines(path) if ".jsonl" in path.suffixes or ".ndjson" in path.suffixes else _lines(path)


def _of_dataset(spec: str, language: str) -> Iterator[str]:
    dataset = open_dataset(spec, languages=(language,))
    if isinstance(dataset, CaptionSet):
        for code in _own(dataset.languages, language):
            yield from dataset.of(code).texts
    elif isinstance(dataset, EmojiWorld):
        for code in (language, "en"):
            yield from (query.text for query in dataset.queries(code, "test"))
    else:
        for code in _own(dataset.query_languages, language):
            yield from dataset.queries(code).values()


def _own(codes: Iterable[str], language: str) -> list[str]:
    """Return English and the codes of a language, whatever its script or country."""
    primary = language.partition("-")[0]
    return [code for code in codes if code == "en" or code.partition("-")[0] == primary]


def _lines(path: Path) -> Iterator[str]:
    for _, line in text_lines(path):
        cells = line.split("\t")
        for cell in cells:
            # Beside a caption, a single word without spaces is the name of an image or a number.
            if cell.strip() and (len(cells) == 1 or " " in cell.strip() or not cell.isascii()):
                yield cell.strip()


def _json_lines(path: Path) -> Iterator[str]:
    for number, line in text_lines(path):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            yield from list(_strings(content, isinstance(content, str)))
        except (ValueError, RecursionError):
            raise DataError(f"{at(path, number)}: is no JSON; give a file with an object on each line") from None


def _strings(content: Any, wanted: bool) -> Iterator[str]:
    """Yield the strings under the keys of captions, at any depth."""
    if isinstance(content, str):
        if wanted and content.strip():
            yield content
    elif isinstance(content, list):
        for one in content:
            yield from _strings(one, wanted)
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _strings(value, wanted or key.casefold() in _KEYS)
