"""Findings of an examination, and what is examined: a model, and sentences of each language."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from kivuko.bitext.pairs import Pair
from kivuko.bitext.reading import open_source
from kivuko.datasets.emoji.sources import find_cldr, read_annotations
from kivuko.datasets.emoji.world import has_skin_tone
from kivuko.encoders.model import About
from kivuko.encoders.teacher import TextTeacher
from kivuko.errors import DataError
from kivuko.text import clean_text

Level = Literal["ok", "note", "warning", "fault"]
MOST = 2_000  # pairs read of a bitext: enough to judge, and the file may hold millions
LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "fault")  # from good to bad


@dataclass(frozen=True)
class Finding:
    """One result of a check."""

    level: Level  # "warning": results will probably suffer; "fault": results are worth nothing
    check: str
    what: str  # the result, one line
    do: str = ""  # the remedy, one line; empty where there is nothing to do
    language: str | None = None  # None: the model as a whole
    figures: Mapping[str, float] = field(default_factory=dict)


def worst_level(findings: Iterable[Finding]) -> Level:
    """Return the worst level; "ok" without findings."""
    return max((one.level for one in findings), key=LEVELS.index, default="ok")


@dataclass(frozen=True, eq=False)
class Examined:
    """A loaded model, its training and its teacher, as far as they are known."""

    folder: Path
    encoder: Any  # a ``SentenceTransformer`` on the CPU, in float32
    about: About | None
    teacher: TextTeacher | None = None

    @property
    def trained(self) -> tuple[str, ...]:
        return self.about.languages if self.about else ()


def names_of(model: Any, *also: str) -> str:
    """Return all names of a model, lower case, by which its family (E5, SigLIP) is recognized."""
    first = model[0].sub_modules if hasattr(model[0], "sub_modules") else {"": [model[0]]}
    configs = [getattr(getattr(route[0], "model", None), "config", None) for route in first.values()]
    # Of a path only its last part: a family's name further up is that of a user or a project.
    names = [called(Path(str(getattr(config, "_name_or_path", "")))) for config in configs if config is not None]
    return json.dumps([*also, *names]).lower()


def called(folder: Path) -> str:
    """Return the name of a model's folder; of one in the hub's cache, the model's id with -- in it."""
    return folder.parent.parent.name if folder.parent.name == "snapshots" else folder.name


@dataclass(frozen=True)
class Sentences:
    """Sentences of one language with their English translations; those equal to it are left out."""

    language: str
    pairs: tuple[Pair, ...]
    origin: str  # their file, or a description, for messages

    def texts(self) -> list[str]:
        """Return the sentences that are not English, each once, in order."""
        return list(dict.fromkeys(pair.text for pair in self.pairs))

    def some(self, most: int) -> tuple[Pair, ...]:
        """Return at most ``most`` pairs of different English sentences, evenly spread over all."""
        distinct = tuple({pair.english.casefold(): pair for pair in reversed(self.pairs)}.values())[::-1]
        if len(distinct) <= most:
            return distinct
        return tuple(distinct[place * len(distinct) // most] for place in range(most))


def emoji_sentences(language: str, cldr: Path | None = None) -> Sentences:
    """Return the names of emoji in a language and in English (Unicode CLDR)."""
    folder = find_cldr(cldr)
    own, english = read_annotations(folder, language), read_annotations(folder, "en")
    pairs = [
        Pair(language, own[sequence].name, english[sequence].name, f"emoji:{sequence}")
        for sequence in own
        if sequence in english and not has_skin_tone(sequence)  # whose names say the same, and a tone
    ]
    return _kept(language, pairs, "emoji names")


def bitext_sentences(language: str, spec: str) -> Sentences:
    """Return the first usable pairs of a bitext, at most ``MOST``."""
    source = open_source(spec, language)
    usable = (
        Pair(source.language, text, english, source.place(one.number))
        for one in source
        if one.reason is None and (text := clean_text(one.text or "")) and (english := clean_text(one.english or ""))
    )
    sentences = _kept(source.language, list(islice(usable, MOST)), str(spec))
    if not sentences.pairs:
        raise DataError(f"{spec}: no sentence that differs from its English one among the first. Check the columns.")
    return sentences


def _kept(language: str, pairs: Sequence[Pair], origin: str) -> Sentences:
    return Sentences(language, tuple(one for one in pairs if one.text.casefold() != one.english.casefold()), origin)
