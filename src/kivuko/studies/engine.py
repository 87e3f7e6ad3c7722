"""The engine of studies: it performs a :class:`Study`'s grid of runs, resumably, and writes one records file."""

import json
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from kivuko.bitext.english_text import read_english
from kivuko.bitext.pairs import Bitext
from kivuko.datasets.spec import EMOJI
from kivuko.errors import CorruptFileError, DataError, UsageError, check_path
from kivuko.evaluation.attack.examples import examples_path, read_examples, write_examples
from kivuko.evaluation.records import (
    Condition,
    Header,
    Record,
    per_query_path,
    read_records,
    save_results,
    write_records,
)
from kivuko.files import atomic_path, refuse_unreadable, refuse_unwritable, sha256_of, write_text
from kivuko.processes import cores
from kivuko.progress import StudyBar, note, study_bar
from kivuko.streams import plain_name
from kivuko.studies.data import StudyData, open_study_data
from kivuko.studies.grid import Grid, Mode, Run, Size, Variant, read_sizes
from kivuko.studies.runs import Measured, Prepare, RunFile, load_run, run_all, run_files
from kivuko.training.recipe import Recipe, load_recipe
from kivuko.training.student_training import WITH_ENCODER

_TEXTS = resources.files("kivuko.studies").joinpath("protocol.toml")
TEXTS: dict[str, dict[str, Any]] = tomllib.loads(_TEXTS.read_text("utf-8"))  # study -> sentences of its header
_SCRATCH = "teacher"  # folder next to the runs: the teacher's vectors of each sample
FinishedRuns = Sequence[tuple[Run, Measured]]


def texts_of(study: str, dataset: str) -> dict[str, Any]:
    """Return the sentences of a study's header; those for sentences take the place of those for emoji."""
    return TEXTS[study] | ({} if dataset == EMOJI else TEXTS["sentences"][study])


class Inputs(Protocol):
    """The data that all runs of a study share; it goes to each worker."""

    @property
    def data(self) -> StudyData: ...
    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True)
class Study:
    """A research question as an experiment."""

    name: str  # in the records' header, and of the default records file
    grid: Callable[[Sequence[Recipe], Variant], Any]  # (recipes, variant) -> grid
    recipes: Callable[[Variant], Sequence[str]]  # names of a variant's usual recipes
    inputs: Callable[[StudyData, Any, bool | None], Any]  # (data, grid, progress) -> Inputs
    prepare: Prepare  # inputs -> a function that performs one run
    # (grid, inputs, bitext, finished, command, workers) -> the header of the records
    header: Callable[[Any, Any, Bitext, FinishedRuns, str, int], Header]


@dataclass(frozen=True)
class Place:
    """The files of a study's results."""

    records: Path
    study: str = "low-resource"

    @property
    def runs(self) -> Path:
        return self.records.with_name(f"{self.records.name}.runs")

    def check(self) -> None:
        """Refuse a place that cannot be written, or that holds other records."""
        for file in (self.records, per_query_path(self.records), self.runs / "a run"):
            refuse_unwritable(file)
        if self.records.is_file() and not _is_of(self.study, self.records):
            raise UsageError(
                f"{self.records}: exists and holds no records of a {self.study} study; nothing was replaced. "
                "Choose another --records."
            )


def run_study(
    study: Study,
    records: Path | str | None = None,  # the file; None: named after the study
    *,
    dataset: str = EMOJI,  # or sentences, such as "tico19:FOLDER"
    student: str = "static",  # or a pretrained encoder: its name on the hub, or its folder
    english: Path | str | None = None,  # a file of English text, or WordNet's folder, see ``kivuko.distill``
    multi_vector: bool = True,  # measure late interaction, of sentences
    recipes: Sequence[str] = (),  # names or files; none: the study's usual ones. Any recipes can be compared.
    sizes: Sequence[Size | str] = (),  # sentence pairs per language, None or "all" for all; none: the grid's
    seeds: int | None = None,  # number of seeds
    steps: int | None = None,  # of every recipe; None: by size
    languages: Sequence[str] | None = None,
    image_tower: Path | str | None = None,  # folder of one for the emoji images, in place of the one that ships
    translator: str | None = None,  # a translation model for translate-test, in place of those trained on the bitext
    translation: bool = True,  # False leaves translate-test and word tables out
    quick: bool = False,  # a few runs that show that all works, and prove nothing
    larger: bool = False,  # more seeds and sizes
    workers: int | None = None,  # processes, one core each; None: as many as there are cores
    progress: bool | None = None,
    command: str | None = None,
    cldr: Path | None = None,
    font: Path | None = None,
) -> list[Record]:
    """Run a study, or resume it, and write its records; finished runs are kept in a folder next to them."""
    _check_options(translator, translation, quick, larger)
    if student == "auto" or student.startswith(WITH_ENCODER):
        raise UsageError(f"--student {student}: a study takes static, or the name or folder of a pretrained encoder.")
    if english is not None and student == "static":
        raise UsageError("--english: a static student has no projection to fit to it. Choose --student "
                         "multilingual-e5-small or another encoder, or leave it out.")  # fmt: skip
    tower = _check_tower(image_tower, dataset)
    mode: Mode = "quick" if quick else "larger" if larger else "standard"
    variant = Variant(mode, dataset != EMOJI, student)
    chosen = [load_recipe(name) for name in dict.fromkeys(recipes or study.recipes(variant))]
    changes: dict[str, Any] = {"translator": translator, "multi_vector": multi_vector}
    if not translation:
        changes |= {"translation": None, "lexical": False}
    if tower is not None:
        changes["image_tower"] = tower
    if steps is not None:
        changes["steps"] = steps
    if seeds is not None:
        changes["seeds"] = tuple(range(seeds))
    if sizes:
        changes["sizes"] = read_sizes(sizes)
    grid: Grid = replace(study.grid(chosen, variant), **changes)
    codes = languages or grid.languages
    if codes:
        Grid.check_languages(codes)
    place = Place(Path(records or f"{study.name}.jsonl"), study.name)
    place.check()
    data = open_study_data(
        dataset, codes, multi_vector=grid.multi_vector, english=read_english(english) if english is not None else (),
        progress=progress, cldr=cldr, font=font,
    )  # fmt: skip
    Grid.check_languages(data.languages)
    grid = replace(grid, languages=data.languages)
    total = len(grid.runs(data.bitext("train")))  # refuses sizes that a language lacks
    inputs = study.inputs(data, grid, progress)
    command = command or shlex.join(["kivuko", *sys.argv[1:]])
    with study_bar(progress) as bar:
        try:
            return perform_study(study, grid, inputs, place, command=command, workers=workers or cores(), watch=bar)
        except KeyboardInterrupt:
            note(f"stopped: {bar.finished} of {total} runs are finished, in {place.runs}")
            raise


def perform_study(
    study: Study,
    grid: Grid,
    inputs: Inputs,
    place: Place,
    *,
    command: str,
    workers: int,
    watch: StudyBar,
) -> list[Record]:
    """Perform every run that is not on disk yet, then write records, scores and examples in the grid's order."""
    bitext = inputs.data.bitext("train")
    files = run_files(grid.runs(bitext), inputs.fingerprint, place.runs)
    names: dict[tuple[str, ...], tuple[str, ...]] = {}
    on_disk = {file.path: _load_or_note(file, names) for file in files}
    todo = [file for file in files if on_disk[file.path] is None]
    watch.planned([file.run for file in files if on_disk[file.path]], [file.run for file in todo], workers)
    if todo:
        run_all(todo, inputs, study.prepare, place.runs / _SCRATCH, workers, watch)
    finished = [(file.run, on_disk[file.path] or _load(file, names)) for file in files]
    records = [record for _, result in finished for record in result.records]
    refuse_repeats(records)
    per_query = [block for _, result in finished for block in result.per_query]
    examples = [one for file in files if examples_path(file.path).is_file() for one in read_examples(file.path)]
    header = study.header(grid, inputs, bitext, finished, command, workers)
    save_results(place.records, header, records, per_query)
    if examples:
        write_examples(examples_path(place.records), examples)
    shutil.rmtree(place.runs / _SCRATCH, ignore_errors=True)
    for leftover in place.runs.glob(".*.tmp"):  # of killed writers
        leftover.unlink(missing_ok=True)
    return records


def publish_study(records: Path | str, folder: Path | str = "studies") -> Path:
    """Write a study's records compressed into a folder, with scores, examples and SHA-256 sums; return the records.

    ``sha256sum -c NAME.sha256`` in the folder checks them, and ``kivuko report NAME.jsonl.gz`` makes the page.
    """
    source = Path(records)
    header, read = read_records(source)
    if "study" not in header.protocol:
        raise UsageError(f"{source}: holds no records of a study; name a file that 'kivuko study' wrote.")
    scores = per_query_path(source)
    if not scores.is_file():
        raise DataError(f"{scores}: there are no per-query scores; run the study again to write them")
    name = plain_name(source.name).removesuffix(".jsonl")
    place = Path(folder) / f"{name}.jsonl.gz"
    if place.resolve() == source.resolve():
        raise UsageError(f"{source}: is published already; choose another folder with --out.")
    write_records(place, header, read)
    published = [place]
    for file, copy in ((scores, per_query_path(place)), (examples_path(source), examples_path(place))):
        if file.is_file():
            with atomic_path(copy) as temporary:
                shutil.copyfile(file, temporary)
            published.append(copy)
    sums = "".join(f"{sha256_of(file)}  {file.name}\n" for file in published)
    write_text(place.with_name(f"{name}.sha256"), sums)
    return place


def refuse_repeats(records: Iterable[Record]) -> None:
    """Raise CorruptFileError if two records are of one condition, language, subset and measure."""
    key = [*(one.name for one in fields(Condition)), "language", "subset", "measure"]
    seen: set[tuple[object, ...]] = set()
    for record in records:
        place = tuple(getattr(record, name) for name in key)
        if place in seen:
            raise CorruptFileError(f"two records of {record.measure} of {place}; delete the folder of runs, run again")
        seen.add(place)


def _check_options(translator: str | None, translation: bool, quick: bool, larger: bool) -> None:
    if quick and larger:
        raise UsageError("--quick and --larger contradict each other: choose one.")
    if translator and not translation:
        raise UsageError("--translator and --no-translation contradict each other: choose one.")
    if translator is not None and translator.startswith((".", "~", "/")) and not Path(translator).expanduser().is_dir():
        raise UsageError(f"{translator}: no such model folder. Name a folder or a translation model on the hub.")
    if translator is not None and (folder := Path(translator).expanduser()).is_dir():
        refuse_unreadable(folder)
        if not (folder / "config.json").is_file():
            raise UsageError(f"{translator}: not a translation model (no config.json in it).")


def _check_tower(folder: Path | str | None, dataset: str) -> Path | None:
    place: Path | None = check_path("image_tower", folder, "an image tower's folder", optional=True)
    if place is None:
        return None
    if dataset != EMOJI:
        raise UsageError(f"--image-tower {folder}: {dataset} has no images; leave it out.")
    if not (place / "modules.json").is_file():
        raise UsageError(
            f"--image-tower {folder}: not an image tower (no modules.json in it). Train one with "
            "'kivuko data emoji --train-image-tower'."
        )
    return place


def _load_or_note(file: RunFile, names: dict[tuple[str, ...], tuple[str, ...]]) -> Measured | None:
    try:
        return load_run(file, names)
    except CorruptFileError as problem:
        note(f"{problem} · this run is rebuilt")
        return None


def _load(file: RunFile, names: dict[tuple[str, ...], tuple[str, ...]]) -> Measured:
    result = load_run(file, names)
    if result is None:
        raise CorruptFileError(f"{file.path}: disappeared during the study. Run the same command again.")
    return result


def _is_of(study: str, records: Path) -> bool:
    """Return True if a file's header is that of the study."""
    try:
        with records.open("rb") as stream:
            header = json.loads(stream.readline())
        return bool(header["protocol"]["study"] == study)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
