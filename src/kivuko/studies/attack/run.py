"""Measures a model clean and under attacks, and writes what was found."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from kivuko.attacks.spec import AttackSpec
from kivuko.evaluation import write_records
from kivuko.evaluation.examples import AttackedExample, write_examples
from kivuko.files import atomic_path
from kivuko.studies.attack.on_images import ImageAttacks
from kivuko.studies.attack.on_pairs import attack_pairs
from kivuko.studies.attack.on_texts import attack_texts
from kivuko.studies.attack.outcome import Attacked, AttackedPictures
from kivuko.studies.attack.progress import Unwatched, Watch
from kivuko.studies.attack.results import Results, png
from kivuko.studies.attack.victim import Victim


def run_attacks(
    victim: Victim,
    languages: Sequence[str],
    specs: Sequence[AttackSpec],
    *,
    pictures: Path | None = None,
    watch: Watch | None = None,
) -> Results:
    """Measure the queries of some languages clean and under each attack.

    Args:
        pictures: a folder that perturbed pictures are written to; see :func:`write_pictures`.

    Raises:
        ModelError: an attack needs gradients that this kind of text encoder cannot give.
        DataError: a language without queries.
    """
    watch = watch or Unwatched()
    results, on_images = Results(victim, tuple(languages)), ImageAttacks(victim, languages)
    results.add_clean([victim.queries(code) for code in languages])
    for spec in specs:
        outcomes = []
        for code in languages:
            watch.began(spec.text, code)
            queries = victim.queries(code)
            if spec.attack.kind == "text":
                outcomes.append(attack_texts(victim, spec, queries, watch.stepped))
            elif spec.attack.kind == "image":
                outcomes.append(on_images.attack(spec, queries, watch.stepped))
            else:
                outcomes.append(attack_pairs(victim, spec, queries, languages, watch.stepped))
            if pictures is not None:
                write_pictures(pictures, outcomes[-1])
            watch.ended()
        results.add_attacked(outcomes)
    results.add_areas()
    return results


def write_results(results: Results, command: str, records: Path, examples: Path | None = None) -> None:
    """Write the records with their per-query scores, and the attacked examples: beside them, or where it is said."""
    write_records(records, results.header(command), results.records, results.per_query)
    if examples is None:
        write_examples(records, results.examples)
    else:
        _write_examples_at(examples, results.examples)


def _write_examples_at(place: Path, examples: Sequence[AttackedExample]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as folder:
        write_examples(Path(folder) / place.stem, examples).replace(place)


def write_pictures(folder: Path, outcome: Attacked) -> None:
    """Write the perturbed pictures of one language under one attack as PNG files.

    They lie in ``folder/ATTACK/LANGUAGE/``, named by the code points of the emoji that is asked for (1f408.png).
    """
    if outcome.pictures is None:
        return
    place = folder / outcome.spec.text.replace("/", "-").replace(":", " ") / outcome.queries.language
    with atomic_path(place) as temporary:
        temporary.mkdir()
        _write_each(temporary, outcome.pictures, [query.id for query in outcome.queries.queries])


def _write_each(folder: Path, pictures: AttackedPictures, ids: Sequence[str]) -> None:
    for name, pixels in zip(ids, pictures.pixels, strict=True):
        stem = "-".join(f"{ord(one):x}" for one in name.partition(":")[2])
        (folder / f"{stem}.png").write_bytes(png(pixels))
