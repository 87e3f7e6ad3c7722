"""What a reviewer asks of the study: how its numbers came to be, and what they do not say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from kivuko.bitext import Bitext
from kivuko.evaluation import Header
from kivuko.evaluation import emoji as images
from kivuko.languages import language, resource_groups
from kivuko.studies.low_resource import grid as kinds
from kivuko.studies.low_resource.grid import BATCH, VALIDATE_EVERY, Grid, Run, steps_for
from kivuko.studies.low_resource.inputs import SETTINGS, SPLITS, StudyInputs
from kivuko.studies.low_resource.runs import Finished

STUDY = "low-resource"
_FLAT = ("ties", "ranking", "R@k", "measured by", "intervals", "headline")


def study_header(
    grid: Grid, bench: StudyInputs, bitext: Bitext, finished: Sequence[tuple[Run, Finished]], command: str, workers: int
) -> Header:
    """Return the header of a study's records.

    Args:
        bitext: all training pairs of the study's languages.
        finished: every run, in the grid's order.
    """
    one = images.protocol(bench.world, "test")
    runs = [run for run, _ in finished]
    protocol: dict[str, Any] = {
        "study": STUDY,
        "standard": grid.standard,
        "question": "Does optimal transport help carry an English search model into low-resource languages?",
        "datasets": _datasets(bench),
        "scoring": _SCORING,
        **{key: one[key] for key in _FLAT},
        "queries": "the name of every emoji, one query per name; one right answer per query",
        "splits": _splits(bench),
        "languages": {code: language(code).name for code in bench.languages},
        "groups": {str(name): list(codes) for name, codes in resource_groups(bench.languages).items()},
        "sizes": [run_size for run_size in dict.fromkeys(run.size for run in runs) if run_size is not None],
        "pairs in all": {code: len(pairs) for code, pairs in bitext.by_language().items()},
        "sampling": "sizes are sentence pairs per language; a seed's sample is the same for all objectives, its "
        "smaller samples lie within its larger ones, and languages share English sentences where they can",
        "seeds": "a seed decides the sample of bitext, the student's first weights and the order of pairs; shared by "
        "all objectives. With all pairs nothing is sampled",
        "steps": {str(run.size): grid.steps or steps_for(run.size) for run in runs if run.size is not None},
        "batch": BATCH,
        "student": "static: subword vectors, a vocabulary of at most 16,000 learned from the sample, one student for "
        "all languages together; the whole words of the teacher's vocabulary join it where a recipe's start says so",
        "selection in a run": f"the step, of every {VALIDATE_EVERY}th and the last, with the best mean reciprocal rank "
        "of English names on the validation split, text to text; translators by chrF of held-out names",
        "validation data": f"the names of {_concepts(bench, 'validation')} held-out concepts, in every run alike; "
        "they are not counted in the bitext size",
        "teacher": {"name": bench.teacher_name, "fingerprint": bench.teacher_fingerprint},
        "translation": _translation(grid),
        "recipes": _recipes(grid, runs),
        "workers": workers,
        "seconds per run": _seconds(finished),
        "fingerprint": bench.fingerprint,
        "limits": limits(grid, bench),
    }
    return Header(command=command, protocol=protocol, seeds=grid.seeds)


_SCORING = {
    "cosine": "one unit vector per text, of the student or, for translations, of the teacher",
    "maxsim": "late interaction: for each query token the highest cosine to a document's token, summed. Document "
    "tokens are the teacher's, less its mean token over the English side of training and validation. Query tokens are "
    "the student's, as they are; or the teacher's of the English translation, less the same mean",
}


def limits(grid: Grid, bench: StudyInputs) -> list[str]:
    """Say what the study cannot tell."""
    least = min((size for size in grid.sizes if size is not None), default=None)
    held_out = len(bench.world.queries(bench.languages[0], "validation"))
    lines = [
        "One collection, emoji: short names, images on white. Photographs, captions and long documents may behave "
        "otherwise.",
        "The image tower was trained on images of emoji of every split, beside their English names.",
        "The student is static: it knows no order of words and no context. A transformer may gain more or less.",
        "The training pairs are names and lists of keywords, not sentences; words to be aligned are few.",
    ]
    if least is not None and held_out > least:
        lines.append(
            f"Selection inside a run uses about {held_out} held-out names per language, more than the smallest sample "
            f"of {least} pairs holds; a real project of that size would have fewer to spare."
        )
    if grid.translator is not None:
        lines.append(
            f"Translations come from {grid.translator}, which learned from text that the students never saw; it was "
            "run once and has no bitext size."
        )
    if len(grid.seeds) < 2:
        lines.append("One seed: nothing is known of the spread between runs.")
    return lines


def _datasets(bench: StudyInputs) -> dict[str, dict[str, Any]]:
    found = {}
    for protocol in (images.protocol, images.documents_protocol):
        told = protocol(bench.world, "test")
        scorings = [scoring for dataset, scoring in SETTINGS if dataset == told["dataset"]]
        found[str(told["dataset"])] = {key: told[key] for key in ("task", "gallery")} | {"scoring": scorings}
    return found


def _splits(bench: StudyInputs) -> dict[str, dict[str, Any]]:
    return {
        split: {
            "concepts": _concepts(bench, split),
            "queries": {code: len(bench.world.queries(code, split)) for code in ("en", *bench.languages)},
        }
        for split in SPLITS
    }


def _concepts(bench: StudyInputs, split: str) -> int:
    return len({one.concept for one in bench.world.emoji if one.split == split})


def _translation(grid: Grid) -> dict[str, Any] | str:
    if grid.translator is not None:
        return f"pretrained: {grid.translator}, not trained here"
    if grid.translation is None:
        return "left out"
    return {"model": "Marian, trained from scratch on the sample, all languages together", **asdict(grid.translation)}


def _recipes(grid: Grid, runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    told = {
        recipe.name: {
            "description": recipe.description,
            "transport": recipe.uses_transport,
            "kind": "distillation",
            "learning rate": recipe.schedule.learning_rate,
            "objectives": [{"kind": term.kind, "weight": term.weight, **term.options} for term in recipe.terms],
            "start": asdict(recipe.start),
        }
        for recipe in grid.recipes
    }
    made = {run.objective for run in runs}
    for name, description in _TRANSLATIONS.items():
        if name in made:
            told[name] = {"description": description, "transport": False, "kind": "translation"}
    return told


_TRANSLATIONS = {
    kinds.TRANSLATE_TEST: "translate the query into English, then ask the English teacher",
    kinds.LEXICAL: "word by word through a table that plans over the bitext give, then ask the English teacher",
}


def _seconds(finished: Sequence[tuple[Run, Finished]]) -> dict[str, float]:
    """Mean seconds of a run on one core, by objective and size."""
    found: dict[str, list[float]] = {}
    for run, outcome in finished:
        found.setdefault(f"{run.objective}, {run.size} pairs" if run.size else run.objective, []).append(
            outcome.seconds
        )
    return {name: round(sum(seconds) / len(seconds), 1) for name, seconds in found.items()}
