"""One thing that a check found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from kivuko.bitext import Pair, clean_text, open_source
from kivuko.datasets.emoji.sources import find_cldr, read_annotations
from kivuko.datasets.emoji.world import has_skin_tone
from kivuko.encoders.clip import load_clip
from kivuko.encoders.loading import model_kind
from kivuko.encoders.model import About, load_encoder, quiet, read_about
from kivuko.encoders.teacher import TextTeacher, load_teacher
from kivuko.errors import DataError, ModelError, wrap_errors

Level = Literal["ok", "note", "warning", "fault"]
LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "fault")  # from good to bad


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        level: "ok"; "note", good to know; "warning", results will probably suffer; "fault", results are worth nothing.
        check: the check's name.
        what: what was found, one line.
        do: what to do about it, one line; empty where there is nothing to do.
        language: the language it is about; None: about the model.
        figures: the numbers behind it, by name.
    """

    level: Level
    check: str
    what: str
    do: str = ""
    language: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)


def worst_level(findings: Iterable[Finding]) -> Level:
    """Return the worst level there is; "ok" if there is no finding."""
    return max((one.level for one in findings), key=LEVELS.index, default="ok")


@dataclass(frozen=True, eq=False)
class Patient:
    """A loaded model and what is known of it.

    Attributes:
        folder: the model's.
        model: a ``SentenceTransformer`` on the CPU, in float32.
        about: what Kivuko wrote of it; None for a model of others.
        teacher: the English encoder whose space it should share; None where none is known or none loads.
    """

    folder: Path
    model: Any
    about: About | None
    teacher: TextTeacher | None = None

    @property
    def trained(self) -> tuple[str, ...]:
        """The languages that it claims to know; none for a model of others, which does not say."""
        return self.about.languages if self.about else ()


def open_patient(folder: Path) -> Patient:
    """Load a model: a folder of Kivuko's or of sentence-transformers, or an encoder (CLIP too) of ``transformers``.

    Raises:
        ModelError: it does not load.
        CorruptFileError: a file that Kivuko wrote into it is damaged.
    """
    if (folder / "modules.json").is_file():
        return Patient(folder, load_encoder(folder).float(), read_about(folder))
    with quiet():
        if model_kind(str(folder)) == "clip":
            return Patient(folder, _both_sides(folder), None)
        return Patient(folder, load_teacher(folder.absolute()).model.float(), None)


def _both_sides(folder: Path) -> Any:
    """Load a CLIP-like model as a model is laid out: text and images through a router."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    with wrap_errors(lambda reason: ModelError(f"{folder}: does not load as a model ({reason}). Fetch it again.")):
        towers = load_clip(folder, str(folder))
    routes: Any = {"text": list(towers.text.children()), "image": list(towers.image.children())}
    router = Router(routes, default_route="text")
    return SentenceTransformer(modules=[router], device="cpu", similarity_fn_name="cosine").eval()


def require_folder(folder: Path) -> None:
    """Raise ModelError unless there is a folder of a model with one vector a text: nothing else can be examined."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder. 'kivuko demo' and 'kivuko distill' make one.")
    if not any((folder / name).is_file() for name in ("modules.json", "config.json", "kivuko.json")):
        raise ModelError(f"{folder}: not a model folder (no modules.json or config.json). Name the one --out wrote.")
    if model_kind(str(folder)) == "multi-vector":
        raise ModelError(f"{folder}: a late-interaction model; examine the model with one vector a text it came from.")


def names_of(model: Any, *also: str) -> str:
    """Return all that a model is called, in small letters: for telling its family (E5, SigLIP) by its name."""
    first = model[0].sub_modules if hasattr(model[0], "sub_modules") else {"": [model[0]]}
    configs = [getattr(getattr(route[0], "model", None), "config", None) for route in first.values()]
    # Of a path only its last part: a family's name further up is that of a user or a project.
    told = [called(Path(str(getattr(config, "_name_or_path", "")))) for config in configs if config is not None]
    return json.dumps([*also, *told]).lower()


def called(folder: Path) -> str:
    """Return what a model's folder is called; of one in the hub's cache, the model's id with -- in it."""
    return folder.parent.parent.name if folder.parent.name == "snapshots" else folder.name


MOST = 2_000  # pairs read of a bitext: enough to judge, and the file may hold millions


@dataclass(frozen=True)
class Sentences:
    """Sentences of one language with their English translations, those left out that are equal to it.

    ``origin``: what they are, for messages.
    """

    language: str
    pairs: tuple[Pair, ...]
    origin: str

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
    """Return what people call emoji in a language and in English (Unicode CLDR).

    Raises:
        DataError: no CLDR, or the language has no names in it.
    """
    folder = find_cldr(cldr)
    own, english = read_annotations(folder, language), read_annotations(folder, "en")
    pairs = [
        Pair(language, own[sequence].name, english[sequence].name, f"emoji:{sequence}")
        for sequence in own
        if sequence in english and not has_skin_tone(sequence)  # whose names say the same, and a tone
    ]
    return _kept(language, pairs, "emoji names")


def bitext_sentences(language: str, spec: str) -> Sentences:
    """Return the first usable pairs of a bitext, at most ``MOST``.

    Raises:
        DataError: it cannot be read, or holds no usable pair.
        UsageError: unknown language.
    """
    source = open_source(spec, language)
    usable = (
        Pair(source.language, text, english, source.place(one.number))
        for one in source
        if one.reason is None and (text := clean_text(one.text or "")) and (english := clean_text(one.english or ""))
    )
    found = _kept(source.language, list(islice(usable, MOST)), str(spec))
    if not found.pairs:
        raise DataError(f"{spec}: no sentence that differs from its English one among the first. Check the columns.")
    return found


def _kept(language: str, pairs: Sequence[Pair], origin: str) -> Sentences:
    return Sentences(language, tuple(one for one in pairs if one.text.casefold() != one.english.casefold()), origin)
