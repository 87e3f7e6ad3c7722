"""Evaluate a model on a data set: one call, one result."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kivuko.datasets.spec import EMOJI, open_dataset, records_stem
from kivuko.errors import DataError, ModelError, UsageError
from kivuko.evaluation.measures import write_run
from kivuko.evaluation.records import (
    Header,
    PerQueryScores,
    Record,
    data_frame,
    keep_earlier,
    per_query_path,
    read_per_query,
    read_records,
    write_records,
)
from kivuko.evaluation.tables import WIDTH, evaluation_tables, no_better_line, plain_text, unseen_words_line
from kivuko.files import refuse_unwritable, write_text
from kivuko.languages import DEFAULT_LANGUAGES, language
from kivuko.progress import bars, late_task, note
from kivuko.text import pluralize

if TYPE_CHECKING:
    from rich.table import Table

    from kivuko.datasets.captions.caption_set import CaptionSet
    from kivuko.datasets.collections.collection import Collection
    from kivuko.datasets.emoji.world import EmojiWorld
    from kivuko.encoders.model import Model
    from kivuko.evaluation.collection import CollectionTask
    from kivuko.evaluation.evaluator import Bar, Report
    from kivuko.evaluation.image_tasks import CaptionTask, EmojiTask

_QUECHUA = {"quy", "quz", "qu", "qve", "qvc"}  # of one group, and not of one language


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
        header, records = read_records(path)
        per_query = read_per_query(path) if per_query_path(path).is_file() else []
        return cls(records, header, per_query, path=Path(path))

    def save(self, path: Path | str) -> Path:
        """Write the records, the per-query scores and the TREC runs beside them; return the records' path.

        Files of an earlier run with other results are not replaced: they are renamed, and a note says so.

        Raises:
            KivukoError: the disk is full or the place cannot be written; the message names it.
        """
        path = Path(path)
        refuse_unwritable(path)
        if (kept := keep_earlier(path, self.records)) is not None:
            note(f"note: {path} held the results of another run; they are kept as {kept}.")
        write_records(path, self.header, self.records, self.per_query)
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
        lines = [unseen_words_line(self.records), *(no_better_line(self.records, objective) for objective in own)]
        return [*(line for line in lines if line), *(f"note: {line}" for line in self.notes)]

    def __str__(self) -> str:
        return self.summary()

    @staticmethod
    def _run_path(path: Path, objective: str, code: str) -> Path:
        return path.with_name(f"{path.stem}.{code}.{'-'.join(objective.split())}.run")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keywords of :func:`evaluate` that say how a data set is opened and a model loaded."""

    languages: tuple[str, ...] | None
    split: str
    captions: str
    skip_missing: bool
    alone: bool
    batch_size: int | None
    workers: int | None
    device: str | None
    cldr: Path | None
    font: Path | None


def evaluate(
    model: Model | Path | str,
    dataset: Any = "emoji",
    *,
    languages: Sequence[str] | None = None,
    split: str = "test",
    captions: Literal["every", "first"] = "every",
    skip_missing: bool = False,
    alone: bool = False,
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
        dataset: "emoji"; an image-caption set, such as "xm3600:data/xm3600" or "captions:photos.tsv,photos"; a text
            collection, "trec:FOLDER" or "ir:ID"; "package.module:Class" for a data set of your own; or a data set
            itself, open or with the methods of :class:`~kivuko.datasets.own.OwnDataset`.
        languages: codes of the queries' languages. None: those that the model was trained on and the data set has;
            all of the data set's where the model does not say. Means over low- and high-resource languages hold the
            languages that are named here or, by default, the model's own.
        split: "test" or "validation".
        captions: "every" caption of an image is a query, or the "first" alone: figures differ, and papers use either.
        skip_missing: leave out images that are missing or broken, and count them.
        alone: measure the model alone, without the teacher and random weights.
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
    requested = read_codes(languages)
    opened = open_for(dataset, split, requested, captions)
    place = records_place(model, records, file_name(dataset, opened, split, captions))
    options = Options(
        languages=requested, split=split, captions=captions, skip_missing=skip_missing, alone=alone,
        batch_size=batch_size, workers=workers, device=device, cldr=cldr, font=font,
    )  # fmt: skip
    with bars(progress) as display:

        def bar(text: str) -> Report:
            return late_task(display, text)

        begin = open_emoji if is_emoji(opened) else open_captions if is_caption_set(opened) else open_collection
        loaded, codes, task = begin(model, opened, options, bar)
        result = _measure(task, loaded, codes, options, bar, command or call_text("evaluate", dataset))
        if place is not None:
            result.save(place)
    if is_emoji(opened) and split == "test" and not alone and loaded is not None and place is not None:
        _update_card(loaded, result)
    return result


def _measure(
    task: Any, model: Model | None, codes: tuple[str, ...], options: Options, bar: Bar, command: str
) -> Evaluation:
    from kivuko.evaluation.evaluator import measure_systems, standard_systems

    if hasattr(task, "encoders"):  # of a collection
        systems = task.encoders.systems
    else:
        assert model is not None
        systems = standard_systems(model, alone=options.alone, batch_size=options.batch_size)
    grouped = grouped_languages(model, codes, options.languages)
    records, per_query = measure_systems(task, systems, codes, grouped=grouped, bar=bar)
    seeds = sorted({system.about.seed for system in systems if system.about is not None})
    header = Header(command=command, protocol=task.protocol(codes), seeds=seeds)
    return Evaluation(records, header, per_query, notes=task.notes(), runs=getattr(task, "runs", {}))


def open_for(dataset: Any, split: str, requested: tuple[str, ...] | None, captions: str) -> Any:
    """Check what needs no model, and open a data set; None: the emoji, read when it is known in which languages."""
    if captions not in ("every", "first"):
        raise UsageError(f"captions is {captions!r}; give 'every' or 'first'.")
    opened = None if dataset == EMOJI else open_dataset(dataset, split=split, languages=requested or ())
    if is_emoji(opened) and split not in ("validation", "test"):
        raise UsageError(f"emoji has no split {split!r}; it has validation, test")
    return opened


def records_place(model: Any, records: Path | str | Literal[False] | None, name: str) -> Path | None:
    """Return the file that records are written to, None for none; KivukoError if it cannot be written."""
    if records is False:
        return None
    source = str(model if isinstance(model, str | Path) else model.source)
    place = None if records is None else Path(records)
    if place is None and source and Path(source).is_dir():  # not a model of the hub
        place = Path(source) / "evaluation" / f"{name}.jsonl"
    if place is not None:
        refuse_unwritable(place)
    return place


def grouped_languages(
    model: Model | None, codes: tuple[str, ...], requested: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Return the languages of group means: the requested ones, or the model's own."""
    if requested is not None or model is None or not model.languages:
        return codes
    return tuple(code for code in codes if code in model.languages)


def open_emoji(
    model: Any, opened: EmojiWorld | None, options: Options, bar: Bar
) -> tuple[Model, tuple[str, ...], EmojiTask]:
    """Return the model, the languages to measure, and the task."""
    from kivuko.datasets.emoji.sources import available_languages, find_cldr
    from kivuko.datasets.emoji.world import emoji_world
    from kivuko.evaluation.image_tasks import EmojiTask
    from kivuko.search.building import emoji_vectors

    loaded = _with_images(model, options.device)
    if options.languages is not None or not loaded.languages:
        codes = options.languages or (DEFAULT_LANGUAGES if opened is None else opened.languages)
    else:
        there = opened.languages if opened is not None else available_languages(find_cldr(options.cldr))
        codes = _own_languages(loaded, [code for code in loaded.languages if code in there], EMOJI, there)
        if absent := [code for code in loaded.languages if code not in codes]:
            note(f"note: emoji have no names in {', '.join(absent)}.")
    for line in _about_languages(loaded, codes):
        note(f"note: {line}.")
    world = opened or emoji_world(
        [code for code in codes if code != "en"], cldr=options.cldr, font=options.font, progress=bar("drawing emoji")
    )
    return loaded, tuple(codes), EmojiTask(world, emoji_vectors(loaded.encoder, world), options.split)


def open_captions(
    model: Any, caption_set: CaptionSet, options: Options, bar: Bar
) -> tuple[Model, tuple[str, ...], CaptionTask]:
    """Return the model, the languages to measure, and the task, without unreadable images."""
    from kivuko.datasets.captions.caption_set import EVERY_CAPTION, FIRST_CAPTION, choose_languages
    from kivuko.evaluation.image_tasks import CaptionTask, without_broken, without_missing
    from kivuko.evaluation.vectors import encode_images
    from kivuko.search.encoding import TowerEncoder

    codes = choose_languages(caption_set, options.languages or ())
    caption_set = without_missing(caption_set, options.skip_missing)
    loaded = _with_images(model, options.device)
    if options.languages is None and loaded.languages:
        there = caption_set.languages
        own = [code for code in there if _is_one_of(code, loaded.languages, there)]
        codes = _own_languages(loaded, own, caption_set.name, there)
    for line in [*caption_set.notes, *_about_languages(loaded, codes)]:
        note(f"note: {line}.")
    vectors = encode_images(
        TowerEncoder(loaded.encoder), caption_set, workers=options.workers,
        progress=bar("encoding images"), reading=bar("reading images"),
    )  # fmt: skip
    kept, images, digest = without_broken(caption_set, vectors, options.skip_missing)
    if gone := [code for code in codes if code not in kept.captions]:
        note(f"note: no image is left that has a caption in {', '.join(gone)}.")
    which = FIRST_CAPTION if options.captions == "first" else EVERY_CAPTION
    return loaded, tuple(code for code in codes if code in kept.captions), CaptionTask(kept, images, digest, which)


def open_collection(
    model: Any, collection: Collection, options: Options, bar: Bar
) -> tuple[Model | None, tuple[str, ...], CollectionTask]:
    """Return the model (None: late interaction), the languages to measure, and the task."""
    from kivuko.encoders.loading import model_kind
    from kivuko.encoders.model import load_model
    from kivuko.evaluation.collection import (
        CollectionTask,
        choose_queries,
        collection_encoders,
        multi_vector_encoders,
    )

    if options.languages is not None:
        choose_queries(collection, options.languages, None)
    if next(iter(collection.documents()), None) is None:  # before the models are loaded
        raise DataError(f"{collection.spec} has no document; give at least one.")
    loaded = None
    folder = Path(model) if isinstance(model, str | Path) else None
    if folder is not None and (folder / "modules.json").is_file() and model_kind(str(model)) == "multi-vector":
        encoders = multi_vector_encoders(folder, options.device, options.batch_size)
    else:
        loaded = load_model(model, device=options.device)
        encoders = collection_encoders(
            loaded, collection.document_language, alone=options.alone, batch_size=options.batch_size
        )
    for line in encoders.notes:
        note(f"note: {line}")
    codes = choose_queries(collection, options.languages, loaded.languages or None if loaded is not None else None)
    return loaded, codes, CollectionTask(collection, encoders, codes, bar("searching documents"))


def _own_languages(model: Model, codes: Sequence[str], name: str, there: Sequence[str]) -> tuple[str, ...]:
    """Return ``codes``; UsageError if there are none."""
    if not codes:
        raise UsageError(
            f"{name} has nothing in a language that the model was trained on ({', '.join(model.languages)}); name "
            f"others of its languages: {' '.join(there)}."
        )
    return tuple(codes)


def _with_images(model: Any, device: str | None) -> Model:
    from kivuko.encoders.model import load_model

    loaded = load_model(model, device=device)
    if not loaded.has_images:
        raise ModelError(
            f"{loaded.path or loaded.name}: encodes text only, so it cannot search images. Distill it with an image "
            "tower."
        )
    return loaded


def is_caption_set(opened: Any) -> bool:
    return hasattr(opened, "captions") and hasattr(opened, "images")


def is_emoji(opened: Any) -> bool:
    """Return True for the emoji; None stands for them before they are read."""
    return opened is None or hasattr(opened, "annotations")


def file_name(dataset: Any, opened: Any, split: str, captions: str) -> str:
    """Return the stem of the default records file: the data set, and what else makes figures incomparable."""
    if is_emoji(opened):
        return f"emoji-{split}"
    name = records_stem(dataset, opened.name) if isinstance(dataset, str) else opened.name
    if is_caption_set(opened):
        name = f"{name}-{opened.split.replace('/', '-')}-{captions}-caption"
    return _slug(name)


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "collection"


def read_codes(languages: Sequence[str] | None) -> tuple[str, ...] | None:
    """Normalize codes; None stays None."""
    if languages is None:
        return None
    given = [languages] if isinstance(languages, str) else list(languages)
    codes = tuple(dict.fromkeys(language(code).code for one in given for code in one.replace(",", " ").split()))
    if not codes:
        raise UsageError("languages: none named; give codes such as sw so.")
    return codes


def _is_one_of(code: str, trained: Sequence[str], there: Sequence[str]) -> bool:
    """Return True for a language of the model's: ``zh-Hans`` is ``zh`` where the set has no other Chinese."""
    if code in trained:
        return True
    primary = code.partition("-")[0]
    return primary in trained and sum(one.partition("-")[0] == primary for one in there) == 1


def _about_languages(model: Model, codes: Sequence[str]) -> list[str]:
    """Return notes on languages that the model was not trained on, or may wrongly be thought to know."""
    if model.about is None:
        return []
    trained, lines = model.languages, []
    if unknown := [code for code in codes if code not in trained and code != "en"]:
        lines.append(f"the model was not trained on {', '.join(unknown)}")
    own, requested = _QUECHUA.intersection(trained), _QUECHUA.intersection(codes)
    if own and requested and not own & requested:
        lines.append(
            f"the model was trained on {', '.join(sorted(own))}, another Quechua than {', '.join(sorted(requested))}"
        )
    return lines


def _update_card(model: Model, result: Evaluation) -> None:
    from kivuko.encoders.model_card import model_card
    from kivuko.training.recipe import load_recipe
    from kivuko.training.recipes import shipped_recipes

    about = model.about
    if model.path is None or about is None:
        return
    description = load_recipe(about.recipe).description if about.recipe in shipped_recipes() else ""
    write_text(model.path / "README.md", model_card(about, result.records, description))


def call_text(function: str, dataset: Any, *others: Any) -> str:
    """Return a call for the header of records."""
    name = dataset if isinstance(dataset, str) else getattr(dataset, "name", "")
    return f"kivuko.{function}(..., {', '.join(map(repr, (name, *others)))})"
