"""A pretrained student beside ``SentenceTransformerTrainer``, and bitext of a million pairs in bounded memory.

``python -m benchmarks.student_training [--steps 4] [--rounds 2] [--student multilingual-e5-small]`` trains the student
on the emoji bitext with both, in turn, each in a process of its own, by squared error, in batches of 256 pairs: pairs
per second and peak memory, each in float32 and, where the processor has hardware for it, in bfloat16 (mixed precision).
The bar is for both as they are without options: ours in the precision that "auto" takes, theirs in float32.
``python -m benchmarks.student_training --bitext 1000000 [--window 100000]`` trains a static student on that many pairs
whose teacher vectors are in the cache. Results: ``student_training.json`` and ``bitext_training.json`` in
``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.machine import Interference, describe_machine
from kivuko.files import write_text

RESULTS = Path(__file__).parent / "results"
CONTENDERS = ("kivuko", "sentence-transformers")
PRECISIONS = ("float32", "bfloat16")
RATIO, GIB, BITEXT_GIB = 4.0, 4.0, 3.0  # the bars: times their speed; peak memory with a transformer, and of a bitext
BATCH = 256


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark as the command line asks for it."""
    parser = argparse.ArgumentParser(prog="benchmarks.student_training", description=__doc__)
    parser.add_argument("--steps", type=int, default=4, help="timed steps of each contender in a round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--student", default="multilingual-e5-small")
    parser.add_argument("--bitext", type=int, metavar="PAIRS", help="measure a static student on so many pairs instead")
    parser.add_argument("--window", type=int, metavar="PAIRS", help="with --bitext: read while training")
    parser.add_argument("--only", help=argparse.SUPPRESS)  # a child's contender
    parser.add_argument("--precision", choices=PRECISIONS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.only:
        child = {"kivuko": _ours, "sentence-transformers": _theirs, "bitext": _bitext}[options.only]
        print(json.dumps(child(options)))
    elif options.bitext:
        _measure_bitext(options)
    else:
        _measure(options)


def _run_child(name: str, options: argparse.Namespace, **more: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.student_training", "--only", name, "--student", options.student]
    for key, value in {"steps": options.steps, **more}.items():
        command += [f"--{key}", str(value)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(name, more, json.dumps(result), file=sys.stderr)
    return result


def _measure(options: argparse.Namespace) -> None:
    from kivuko.training.recipe import FineTuning

    default = FineTuning().precision_on("cpu")
    precisions = PRECISIONS[: PRECISIONS.index(default) + 1]
    rounds: list[dict[str, Any]] = []
    interference = Interference()
    for number in range(options.rounds):
        order = [(name, precision) for precision in precisions for name in CONTENDERS]
        one = {
            f"{name} {precision}": _run_child(name, options, precision=precision)
            for name, precision in (order if number % 2 == 0 else order[::-1])
        }
        rounds.append(one)
    for name in rounds[0]:
        wall = statistics.median(one[name]["wall"] for one in rounds)
        print(f"{name:>30}: {wall:6.1f} pairs/s, peak {max(one[name]['peak_gib'] for one in rounds):.2f} GiB")
    ratios = [
        {"kivuko": ours, "sentence-transformers": theirs}
        | {clock: _ratio(rounds, ours, theirs, clock) for clock in ("wall", "process")}
        for ours, theirs in itertools.product(precisions, precisions)
    ]
    for pair in ratios:
        both = f"{pair['kivuko']} against theirs in {pair['sentence-transformers']}"
        print(f"ours in {both}: {pair['wall']:.2f} (processor time {pair['process']:.2f})")
    ratio = _ratio(rounds, default, "float32", "wall")
    peak = max(one[f"kivuko {default}"]["peak_gib"] for one in rounds)
    print(f"as they are without options: {ratio:.2f}; bars: {RATIO:g}, {GIB:g} GiB")
    result = {"student": options.student, "batch_size": BATCH, "steps": options.steps, "rounds": rounds,
              "ratios": ratios, "precision": default, "ratio": ratio}  # fmt: skip
    passed = ratio >= RATIO and peak <= GIB
    _save("student_training", result | {"passed": passed, "others": interference.share()})


def _ratio(rounds: list[dict[str, Any]], ours: str, theirs: str, clock: str) -> float:
    return statistics.median(
        one[f"kivuko {ours}"][clock] / one[f"sentence-transformers {theirs}"][clock] for one in rounds
    )


def _save(name: str, result: dict[str, Any]) -> None:
    print("passed" if result["passed"] else "NOT passed")
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / f"{name}.json", json.dumps(result | {"machine": describe_machine()}, indent=1) + "\n")


class _Clock:
    """Times steps; the first is left out."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def tick(self, *_: object) -> None:
        self.ends.append((time.perf_counter(), time.process_time()))

    def result(self) -> dict[str, float]:
        steps = len(self.ends) - 1
        (wall, process), (last_wall, last_process) = self.ends[0], self.ends[-1]
        pairs = steps * BATCH
        return {"wall": pairs / (last_wall - wall), "process": pairs / (last_process - process), "peak_gib": peak_gib()}


def peak_gib() -> float:
    """Return the most memory that this process has held, mapped files included, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _data() -> tuple[Any, Any]:
    """Return the emoji bitext and the vectors of its English side."""
    from kivuko.datasets.emoji.world import emoji_world
    from kivuko.encoders.teacher import load_teacher
    from kivuko.languages import DEFAULT_LANGUAGES
    from kivuko.training.teacher_vectors import teacher_vectors

    bitext = emoji_world(DEFAULT_LANGUAGES).bitext(DEFAULT_LANGUAGES, "train")
    return bitext, teacher_vectors(load_teacher(), [pair.english for pair in bitext])


def _ours(options: argparse.Namespace) -> dict[str, float]:
    from kivuko.bitext.pairs import Bitext
    from kivuko.encoders.student import load_transformer_student
    from kivuko.training.recipe import FineTuning, load_recipe
    from kivuko.training.student_training import Validation, distill_student

    bitext, vectors = _data()
    steps = options.steps + 1
    recipe = load_recipe("mse").with_schedule(steps=steps, batch_size=BATCH, validate_every=steps)
    recipe = replace(recipe, fine_tuning=FineTuning(precision=options.precision))
    student = load_transformer_student(options.student, vectors.pooled.shape[1])
    validation, clock = Validation.from_bitext(Bitext(bitext.pairs[:8]), (), vectors), _Clock()
    distill_student(
        student, bitext, vectors, recipe, validation, report=clock.tick,
        rows=recipe.fine_tuning.learning_rows(student, bitext),
    )  # fmt: skip
    return clock.result()


def _theirs(options: argparse.Namespace) -> dict[str, float]:
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MSELoss
    from transformers import TrainerCallback

    from datasets import Dataset
    from kivuko.encoders.loading import local_folder
    from kivuko.encoders.modules import load_sentence_transformer

    bitext, vectors = _data()
    clock = _Clock()

    class Watch(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            clock.tick()

    student = load_sentence_transformer(local_folder(options.student))
    rows = [vectors.sentences[pair.english] for pair in bitext]
    data = Dataset.from_dict({"sentence": [pair.text for pair in bitext], "label": vectors.pooled[rows].numpy()})
    with tempfile.TemporaryDirectory() as place:
        arguments = SentenceTransformerTrainingArguments(
            place, per_device_train_batch_size=BATCH, max_steps=options.steps + 1, learning_rate=5e-5, report_to="none",
            save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=True,
            bf16=options.precision == "bfloat16",
        )  # fmt: skip
        SentenceTransformerTrainer(
            model=student, args=arguments, train_dataset=data, loss=MSELoss(student), callbacks=[Watch()]
        ).train()
    return clock.result()


def _measure_bitext(options: argparse.Namespace) -> None:
    """Write a bitext of so many pairs, put its teacher vectors into a cache, and train on it in another process."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["KIVUKO_CACHE"] = place
        folder = Path(place)
        _write_bitext(folder / "pairs.tsv", options.bitext)
        _save_teacher(folder / "teacher")
        print("encoding", file=sys.stderr)
        more = {"folder": folder} | ({"window": options.window} if options.window else {})
        _run_child("bitext", options, bitext=0, **more)
        result = _run_child("bitext", options, bitext=options.bitext, **more)
    print(
        f"{options.bitext:,} pairs: peak {result['peak_gib']:.2f} GiB (bar {BITEXT_GIB:g}), first step after "
        f"{result['first_step']:.0f} s"
    )
    _save(
        "bitext_training",
        result | {"pairs": options.bitext, "window": options.window, "passed": result["peak_gib"] <= BITEXT_GIB},
    )


def _write_bitext(file: Path, pairs: int) -> None:
    """Write sentences made of three emoji names and a number, all different."""
    import random

    from kivuko.datasets.emoji.world import emoji_world

    names = emoji_world(("sw",)).bitext(("sw",), "train").pairs
    draw = random.Random(0)
    with file.open("w", encoding="utf-8") as stream:
        for number in range(pairs):
            chosen = draw.sample(names, 3)
            own, english = (
                " ".join([*side, str(number)]) for side in zip(*((p.text, p.english) for p in chosen), strict=True)
            )
            stream.write(f"{own}\t{english}\n")


def _bitext(options: argparse.Namespace) -> dict[str, float]:
    """Distill a static student; with 0 pairs stop when the teacher's vectors are in the cache."""
    import kivuko
    from kivuko.progress import TrainingProgress

    steps, window = (100, options.window) if options.bitext else (1, options.window)
    began, first = time.perf_counter(), [0.0]

    def stepped(watch: TrainingProgress, *_: object) -> None:
        first[0] = first[0] or time.perf_counter() - began

    TrainingProgress.stepped = stepped  # type: ignore[method-assign]
    kivuko.distill(
        {"sw": options.folder / "pairs.tsv"}, options.folder / f"model-{steps}", teacher=options.folder / "teacher",
        recipe="contrastive", image_tower="none", steps=steps, window=window, progress=False,
    )  # fmt: skip
    return {"peak_gib": peak_gib(), "first_step": first[0]}


def _save_teacher(folder: Path) -> None:
    """Save MiniLM without its layers: the same tokens and as wide, but a million sentences are encoded in minutes."""
    from torch import nn

    from kivuko.encoders.teacher import load_teacher

    model = load_teacher().model
    network = model[0].model
    network.encoder.layer, network.config.num_hidden_layers = nn.ModuleList(), 0
    model.save(str(folder), create_model_card=False)


if __name__ == "__main__":
    main()
