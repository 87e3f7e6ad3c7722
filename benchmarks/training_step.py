"""What transport adds to a training step: the recipe ``optical`` against ``sentence``, which is optical without it.

The demo's data, teacher and student; the two recipes train in turn, and the median step of each round is compared.
Run: python -m benchmarks.training_step
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

from kivuko.datasets.emoji.world import emoji_world
from kivuko.encoders.teacher import load_teacher
from kivuko.files import write_text
from kivuko.languages import DEFAULT_LANGUAGES
from kivuko.studies.demo import emoji_job
from kivuko.training.recipe import load_recipe
from kivuko.training.student_training import Job, Validation, build_student, distill_student
from kivuko.training.teacher_vectors import TeacherVectors, teacher_vectors

RESULTS = Path(__file__).parent / "results"
ROUNDS, STEPS, WARM = 7, 60, 10


def main() -> None:
    """Time both, print the ratio, and write ``benchmarks/results/training_step.json``."""
    job = emoji_job(emoji_world(DEFAULT_LANGUAGES), DEFAULT_LANGUAGES, "optical")
    english = [pair.english for pair in (*job.bitext.pairs, *job.held_out.pairs)]
    vectors = teacher_vectors(load_teacher(), [*english, *job.distractors])
    rounds = []
    for number in range(ROUNDS):
        order = ("sentence", "optical") if number % 2 == 0 else ("optical", "sentence")
        rounds.append({name: step_seconds(job, vectors, name) for name in order})
    ratios = [one["optical"] / one["sentence"] for one in rounds]
    found = {
        "rounds": rounds, "steps": STEPS, "batch_size": job.recipe.schedule.batch_size,
        "ratio_median": statistics.median(ratios), "ratio_least": min(ratios), "ratio_most": max(ratios),
    }  # fmt: skip
    for name in ("sentence", "optical"):
        print(f"{name:>9}: {1e3 * statistics.median(one[name] for one in rounds):.1f} ms a step")
    print(f"optical / sentence: {found['ratio_median']:.3f} ({found['ratio_least']:.3f} to {found['ratio_most']:.3f})")
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / "training_step.json", json.dumps(found, indent=1) + "\n")


def step_seconds(job: Job, vectors: TeacherVectors, recipe: str) -> float:
    """Return the median seconds of a training step, the first ones left out."""
    chosen = load_recipe(recipe).with_schedule(steps=STEPS, validate_every=STEPS)
    student = build_student("static", job.bitext, vectors, chosen, size=job.vocabulary_size, seed=0)
    validation = Validation.from_bitext(job.held_out, job.distractors, vectors)
    ends: list[float] = []
    distill_student(
        student, job.bitext, vectors, chosen, validation, report=lambda *_: ends.append(time.perf_counter())
    )
    return statistics.median(later - earlier for earlier, later in zip(ends[WARM:], ends[WARM + 1 :], strict=False))


if __name__ == "__main__":
    main()
