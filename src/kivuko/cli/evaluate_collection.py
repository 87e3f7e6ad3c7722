"""``kivuko evaluate --dataset ir:… | trec:…``: measure a model on a text collection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from kivuko.text import pluralize

if TYPE_CHECKING:
    from kivuko.evaluation import Record
    from kivuko.evaluation.collection_task import CollectionResults

_LARGE = 1 << 30  # bytes in the cache that a user should know of
_SHOWN = ("nDCG@10", "MAP", "MRR", "R@10", "R@100")


def evaluate_collection(
    model: Path, spec: str, languages: tuple[str, ...], records_file: Path | None, command: str
) -> None:
    """Search a text collection with a model; write records, per-query scores and TREC runs; print the figures.

    Args:
        spec: ``ir:ID`` or ``trec:FOLDER``.
        languages: of the queries; none: all that the collection has.
        records_file: None: in MODEL/evaluation, named after the collection.
        command: as it was typed, for the records' header.

    Raises:
        KivukoError: the collection or the model cannot be read, or do not fit.
    """
    from kivuko.cli.progress import bars, console, late_task
    from kivuko.cli.progress import out as screen
    from kivuko.datasets.collections import open_collection
    from kivuko.errors import DataError
    from kivuko.evaluation import write_records
    from kivuko.evaluation.collection_task import evaluate_collection_model, load_encoders
    from kivuko.files import refuse_unwritable

    collection = open_collection(spec)
    place = records_file or model / "evaluation" / f"{file_name(collection.name)}.jsonl"
    refuse_unwritable(place)
    if next(iter(collection.documents()), None) is None:  # before the models are loaded
        raise DataError(f"{collection.spec} has no document; give at least one.")
    encoders = load_encoders(model, collection.document_language)
    for note in encoders.notes:
        console.print(note, soft_wrap=True)
    with bars() as progress:
        results = evaluate_collection_model(
            encoders, collection, languages, command, late_task(progress, "searching documents")
        )
    assert results.header is not None
    write_records(place, results.header, results.records, results.per_query)
    runs = results.write_runs(place)
    for objective in dict.fromkeys(record.objective for record in results.records):
        screen.print(_table(results.records, objective))
    for line in _account(results):
        console.print(line, soft_wrap=True)
    screen.print(f"{pluralize(len(results.records), 'record')}: {place}", soft_wrap=True)
    screen.print(f"{pluralize(len(runs), 'TREC run')}: {', '.join(str(run) for run in runs)}", soft_wrap=True)


def file_name(name: str) -> str:
    """Return a collection's name as a file can be called."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "collection"


def _table(records: list[Record], objective: str) -> Table:
    from kivuko.evaluation.tables import compact_table
    from kivuko.report.heat_map import plain, with_interval

    own = [record for record in records if record.objective == objective and record.subset == "all"]
    found = {(record.language, record.measure): record for record in own}
    table = compact_table(f"{objective}: {own[0].dataset}")
    table.add_column("language", no_wrap=True)
    for heading in ("n", "nDCG@10 [95 %]", *_SHOWN[1:], "parity"):
        table.add_column(heading, justify="right", no_wrap=True)
    for code in dict.fromkeys(record.language for record in own):
        first = found[code, "nDCG@10"]
        rest = [plain(found.get((code, measure))) for measure in (*_SHOWN[1:], "parity")]
        table.add_row(code, f"{first.queries:,}", with_interval(first), *rest)
    return table


def _account(results: CollectionResults) -> list[str]:
    """Say what was left out, and where trec_eval's rule for ties gives another figure."""
    lines = [
        f"note: left out for want of a relevant document in the qrels: {pluralize(count, 'query', 'queries')} in "
        f"{code}."
        for code, count in results.unanswerable.items()
        if count
    ]
    if results.missing:
        gone = pluralize(results.missing, "relevant document")
        lines.append(f"note: not in the collection, and counted as not found: {gone}.")
    if results.remembered is not None:
        where = results.remembered.folder.parent
        if results.remembered.taken:
            lines.append(f"note: vectors of {pluralize(results.remembered.taken, 'document')} were taken from {where}.")
        if (size := results.remembered.bytes()) > _LARGE:
            lines.append(f"note: {where} holds {size / 2**30:.1f} GiB of vectors of documents; delete it to free them.")
    ours = {
        (record.objective, record.language, record.measure): record.value
        for record in results.records
        if record.subset == "all"
    }
    for objective, languages in results.trec_eval.items():
        for code, means in languages.items():
            if any(abs(means[name] - ours[objective, code, name]) > 5e-4 for name in _SHOWN):
                told = ", ".join(f"{name} {means[name]:.3f}" for name in _SHOWN)
                lines.append(f"note: with trec_eval's rule for equal scores, {objective} in {code} has {told}.")
    return lines
