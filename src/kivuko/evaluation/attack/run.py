"""``kivuko.attack``: measure a model clean and under attacks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table

from kivuko.datasets.emoji.phrases import PhraseSet
from kivuko.datasets.spec import EMOJI
from kivuko.errors import UsageError, check_number, check_path, check_seed, check_type
from kivuko.evaluation.attack.examples import AttackedExample, examples_path, write_examples
from kivuko.evaluation.evaluate import Evaluation, Options, call_text, is_caption_set, is_emoji, prepare
from kivuko.evaluation.records import Header, per_query_path
from kivuko.evaluation.tables import WIDTH, attack_table, legend, overview_table
from kivuko.files import refuse_unwritable
from kivuko.languages import read_codes
from kivuko.perturbations.spec import AttackSpec, parse_attacks
from kivuko.progress import bars, late_task

if TYPE_CHECKING:
    from kivuko.encoders.model import Model

_WANTED = "attacks as text, such as 'typo:edits=2'"


@dataclass(eq=False)
class AttackReport(Evaluation):
    """The result of attacks: an :class:`Evaluation`, clean and under each attack.

    Attributes:
        attacks: those that were run.
        examples: every query under every attack: its edits, the size of the image's change, ranks, model calls.
        examples_file: where :meth:`save` writes the examples, if not next to the records.
    """

    attacks: list[AttackSpec] = field(default_factory=list)
    examples: list[AttackedExample] = field(default_factory=list)
    examples_file: Path | None = None

    def save(self, path: Path | str) -> Path:
        """Write records, per-query scores and examples; return the records' path. See :meth:`Evaluation.save`."""
        path = super().save(path)
        write_examples(self.examples_file or examples_path(path), self.examples)
        return path

    def tables(self, width: int = WIDTH) -> list[Table]:
        """Return a Rich table for each attack, and an overview where there are several."""
        tables = [attack_table(self.records, spec) for spec in self.attacks]
        return tables if len(self.attacks) < 2 else [*tables, overview_table(self.records, self.attacks)]

    def lines(self) -> list[str]:
        """Return an explanation of the tables' columns, and the notes."""
        return [legend(self.records, self.attacks), *(f"note: {line}" for line in self.notes)]


def attack(
    model: Model | Path | str,
    dataset: Any = EMOJI,
    attacks: str | AttackSpec | Sequence[str | AttackSpec] = (),
    *,
    languages: Sequence[str] | None = None,
    split: str = "test",
    captions: Literal["every", "first"] = "every",
    queries: int | None = None,
    crafted: Literal["own", "english", "both"] | None = None,
    seed: int = 0,
    skip_missing: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    records: Path | str | Literal[False] | None = None,
    examples: Path | str | None = None,
    images: Path | str | None = None,
    progress: bool | None = None,
    cldr: Path | None = None,
    font: Path | None = None,
    command: str | None = None,
) -> AttackReport:
    """Measure a model clean and under attacks on its queries and on the images that it searches.

    Args:
        model: a model, its folder, or its id.
        dataset: "emoji", an image-caption set such as "captions:photos.tsv" or "xm3600:PATH", or one that is open.
        attacks: such as "typo:edits=2" or "pgd:eps=2/255"; "typo:edits=1|2|4" is a sweep of three, and
            "package.module:Class:edits=2" an attack of your own. ``kivuko attack --list`` shows all.
        languages: codes of the queries' languages. None: as :func:`kivuko.evaluate`; means over low- and high-resource
            languages hold the languages that are named here or, by default, the model's own.
        split: "test" or "validation".
        captions: "every" caption of an image is a query, or the "first" alone.
        queries: attack this many queries of each language, drawn by concept or image. None: all.
        crafted: perturb images against the query itself ("own"), against its English text in the teacher's vectors
            ("english"), or "both". None: as in each attack, else "own".
        seed: of everything that attacks draw.
        skip_missing: leave out images that are missing or broken, and count them.
        batch_size: texts that are encoded together. None: 256.
        workers: processes that decode images. None: one for each core, at most 8.
        device: such as "cpu" or "cuda:0". None: the fastest there is.
        records: the file to write records to, with per-query scores and examples next to it. None: in the folder
            "evaluation" of the model's own folder (nothing is written for a model without a folder); False: nowhere.
        examples: Parquet file for the examples, if not next to the records.
        images: folder for the perturbed images, as PNG files.
        progress: show progress and notes; None: on a terminal.
        cldr, font: folder of CLDR's annotations and NotoColorEmoji.ttf, for "emoji"; None: the system's.
        command: for the header of the records. None: this call.

    Returns:
        The result, with ``records``, ``per_query``, ``examples``, ``summary()`` and ``save(path)``.

    Raises:
        UsageError: an unknown attack, parameter, language or data set, or an attack that this data set cannot take.
        ModelError: the model does not load, encodes text only, or gives no gradients.
        DataError: the data set is missing, malformed or empty.
        KivukoError: the records cannot be written.

    >>> import kivuko
    >>> report = kivuko.attack("my-model", "captions:photos.tsv", ["typo:edits=2", "fgsm:eps=2/255"], progress=False)
    >>> [spec.label for spec in report.attacks]
    ['typo', 'fgsm']
    >>> report.examples[0].query
    'paka mweusi'
    >>> print(report)
    typo...
    """
    specs, seed = read_attacks(attacks, crafted), check_seed(seed)
    queries = check_number("queries", queries, least=1, whole=True, optional=True)
    examples_file = check_path("examples", examples, optional=True)
    images_folder = check_path("images", images, optional=True)
    options = Options(
        languages=read_codes(languages), split=split, captions=captions, skip_missing=skip_missing, alone=True,
        batch_size=batch_size, workers=workers, device=device, cldr=cldr, font=font,
    )  # fmt: skip
    opened, place = prepare(model, dataset, options, records, "attacks-")
    if is_emoji(opened) and "en" in (options.languages or ()):
        raise UsageError("languages: English is the teacher's own and always there; name the other languages.")
    if not is_emoji(opened) and not is_caption_set(opened):
        lacks = "no images of its own" if isinstance(opened, PhraseSet) else "no images"
        raise UsageError(f"{dataset}: has {lacks}; attack the emoji or an image-caption set (captions:photos.tsv).")
    check_places(place, examples_file, images_folder)
    from kivuko.evaluation.attack.results import run_attacks
    from kivuko.evaluation.attack.targets import CaptionTarget, EmojiTarget
    from kivuko.evaluation.image_tasks import open_captions, open_emoji

    begin: Any = open_emoji if is_emoji(opened) else open_captions
    kind: Any = EmojiTarget if is_emoji(opened) else CaptionTarget
    with bars(progress) as display:
        loaded, codes, task = begin(model, opened, options, partial(late_task, display))
        target = kind(loaded, codes, task, queries, seed, batch_size)
        grouped = options.grouped(loaded, codes)
        results = run_attacks(target, specs, grouped, images_folder, display)
    header = Header(
        command=command or call_text("attack", dataset, [spec.text for spec in specs]), protocol=results.protocol(),
        seeds=sorted({seed, *([target.model.about.seed] if target.model.about else [])}),
    )  # fmt: skip
    report = AttackReport(
        results.records, header, results.per_query, attacks=specs, examples=results.examples,
        examples_file=examples_file,
    )  # fmt: skip
    if place is not None:
        report.save(place)
    return report


def read_attacks(
    attacks: str | AttackSpec | Sequence[str | AttackSpec], crafted: str | None = None
) -> list[AttackSpec]:
    """Read attacks; with ``crafted`` "both" those on images are run twice."""
    specs: list[AttackSpec] = []
    check_type("attacks", attacks, str | AttackSpec | Iterable, _WANTED)
    for one in [attacks] if isinstance(attacks, str | AttackSpec) else attacks:
        check_type("attacks", one, str | AttackSpec, _WANTED)
        specs += [one] if isinstance(one, AttackSpec) else parse_attacks([one])
    specs = list(dict.fromkeys(specs))
    if not specs:
        raise UsageError("no attack is given: name at least one, such as typo:edits=2.")
    if crafted is None:
        return specs
    if crafted not in ("own", "english", "both"):
        raise UsageError(f"crafted={crafted}: choose own, english or both.")
    if not any(spec.attack.has("crafted") for spec in specs):
        raise UsageError(
            f"crafted={crafted}: none of the attacks perturbs images against a query; name one such as pgd."
        )
    wanted = ("own", "english") if crafted == "both" else (crafted,)
    chosen = [
        spec.with_value("crafted", value) if spec.attack.has("crafted") else spec for spec in specs for value in wanted
    ]
    return list(dict.fromkeys(chosen))


def check_places(records: Path | None, examples: Path | None, images: Path | None) -> None:
    """Refuse places that cannot be written, before the work begins."""
    if records is not None:
        files = [records, per_query_path(records), examples or examples_path(records)]
        for file in files[1:]:
            refuse_unwritable(file)
        if len({os.path.realpath(file) for file in files}) < len(files):
            raise UsageError(f"examples: the records are written to {examples}; choose another name.")
    if images is not None:
        if images.is_file():
            raise UsageError(f"images: {images} is a file; name a folder.")
        refuse_unwritable(images / "any.png")
