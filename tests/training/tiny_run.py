"""A distillation that takes a fraction of a second; as a script, one that is killed and one that goes on.

python tiny_run.py FOLDER POINT...   start a run per point in FOLDER/POINT, each kills itself at its point; then end
each of them, and one, "whole", that was not killed. Prints, as JSON, how each died and its first step after.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
from itertools import product
from pathlib import Path

import torch

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.token_batch import TokenBatch, masked_mean
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.training import checkpoint
from kivuko.training.recipe import parse_recipe
from kivuko.training.student_training import Validation, distill_student
from kivuko.training.teacher_vectors import teacher_vectors

SUBJECTS = {"paka": "cat", "mbwa": "dog", "ndege": "bird", "mtoto": "child", "samaki": "fish"}
VERBS = {"anakula": "eats", "analala": "sleeps", "anakimbia": "runs", "anacheza": "plays"}
OTHERS = {"cat": "kissa", "dog": "koira", "bird": "lintu", "child": "lapsi", "fish": "kala"} | {
    "eats": "syö", "sleeps": "nukkuu", "runs": "juoksee", "plays": "leikkii",
}  # fmt: skip

RECIPE = """
[[objective]]
kind = "contrastive"
weight = 1.0

[[objective]]
kind = "transport"
weight = 0.5
regularization = 0.05

[schedule]
steps = 12
batch_size = 7
learning_rate = 0.05
weight_decay = 0.01
validate_every = 4
"""


class WordTeacher:
    """A teacher that gives each word a vector of its own, drawn by the word's hash, around a common mean."""

    name, dim, fingerprint = "words", 16, "words-16"

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def accelerated(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def encode_tokens(self, texts: list[str]) -> TokenBatch:
        """Encode texts, word by word; a text's vector is the mean of its words'."""
        self.encoded += texts
        words = [text.split() for text in texts]
        length = max(1, *map(len, words))
        tokens, mask = (
            torch.zeros(len(texts), length + 1, self.dim),
            torch.zeros(len(texts), length + 1, dtype=torch.bool),
        )
        tokens[:, 0] = 9.0  # a special token in front, which nobody should see
        for row, of_text in enumerate(words):
            for place, word in enumerate(of_text, start=1):
                tokens[row, place], mask[row, place] = self.vector(word), True
        return TokenBatch(tokens, mask, masked_mean(tokens, mask))

    def vector(self, word: str) -> torch.Tensor:
        """The vector of one word, float [dim]."""
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4])
        return torch.randn(self.dim, generator=torch.Generator().manual_seed(seed)) + 0.5


def pairs() -> list[Pair]:
    """All subjects with all verbs, in Swahili and Finnish."""
    found = []
    for (subject, english_subject), (verb, english_verb) in product(SUBJECTS.items(), VERBS.items()):
        english = f"{english_subject} {english_verb}"
        found.append(Pair("sw", f"{subject} {verb}", english, f"tiny:sw:{english}"))
        found.append(Pair("fi", f"{OTHERS[english_subject]} {OTHERS[english_verb]}", english, f"tiny:fi:{english}"))
    return found


class TinyRun:
    """Everything that ``distill_student`` takes; ``cache`` is for the teacher's vectors."""

    def __init__(self, cache: Path) -> None:
        everything = pairs()
        held_out = {"cat runs", "dog plays", "bird eats", "child sleeps"}
        self.bitext = Bitext(tuple(pair for pair in everything if pair.english not in held_out))
        self.held_out = Bitext(tuple(pair for pair in everything if pair.english in held_out))
        self.vectors = teacher_vectors(WordTeacher(), [pair.english for pair in everything], cache)
        distractors = [pair.english for pair in self.bitext]
        self.validation = Validation.from_bitext(self.held_out, distractors, self.vectors)
        self.recipe = parse_recipe(RECIPE, "tiny", "tiny.toml")
        self.student = self.new_student()

    def new_student(self, seed: int = 0, size: int = 120) -> StaticStudent:
        """A student with first weights by ``seed``."""
        torch.manual_seed(seed)
        vocabulary = train_vocabulary([pair.text for pair in self.bitext], size)
        return StaticStudent(vocabulary, WordTeacher.dim, token_dropout=0.2)

    def go(self, **changes):
        """Distill; ``changes`` replace single arguments."""
        whole = {
            "student": self.student, "bitext": self.bitext, "vectors": self.vectors, "recipe": self.recipe,
            "validation": self.validation,
        }  # fmt: skip
        return distill_student(**(whole | changes))


def start_and_die(folder: Path, point: str) -> None:
    """Run in ``folder`` and be killed: at a step ("6"), or while the checkpoint of a step is saved ("saving-8")."""
    run = TinyRun(folder.parent / "teacher")

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def report(step: int, steps: int, figures: dict[str, float]) -> None:
        if str(step) == point:
            die()
        if f"saving-{step}" == point:
            checkpoint.write_text = die  # the new weights are written, the index still names the old ones

    run.go(checkpoints=folder, report=report, seed=3)


def finish(folder: Path) -> int:
    """Go on in ``folder``, leave the weights beside it, and return the first step that was taken."""
    steps: list[int] = []
    run = TinyRun(folder.parent / "teacher")
    run.go(checkpoints=folder, report=lambda step, *_: steps.append(step), seed=3)
    torch_weights = run.student.embedding.weight.detach().numpy()
    folder.with_suffix(".weights").write_bytes(torch_weights.tobytes())
    return steps[0]


def main(folder: Path, points: list[str]) -> None:
    """See the top of the file. Each killed run is a process of its own, and so is what ends them."""
    torch.set_num_threads(1)
    TinyRun(folder / "teacher").go()  # whatever torch imports on first use is imported once, not in every child
    signals = {}
    for point in points:
        child = os.fork()
        if not child:
            start_and_die(folder / point, point)
            os._exit(0)
        signals[point] = -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([signals, {point: finish(folder / point) for point in ["whole", *points]}]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
