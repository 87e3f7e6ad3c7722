"""The robustness study from start to finish."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kivuko.evaluation import Record
from kivuko.evaluation.robustness import AttackedExample, examples_path, read_examples, write_examples
from kivuko.studies.low_resource.runs import RunFile, run_files
from kivuko.studies.low_resource.study import Place, StudyWatch, finish_runs, write_outcomes
from kivuko.studies.robustness.grid import RobustnessGrid
from kivuko.studies.robustness.inputs import RobustnessInputs
from kivuko.studies.robustness.measuring import prepare
from kivuko.studies.robustness.protocol import robustness_header


def run_robustness(
    grid: RobustnessGrid,
    bench: RobustnessInputs,
    place: Place,
    *,
    command: str,
    workers: int,
    watch: StudyWatch,
    told: Callable[[str], None],
) -> list[Record]:
    """Make and attack every system that is not on disk yet, then write records, per-query scores and examples.

    Arguments, result and errors as ``low_resource.study.run_study``.
    """
    bitext = bench.bench.world.bitext(bench.bench.languages, "train")
    files = run_files(grid.runs(bitext), bench.fingerprint, place.runs)
    outcomes = finish_runs(files, bench, prepare, place, workers=workers, watch=watch, told=told)
    write_examples(place.records, _examples(files))
    return write_outcomes(robustness_header(grid, bench, bitext, outcomes, command, workers), outcomes, place)


def _examples(files: Sequence[RunFile]) -> list[AttackedExample]:
    """Return the examples that runs of the first seed left beside their files."""
    return [one for file in files if examples_path(file.path).is_file() for one in read_examples(file.path)]
