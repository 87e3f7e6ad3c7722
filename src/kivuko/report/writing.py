"""Write the page that fits a records file: a study of either question, an evaluation, or an attack run."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from kivuko.errors import DataError, UsageError, at
from kivuko.evaluation.attack.examples import examples_path, read_examples
from kivuko.evaluation.evaluate import Evaluation
from kivuko.evaluation.records import Condition, file_beside, per_query_path, read_per_query, read_records
from kivuko.files import refuse_unwritable, write_text
from kivuko.perturbations.catalog import is_catalog_name
from kivuko.report.page import Page, render
from kivuko.report.plots import check_plotting
from kivuko.report.results import MAP, OTHER_ATTACKS, TEACHER, UNTRAINED, VALIDATION, Source, attack_facts

_ROUNDING = 1e-6
Records = Path | str | Evaluation | Sequence[Evaluation | Path | str]


@dataclass(frozen=True)
class Report:
    """A written page: its path, and the answer that it opens with."""

    path: Path
    answer: str


def write_report(records: Records, out: Path | str | None = None) -> Path:
    """Write results or a records file as one self-contained HTML page, and return the page's path.

    A study's page answers whether transport helps (or, where all recipes use it, or none does, which recipe is best),
    with every test, plot and number; an evaluation's or attack run's page shows every measure of every model. The page
    opens in any browser, from a file, without a network; the same records give the same bytes.

    Args:
        records: a JSON Lines file that ``kivuko study``, ``evaluate`` or ``attack`` wrote, compressed or not; what
            :func:`kivuko.evaluate` or :func:`kivuko.attack` returned; or a list of either, for one page on several
            models. The per-query scores of a study must be beside its file, where the study wrote them.
        out: the page; None: the records' name, ending in .html. An existing page is replaced.

    Raises:
        DataError: the records are damaged, contradict each other, or hold nothing to report.
        UsageError: the page would replace the records, or has no name, as of results that are in no file.
        MissingDependencyError: matplotlib is not installed (``pip install 'kivuko[report]'``).

    Example:
        >>> import kivuko
        >>> result = kivuko.evaluate("my-model", "captions:photos.tsv", records="mine.jsonl", progress=False)
        >>> print(kivuko.write_report(result))
        mine.html
        >>> print(kivuko.write_report("mine.jsonl", "page.html"))
        page.html
    """
    return report(records, out).path


def report(records: Records, out: Path | str | None = None) -> Report:
    """Write the page as :func:`write_report` does, and return its path and its answer."""
    parts = list(records) if isinstance(records, Sequence) and not isinstance(records, str) else [records]
    files = [path for part in parts if (path := part.path if isinstance(part, Evaluation) else Path(part)) is not None]
    if not parts:
        raise UsageError("there are no results to report; give at least one.")
    if out is None and not files:
        raise UsageError("the results are in no file, so the page has no name: write_report(results, 'page.html').")
    page = file_beside(files[0], ".html") if out is None else Path(out)
    taken = {os.path.realpath(path) for file in files for path in (file, per_query_path(file), examples_path(file))}
    if os.path.realpath(page) in taken:
        raise UsageError(f"{page}: the page would take the place of the records. Name another file with --out.")
    check_plotting()
    refuse_unwritable(page)
    built = page_of(merged([read_source(part) for part in parts]))
    write_text(page, render(built))
    return Report(page, built.answer.sentence)


def read_source(result: Evaluation | Path | str) -> Source:
    """Read records, per-query scores and examples; only a study must have per-query scores."""
    if isinstance(result, Evaluation):
        return Source(result.header, result.records, result.per_query, getattr(result, "examples", ()))
    path = Path(result)
    header, records = read_records(path)
    source = Source(header, records)
    _refuse_unknown_attacks(path, source)
    if per_query_path(path).is_file() or kind_of(source) in ("low-resource", "robustness"):
        source = Source(header, records, read_per_query(path))
        _refuse_other_scores(path, source)
    if examples_path(path).is_file():
        source = replace(source, examples=read_examples(path))
    return source


def _refuse_unknown_attacks(path: Path, source: Source) -> None:
    """Refuse an attack that neither the header nor this version describes: its family would be a guess."""
    described = source.header.protocol.get("attacks")
    for number, record in enumerate(source.records, start=2):
        name = record.attack
        if name is None or (isinstance(described, Mapping) and name in described):
            continue
        if attack_facts(source.header, name).family == OTHER_ATTACKS and not is_catalog_name(name.split(":")[0]):
            raise DataError(
                f"{at(path, number)}: attack {name[:60]!r} is unknown; the header's 'attacks' must describe it"
            )


def _refuse_other_scores(path: Path, source: Source) -> None:
    """Refuse per-query scores that belong to other records: their number, or their mean, is another."""
    scores, beside = {}, per_query_path(path).name
    for block in source.per_query:
        key = (block.condition, block.language, block.subset, block.measure)
        if key in scores:
            what = f"{block.measure} of {block.condition.objective!r} in {block.language!r}"
            raise DataError(f"{per_query_path(path)}: {what} is there twice; run the command that wrote it again")
        scores[key] = block.values
    for number, record in enumerate(source.records, start=2):
        condition = Condition(**{item.name: getattr(record, item.name) for item in fields(Condition)})
        values = scores.get((condition, record.language, record.subset, record.measure))
        if values is None:
            continue
        problem = ""
        if len(values) != record.queries:
            problem = f"{record.queries:,} queries, but {beside} holds the scores of {len(values):,}"
        elif abs(float(values.mean()) - record.value) > _ROUNDING:
            problem = f"value {record.value:g}, but the mean of its scores in {beside} is {values.mean():g}"
        if problem:
            raise DataError(f"{at(path, number)}: {problem}; keep the files of one run together, or run it again")


def merged(sources: Sequence[Source]) -> Source:
    """Return one source of several; what they share, such as the English teacher's scores, is kept once."""
    if len(sources) == 1:
        return sources[0]
    headers = [source.header for source in sources]
    values: dict[str, list[Any]] = {}
    for header in headers:
        for key, value in header.protocol.items():
            if value not in values.setdefault(key, []):
                values[key].append(value)
    blocks = {
        (block.condition, block.language, block.subset, block.measure): block
        for source in sources
        for block in source.per_query
    }
    header = replace(
        headers[0], protocol={key: _joined(own) for key, own in values.items()},
        command="; ".join(dict.fromkeys(one.command for one in headers)),
        seeds=tuple(dict.fromkeys(seed for one in headers for seed in one.seeds)),
    )  # fmt: skip
    records = dict.fromkeys(record for source in sources for record in source.records)
    return Source(header, list(records), list(blocks.values()), [one for source in sources for one in source.examples])


def _joined(values: Sequence[Any]) -> Any:
    if all(isinstance(value, Mapping) for value in values):
        return {key: entry for value in values for key, entry in value.items()}
    return values[0] if len(values) == 1 else values


def page_of(source: Source) -> Page:
    kind = kind_of(source)
    if kind == "evaluation":
        from kivuko.report.evaluation_page import evaluation_page

        return evaluation_page(source)
    from kivuko.report import low_resource, robustness
    from kivuko.report.study_page import examine, study_page

    question = robustness.QUESTION if kind == "robustness" else low_resource.QUESTION
    return study_page(examine(source, question))


def kind_of(source: Source) -> str:
    """Return "low-resource" or "robustness" for a study, "evaluation" for models evaluated or attacked once.

    A file whose header names no study is one if it holds several recipes over several seeds or bitext sizes, or their
    validation scores.
    """
    attacked = any(record.attack is not None and record.measure == MAP for record in source.records)
    study = source.header.protocol.get("study")
    if study in ("low-resource", "robustness"):
        return str(study)
    if not source.records:
        raise DataError("the records hold no figures, so there is nothing to report")
    own = [record for record in source.records if record.objective not in (TEACHER, UNTRAINED)]
    recipes = {record.objective for record in own if record.bitext_size is not None}
    varied = len({r.seed for r in own}) > 1 or len({r.bitext_size for r in own}) > 1
    if len(recipes) > 1 and (varied or any(record.split == VALIDATION for record in own)):
        return "robustness" if attacked else "low-resource"
    return "evaluation"
