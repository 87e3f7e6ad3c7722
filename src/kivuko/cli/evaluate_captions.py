"""``kivuko evaluate --dataset xm3600:PATH`` and its kin: image-caption sets, in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kivuko.text import pluralize

if TYPE_CHECKING:
    from kivuko.datasets.captions import CaptionSet
    from kivuko.encoders.model import About
    from kivuko.evaluation import Record

_QUECHUA = {"quy", "quz", "qu", "qve", "qvc"}  # of one group, and not of one language


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to measure: ``first_only`` takes one caption of each image, ``alone`` leaves out ceiling and floor."""

    split: str = "test"
    first_only: bool = False
    skip_missing: bool = False
    alone: bool = False
    workers: int | None = None


def evaluate_captions(
    model: Path, spec: str, languages: tuple[str, ...], records_file: Path | None, command: str, options: Options
) -> None:
    """Measure a model on a caption set, write records and print a table for each direction.

    Args:
        spec: see :func:`kivuko.datasets.captions.open_caption_set`.
        languages: normalized codes; none: all that the set has.
        command: the command line, for the records' header.

    Raises:
        ModelError: the model encodes text only.
        DataError: the set is missing or malformed, or images of it are missing.
        UsageError: a language that the set does not have.
    """
    from kivuko.cli.progress import bars, console, late_task
    from kivuko.cli.progress import out as screen
    from kivuko.datasets.captions import EVERY_CAPTION, FIRST_CAPTION, choose_languages, open_caption_set
    from kivuko.encoders.loading import fastest_device
    from kivuko.encoders.model import has_images, load_encoder, read_about
    from kivuko.errors import ModelError
    from kivuko.evaluation import write_records
    from kivuko.evaluation.caption_task import UNTOLD, CaptionResults, without_broken, without_missing
    from kivuko.evaluation.tables import no_better_line
    from kivuko.evaluation.vectors import image_vectors
    from kivuko.files import refuse_unwritable

    only = languages[0] if len(languages) == 1 else None
    caption_set = open_caption_set(spec, split=options.split, language=only)
    chosen = choose_languages(caption_set, languages)
    caption_set = without_missing(caption_set, options.skip_missing)
    loaded, about = load_encoder(model).to(fastest_device()), read_about(model)
    if not has_images(loaded):
        raise ModelError(f"{model}: encodes text only, so it cannot search images. Distill it with an image tower.")
    which = FIRST_CAPTION if options.first_only else EVERY_CAPTION
    refuse_unwritable(place := records_file or model / "evaluation" / _records_name(spec, caption_set, which))
    for note in [*caption_set.notes, *_about_model(about, chosen)]:
        console.print(f"note: {note}.", soft_wrap=True)
    with bars() as progress:
        found = image_vectors(
            loaded,
            caption_set,
            workers=options.workers,
            progress=late_task(progress, "encoding images"),
            reading=late_task(progress, "reading images"),
        )
        kept, vectors, digest = without_broken(caption_set, found, options.skip_missing)
        if gone := [code for code in chosen if code not in kept.captions]:
            console.print(f"note: no image is left that has a caption in {', '.join(gone)}.")
        chosen = tuple(code for code in chosen if code in kept.captions)
        results = CaptionResults(kept, chosen, vectors, digest, which)
        if not options.alone and (teacher := _teacher(about)) is not None:
            results.progress = late_task(progress, "the teacher's captions")
            results.add_teacher(teacher)
        if not options.alone and about is not None:
            results.progress = late_task(progress, "random weights")
            results.add_untrained(loaded, about.student)
        results.progress = late_task(progress, "the model's captions")
        results.add_model(loaded, model.name, about)
    write_records(place, results.header(command), results.records, results.per_query)
    objective = UNTOLD if about is None else about.recipe
    for table in tables(results.records, objective, kept):
        screen.print(table)
    if line := no_better_line(results.records, objective):
        screen.print(line, soft_wrap=True)
    if kept.left_out:
        told = "Left out: " + ", ".join(f"{count:,} x {reason}" for reason, count in kept.left_out.items()) + "."
        if any(reason.startswith("image: ") for reason in kept.left_out):
            told += " Figures with images left out are not those of the whole set."
        screen.print(told, soft_wrap=True)
    screen.print(f"{pluralize(len(results.records), 'record')}: {place}", soft_wrap=True)


def _records_name(spec: str, caption_set: CaptionSet, which: str) -> str:
    """Return the records' file; sets of one's own are told apart by their file or folder and the folder it is in."""
    from kivuko.cli.evaluate_collection import file_name
    from kivuko.datasets.captions.formats import is_own_set, path_of
    from kivuko.streams import plain_name

    named = [caption_set.name, caption_set.split.replace("/", "-"), which]
    if is_own_set(spec):
        path = path_of(spec).absolute()
        stem = path.name if path.is_dir() else Path(plain_name(path.name)).stem
        named.insert(1, file_name(f"{path.parent.name}-{stem}"))
    return "-".join(named) + ".jsonl"


def tables(records: Sequence[Record], objective: str, caption_set: CaptionSet) -> list[Any]:
    """Return a table for each direction: a row per language and group, and rows for ceiling and floor."""
    from kivuko.evaluation import PARITY
    from kivuko.evaluation.captions import DIRECTIONS, TEXT_TO_IMAGE
    from kivuko.evaluation.emoji_task import TEACHER, UNTRAINED
    from kivuko.evaluation.tables import GROUPS, compact_table, label
    from kivuko.report.heat_map import plain, with_interval

    made = []
    for direction in DIRECTIONS:
        own = {
            (record.objective, record.language, record.measure): record
            for record in records
            if record.dataset.endswith(direction) and record.subset == "all"
        }
        first, rest = (
            ("R@1", ("R@5", "R@10", "MAP", "MRR", PARITY))
            if direction == TEXT_TO_IMAGE
            else ("Success@1", ("Success@5", "Success@10", "R@1", "MAP", PARITY))
        )
        sizes = pluralize(len(caption_set.images), "image")
        table = compact_table(f"{caption_set.name}, {caption_set.split}, {direction.replace('-', ' ')}; {sizes}")
        table.add_column("", no_wrap=True)
        for heading in ("n", f"{first} [95 %]", *rest):
            table.add_column(heading, justify="right", no_wrap=True)
        names = dict.fromkeys((one, code) for one, code, _ in own)
        order = {objective: 0, TEACHER: 1, UNTRAINED: 2}
        rows = sorted(names, key=lambda key: (order.get(key[0], 0), key[1] in GROUPS))
        for one, code in rows:
            if one != objective and code not in GROUPS and (one, code) != (TEACHER, "en"):
                continue  # of the others, the means and the ceiling tell enough; the records hold all
            if (record := own.get((one, code, first))) is None:
                continue
            shown = label(code) if one == objective else f"{_ROWS[one]}: {code}"
            cells = (plain(own.get((one, code, measure))) for measure in rest)
            table.add_row(shown, f"{record.queries:,}", with_interval(record), *cells)
        made.append(table)
    return made


_ROWS = {"teacher": "teacher", "untrained": "random weights"}


def _teacher(about: About | None) -> Any | None:
    """Load the teacher of a model; where it is gone, say so and go on: the model is what is asked for."""
    from kivuko.cli.progress import console
    from kivuko.encoders.model import quiet
    from kivuko.encoders.teacher import teacher_of
    from kivuko.errors import KivukoError

    if about is None:
        console.print("note: the model has no kivuko.json: no teacher as a ceiling, no random weights as a floor.")
        return None
    try:
        with quiet():
            return teacher_of(about)
    except KivukoError as problem:
        console.print(f"note: no ceiling and no parity, for the teacher does not load: {problem}", soft_wrap=True)
        return None


def _about_model(about: About | None, codes: Sequence[str]) -> list[str]:
    """Say which languages the model was not taught, and which it may be thought to have been."""
    if about is None:
        return []
    notes = []
    if unknown := [code for code in codes if code not in about.languages and code != "en"]:
        notes.append(f"the model was not trained on {', '.join(unknown)}")
    taught, asked = _QUECHUA.intersection(about.languages), _QUECHUA.intersection(codes)
    if asked and taught and not asked & taught:
        notes.append(
            f"the model was taught {', '.join(sorted(taught))}, another Quechua than {', '.join(sorted(asked))}"
        )
    return notes
