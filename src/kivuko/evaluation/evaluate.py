"""Evaluate a model on a data set: one call, one result."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table

from kivuko.datasets.emoji.phrases import PhraseSet
from kivuko.datasets.sentences import Sentences
from kivuko.datasets.spec import EMOJI, open_dataset, records_stem
from kivuko.errors import KivukoError, ModelError, UsageError, check_number, check_path, check_type
from kivuko.evaluation.measures import write_run
from kivuko.evaluation.records import Header, PerQueryScores, Record, data_frame, read_results, save_results
from kivuko.evaluation.tables import (
    WIDTH,
    evaluation_tables,
    no_better_line,
    phrases_line,
    plain_text,
    unseen_words_line,
)
from kivuko.files import cache_folder, refuse_unwritable, write_text
from kivuko.languages import read_codes
from kivuko.progress import bars, late_task, note
from kivuko.text import pluralize

if TYPE_CHECKING:
    from kivuko.encoders.model import Model


@dataclass(eq=False)
class Evaluation:
    """The result of an evaluation: records, and the per-query scores that they summarize.

    Printing it prints :meth:`summary`.

    Attributes:
        records: one number with its 95 % interval each; see :class:`~kivuko.evaluation.Record`.
        header: the protocol, versions, seeds and command.
        per_query: each measure query by query, for paired tests; see :func:`kivuko.compare`.
        notes: what a reader of the figures must know, one line each.
        path: the records file, if one was written or read.
        runs: (objective, language) to TREC run, of a text collection.
    """

    records: list[Record]
    header: Header
    per_query: list[PerQueryScores] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    path: Path | None = None
    runs: Mapping[tuple[str, str], Mapping[str, Mapping[str, float]]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | str) -> Evaluation:
        """Read a records file and the per-query scores beside it, if they are there.

        Raises:
            DataError, CorruptFileError: see :func:`~kivuko.evaluation.read_records`.
        """
        return cls(*read_results(path), path=Path(path))

    def save(self, path: Path | str) -> Path:
        """Write the records, the per-query scores and the TREC runs beside them; return the records' path.

        Files of an earlier run with other results are not replaced: they are renamed, and a note says so.

        Raises:
            KivukoError: the disk is full or the place cannot be written; the message names it.
        """
        path = Path(path)
        save_results(path, self.header, self.records, self.per_query)
        for objective, code in self.runs:
            run = self.runs[objective, code]
            write_run(self._run_path(path, objective, code), run, f"kivuko-{objective}-{code}")
        self.path = path
        return path

    def run_paths(self) -> list[Path]:
        """Return the TREC run files that :meth:`save` wrote."""
        return [self._run_path(self.path, *key) for key in self.runs] if self.path is not None else []

    def to_pandas(self) -> Any:
        """Return the records as a ``pandas.DataFrame``, a row for each.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        return data_frame([vars(record) for record in self.records])

    def tables(self, width: int = WIDTH) -> list[Table]:
        """Return Rich tables, one per data set and subset of queries, each at most ``width`` columns wide."""
        images = self.header.protocol.get("images")
        searched = pluralize(images["number"], "image") if isinstance(images, Mapping) else ""
        return evaluation_tables(self.records, width, searched)

    def summary(self, width: int = WIDTH) -> str:
        """Return the tables and notes as plain text."""
        return plain_text([*self.tables(width), *self.lines()], width)

    def lines(self) -> list[str]:
        """Return the lines below the tables of :meth:`summary`."""
        own = [one for one in dict.fromkeys(r.objective for r in self.records) if one not in ("teacher", "untrained")]
        explained = (unseen_words_line(self.records), phrases_line(self.records))
        lines = [*explained, *(no_better_line(self.records, objective) for objective in own)]
        return [*(line for line in lines if line), *(f"note: {line}" for line in self.notes)]

    def __str__(self) -> str:
        return self.summary()

    @staticmethod
    def _run_path(path: Path, objective: str, code: str) -> Path:
        return path.with_name(f"{path.stem}.{code}.{'-'.join(objective.split())}.run")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keywords of ``evaluate`` that say how a data set is opened and a model loaded; UsageError for a wrong one."""

    languages: tuple[str, ...] | None
    split: str
    captions: str
    skip_missing: bool
    alone: bool
    ignore_identical_ids: bool = False
    batch_size: int | None
    workers: int | None
    device: str | None
    cldr: Path | None
    font: Path | None

    def __post_init__(self) -> None:
        check_type("split", self.split, str, "the name of a split, such as 'test'")
        if self.captions not in ("every", "first"):
            raise UsageError(f"captions is {self.captions!r}; give 'every' or 'first'.")
        for name in ("skip_missing", "alone", "ignore_identical_ids"):
            check_type(name, getattr(self, name), bool, "True or False")
        for name in ("batch_size", "workers"):
            check_number(name, getattr(self, name), least=1, whole=True, optional=True)

    def load_with_images(self, model: Any) -> Model:
        from kivuko.encoders.model import load_model

        loaded = load_model(model, device=self.device)
        if not loaded.has_images:
            raise ModelError(
                f"{loaded.path or loaded.name}: encodes text only, so it cannot search images. Distill it with an "
                "image tower."
            )
        return loaded

    def grouped(self, model: Model | None, codes: tuple[str, ...]) -> tuple[str, ...]:
        """Return the languages of group means: the requested ones, or the model's own."""
        if self.languages is not None or model is None or not model.languages:
            return codes
        return tuple(code for code in codes if code in model.languages)


def evaluate(
    model: Model | Path | str,
    dataset: Any = "emoji",
    *,
    languages: Sequence[str] | None = None,
    split: str = "test",
    captions: Literal["every", "first"] = "every",
    skip_missing: bool = False,
    alone: bool = False,
    ignore_identical_ids: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    records: Path | str | Literal[False] | None = None,
    progress: bool | None = None,
    cldr: Path | None = None,
    font: Path | None = None,
    command: str | None = None,
) -> Evaluation:
    """Measure how well a model retrieves, per language, beside a ceiling and a floor.

    The ceiling is the English teacher on English queries; the teacher is also given the queries of each language as
    they are. The floor is the same model with random weights on its text side.

    Args:
        model: a model, its folder, or its id.
        dataset: "emoji"; "emoji:phrases" for everyday phrases with every emoji that is right for each; an image-caption
            set, such as "xm3600:data/xm3600" or "captions:photos.tsv,photos"; a text collection,
            "trec:FOLDER" or "ir:ID"; a set of sentences, "tico19:PATH", "flores:PATH" or "tatoeba:PATH";
            "package.module:Class" for a data set of your own; or a data set itself, open or with the methods
            of :class:`~kivuko.datasets.own.OwnDataset`.
        languages: codes of the queries' languages. None: those that the model was trained on and the data set has;
            all of the data set's where the model does not say. Means over low- and high-resource languages hold the
            languages that are named here or, by default, the model's own.
        split: "test" or "validation".
        captions: "every" caption of an image is a query, or the "first" alone: figures differ, and papers use either.
        skip_missing: leave out images that are missing or broken, and count them.
        alone: measure the model alone, without the teacher and random weights.
        ignore_identical_ids: leave out, of each query of a text collection, the document that has the query's id, as
            where queries are documents themselves (ArguAna, Quora). It is neither searched nor judged.
        batch_size: texts that are encoded together. None: 256, or 64 with a model's own prompts.
        workers: processes that decode images. None: one for each core, at most 8.
        device: such as "cpu" or "cuda:0". None: the fastest there is.
        records: the file to write records to. None: in the folder "evaluation" of the model's own folder, named after
            the data set, split and protocol (nothing is written for a model without a folder); False: nowhere.
        progress: show progress and notes; None: on a terminal.
        cldr, font: folder of CLDR's annotations and NotoColorEmoji.ttf, for "emoji"; None: the system's.
        command: the command that the header of the records names. None: this call.

    Returns:
        The result; on the emoji test split the figures are also written into the model's card.

    Raises:
        UsageError: an unknown data set, split or language, or one that the data set lacks.
        ModelError: the model does not load, or encodes text only and the data set holds images.
        DataError: the data set is missing, malformed or empty.
        KivukoError: the records cannot be written.

    >>> import kivuko
    >>> result = kivuko.evaluate("my-model", "captions:photos.tsv", progress=False)
    >>> print(result.records[0].measure, result.records[0].language, result.records[0].queries)
    R@1 sw 3
    >>> print(result)
    contrastive: captions/every-caption/text-to-image, all; 3 images ...
    """
    options = Options(
        languages=read_codes(languages), split=split, captions=captions, skip_missing=skip_missing, alone=alone,
        ignore_identical_ids=ignore_identical_ids, batch_size=batch_size, workers=workers, device=device, cldr=cldr,
        font=font,
    )  # fmt: skip
    opened, place = prepare(model, dataset, options, records)
    from kivuko.evaluation.collection import open_collection
    from kivuko.evaluation.evaluator import measure_systems, standard_systems
    from kivuko.evaluation.image_tasks import open_captions, open_emoji, open_phrases

    begin: Any = (
        open_emoji if is_emoji(opened)
        else open_phrases if isinstance(opened, PhraseSet)
        else open_captions if is_caption_set(opened)
        else open_collection
    )  # fmt: skip
    with bars(progress) as display:
        loaded, codes, task = begin(model, opened, options, partial(late_task, display))
        systems = task.encoders.systems if hasattr(task, "encoders") else standard_systems(loaded, options)
        measured, per_query = measure_systems(
            task, systems, codes, options.grouped(loaded, codes), partial(late_task, display)
        )
        seeds = sorted({system.about.seed for system in systems if system.about is not None})
        header = Header(command=command or call_text("evaluate", dataset), protocol=task.protocol(codes), seeds=seeds)
        result = Evaluation(measured, header, per_query, notes=task.notes(), runs=getattr(task, "runs", {}))
        if place is not None:
            result.save(place)
    if is_emoji(opened) and split == "test" and not alone and place is not None:
        _update_card(loaded, result)
    return result


def prepare(
    model: Any, dataset: Any, options: Options, records: Path | str | Literal[False] | None, prefix: str = ""
) -> tuple[Any, Path | None]:
    """Check what needs no model; return the data set (None: emoji, read later), and the records' place."""
    if not isinstance(model, str | Path) and not hasattr(model, "source"):
        check_path("model", model, "a Model, a folder or an id")
    opened = None
    if dataset != EMOJI:
        opened = open_dataset(dataset, split=options.split, languages=options.languages or ())
    if options.ignore_identical_ids and (is_emoji(opened) or isinstance(opened, PhraseSet) or is_caption_set(opened)):
        raise UsageError("ignore_identical_ids: for text collections, whose documents have ids as queries have.")
    if is_emoji(opened) and options.split not in ("validation", "test"):
        raise UsageError(f"emoji has no split {options.split!r}; it has validation, test")
    if isinstance(opened, PhraseSet):
        opened.check(options.languages or ())
    if opened is None or isinstance(opened, PhraseSet):  # whose images are read later
        from kivuko.datasets.emoji.sources import annotation_files, find_cldr, find_font

        folder, _ = find_cldr(options.cldr), find_font(options.font)
        for code in (options.languages or ()) if opened is None else ():
            annotation_files(folder, code)
        if not (cache := cache_folder() / "emoji").is_dir():
            refuse_unwritable(cache / "world")
    if records is False:
        return opened, None
    source = str(model if isinstance(model, str | Path) else model.source)
    place: Path | None = check_path("records", records, optional=True)
    if place is None and source and Path(source).is_dir():  # not a model of the hub
        place = Path(source) / "evaluation" / f"{prefix}{file_name(dataset, opened, options)}.jsonl"
    if place is not None:
        refuse_unwritable(place)
    return opened, place


def is_caption_set(opened: Any) -> bool:
    return hasattr(opened, "captions") and hasattr(opened, "images")


def is_emoji(opened: Any) -> bool:
    """Return True for the emoji; None stands for them before they are read."""
    return opened is None or hasattr(opened, "annotations")


def file_name(dataset: Any, opened: Any, options: Options) -> str:
    """Return the stem of the default records file: the data set, and what else makes figures incomparable."""
    if is_emoji(opened):
        return f"emoji-{options.split}"
    name = records_stem(dataset, opened.name) if isinstance(dataset, str) else opened.name
    if is_caption_set(opened):
        name = f"{name}-{opened.split.replace('/', '-')}-{options.captions}-caption"
    elif isinstance(opened, Sentences):
        name = f"{name}-{opened.split}"
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "collection"


def _update_card(model: Model, result: Evaluation) -> None:
    from kivuko.encoders.learning_curve import CURVE_IMAGE
    from kivuko.encoders.model_card import model_card
    from kivuko.training.recipe import load_recipe
    from kivuko.training.recipes import shipped_recipes

    about = model.about
    if model.path is None or about is None:
        return
    description = load_recipe(about.recipe).description if about.recipe in shipped_recipes() else ""
    has_curve = (model.path / CURVE_IMAGE).is_file()
    try:
        write_text(model.path / "README.md", model_card(about, result.records, description, has_curve=has_curve))
    except KivukoError as problem:
        note(f"note: the figures are not in the model's card: {problem}")


def call_text(function: str, dataset: Any, *others: Any) -> str:
    """Return a call for the header of records."""
    name = dataset if isinstance(dataset, str) else getattr(dataset, "name", "")
    return f"kivuko.{function}(..., {', '.join(map(repr, (name, *others)))})"
