"""Write the page that fits a records file: a study of either question, an evaluation, or an attack run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kivuko.errors import DataError, UsageError
from kivuko.evaluation import per_query_path, read_per_query, read_records
from kivuko.evaluation.robustness import examples_path, read_examples
from kivuko.files import refuse_unwritable, write_text
from kivuko.report.page import Page, render
from kivuko.report.plots import check_plotting
from kivuko.report.results import MAP, TEACHER, UNTRAINED, VALIDATION, Source


@dataclass(frozen=True)
class Report:
    """A written page: its path, and the answer that it opens with."""

    path: Path
    answer: str


def write_report(records: Path | str, out: Path | str | None = None) -> Path:
    """Write a records file as one self-contained HTML page, and return the page's path.

    A study's page answers whether transport helps (or, where all recipes use it, or none does, which recipe is best),
    with every test, plot and number; an evaluation's or attack run's page shows every measure of every model. The page
    opens in any browser, from a file, without a network; the same records give the same bytes.

    Args:
        records: a JSON Lines file that ``kivuko study``, ``evaluate`` or ``attack`` wrote, or one in that format. The
            per-query scores of a study must be beside it, where the study wrote them.
        out: the page; None: the records' name, ending in .html. An existing page is replaced.

    Raises:
        DataError: the records are damaged, contradict each other, or hold nothing to report.
        UsageError: the page would replace the records.
        MissingDependencyError: matplotlib is not installed (``pip install 'kivuko[report]'``).

    Example:
        >>> from kivuko.evaluation import Condition, Header, Record, write_records
        >>> import kivuko
        >>> at = Condition(dataset="emoji", split="test", model="mine", objective="optical", bitext_size=300, seed=0)
        >>> figures = dict(subset="all", measure="MAP", value=0.4, low=0.35, high=0.45, queries=300)
        >>> written = [Record(**vars(at), language="sw", **figures)]
        >>> _ = write_records("mine.jsonl", Header(command="by hand", protocol={}, seeds=(0,)), written, [])
        >>> print(kivuko.write_report("mine.jsonl", "mine.html"))
        mine.html
    """
    return report(records, out).path


def report(records: Path | str, out: Path | str | None = None) -> Report:
    """Write the page as :func:`write_report` does, and return its path and its answer."""
    records = Path(records)
    page = records.with_suffix(".html") if out is None else Path(out)
    if page.resolve() in {path.resolve() for path in (records, per_query_path(records), examples_path(records))}:
        raise UsageError(f"{page}: the page would take the place of the records. Name another file with --out.")
    check_plotting()
    refuse_unwritable(page)
    built = page_of(read_source(records))
    write_text(page, render(built))
    return Report(page, built.answer.sentence)


def read_source(path: Path) -> Source:
    """Read records, per-query scores and examples; only a study must have per-query scores."""
    header, records = read_records(path)
    source = Source(header, records)
    if per_query_path(path).is_file() or kind_of(source) in ("low-resource", "robustness"):
        source = Source(header, records, read_per_query(path))
    if examples_path(path).is_file():
        source = Source(header, records, source.per_query, read_examples(path))
    return source


def page_of(source: Source) -> Page:
    """Return the page that fits the records."""
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

    Raises:
        DataError: the header names a study that no page is about.
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
