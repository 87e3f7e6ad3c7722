"""The training loop.

Every step's randomness (which pairs, which subwords are hidden) is a function of the seed and the step alone, so a
checkpoint needs no generator states and a resumed run takes the very steps that an uninterrupted one takes.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from kivuko.bitext import Bitext, Pair
from kivuko.encoders.student import Student
from kivuko.encoders.token_batch import TokenBatch
from kivuko.errors import DataError, UsageError
from kivuko.training.checkpoint import Progressed, checkpoint_run, load_checkpoint, save_checkpoint
from kivuko.training.recipe import FineTuning, Recipe, Schedule
from kivuko.training.teacher_vectors import TeacherVectors


@dataclass(frozen=True)
class Validation:
    """Held-out pairs, searched in a gallery of English sentences.

    ``texts`` and ``targets`` per language: query texts, and int64 [queries] rows of ``gallery`` [sentences, dim], unit
    vectors of the teacher.
    """

    texts: dict[str, list[str]]
    targets: dict[str, Tensor]
    gallery: Tensor

    @classmethod
    def from_bitext(cls, held_out: Bitext, distractors: Sequence[str], vectors: TeacherVectors) -> Validation:
        """Take queries from ``held_out``; the gallery is their English sentences and the ``distractors``."""
        english = list(dict.fromkeys([*(pair.english for pair in held_out.pairs), *distractors]))
        row = {text: place for place, text in enumerate(english)}
        gallery = F.normalize(vectors.pooled[[vectors.sentences[text] for text in english]], dim=-1)
        groups = held_out.by_language()
        return cls(
            {language: [pair.text for pair in pairs] for language, pairs in groups.items()},
            {language: torch.tensor([row[pair.english] for pair in pairs]) for language, pairs in groups.items()},
            gallery,
        )

    @torch.no_grad()
    def score(self, student: Student) -> float:
        """Return the mean reciprocal rank, averaged over languages; ties count against the student. 0 to 1."""
        means = []
        for language, texts in self.texts.items():
            pooled = torch.cat([student.encode_tokens(texts[i : i + 512]).pooled for i in range(0, len(texts), 512)])
            scores = F.normalize(pooled.float(), dim=-1).cpu() @ self.gallery.T  # [queries, sentences]
            own = scores.gather(1, self.targets[language][:, None])
            rank = (~(scores < own)).sum(1)  # so written, a score that is no number counts against the student too
            means.append((1 / rank.double()).mean())
        return float(torch.stack(means).mean()) if means else 0.0


Report = Callable[[int, int, dict[str, float]], None]  # (step, steps, figures)
_OWN = "objective."  # in a checkpoint, the objectives' own weights lie beside the student's


@dataclass(frozen=True)
class Outcome:
    """What training came to: the best step, its validation score, all scores, and the seconds this process took."""

    best_step: int
    best_score: float
    history: list[tuple[int, float]]
    seconds: float


def distill(
    student: Any,
    bitext: Bitext,
    vectors: TeacherVectors,
    recipe: Recipe,
    validation: Validation,
    *,
    seed: int = 0,
    checkpoints: Path | None = None,
    report: Report | None = None,
) -> Outcome:
    """Train ``student`` in place and leave it with the weights that scored best on the validation split.

    It trains on a GPU where there is one, in bfloat16 where that can, and is then back where it was. On a GPU the same
    seed gives nearly the same weights, not the same bits: sums there are taken in no fixed order.

    Args:
        student: a torch module with ``encode_tokens`` (see encoders.student).
        bitext: training pairs; every English sentence must be in ``vectors``.
        recipe: objectives and schedule.
        seed: drives the order of pairs and the hidden subwords (not the student's first weights).
        checkpoints: folder for checkpoints, one after each validation; if it holds one of this same run, training goes
            on from there. None: none are kept.
        report: called after each step with (step, steps, figures): the loss and its parts.

    Raises:
        DataError: the bitext is empty.
        UsageError: ``checkpoints`` holds another run's checkpoint, or training diverged.
        CorruptFileError: the checkpoint is damaged.
    """
    if not len(bitext):
        raise DataError("no pairs to train on: every line of the bitext was left out, or the sample is empty.")
    schedule, run, started = (
        recipe.schedule,
        _fingerprint(student, bitext, vectors, recipe, validation, seed),
        time.monotonic(),
    )
    accelerator, home = Accelerator(mixed_precision=_precision()), next(student.parameters()).device
    peak = schedule.learning_rate * student.rate_factor
    objective = recipe.objective(vectors.mean)
    learned = objective.learned().to(accelerator.device)
    optimizer = torch.optim.AdamW(
        [*recipe.fine_tuning.groups(student), {"params": learned.parameters(), "weight_decay": 0.0, "factor": 1.0}],
        lr=peak, weight_decay=schedule.weight_decay, betas=(0.9, 0.98), fused=True,
    )  # fmt: skip
    at, best = _taken_up(checkpoints, run, student, learned, optimizer)
    model, optimizer = accelerator.prepare(student, optimizer)
    if recipe.augmentation and hasattr(student, "remembers"):
        student.remembers = False  # no misspelling comes twice
    rows = torch.tensor([vectors.sentences[pair.english] for pair in bitext.pairs])

    for step, chosen in _batches(len(bitext), schedule, seed, start=at.step):
        for group in optimizer.param_groups:
            group["lr"] = peak * group["factor"] * _rate(step, schedule)
        torch.manual_seed(_step_seed(seed, step))
        target = vectors.batch(rows[chosen])
        texts = _read_by_student([bitext.pairs[i] for i in chosen.tolist()], recipe, student, target, seed, step)
        model.train()
        with accelerator.autocast():
            value = objective(model(texts), target.to(accelerator.device))
        accelerator.backward(value.total)
        accelerator.clip_grad_norm_([*model.parameters(), *learned.parameters()], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if not math.isfinite(loss := value.total.item()):
            raise UsageError(f"training diverged at step {step} (loss {loss}). Lower learning_rate in the recipe.")
        if report:
            report(
                step,
                schedule.steps,
                {"loss": loss, **{name: part.item() for name, part in value.parts.items()}},
            )
        at.step = step
        if step % schedule.validate_every == 0 or step == schedule.steps:
            best = _validate(student, validation, at, best)
            if checkpoints:
                own = {_OWN + key: value for key, value in learned.state_dict().items()}
                save_checkpoint(checkpoints, run, at, student.state_dict() | own, best, optimizer)
    student.to(home).load_state_dict(best)
    student.eval()
    return Outcome(at.best_step, at.best_score, at.history, time.monotonic() - started)


def _taken_up(
    checkpoints: Path | None, run: str, student: nn.Module, learned: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progressed, dict[str, Tensor]]:
    """Load what a killed run left, if it left anything: how far it was, and its best weights."""
    if checkpoints is None or (found := checkpoint_run(checkpoints)) is None:
        return Progressed(), {}
    if found != run:
        raise UsageError(
            f"{checkpoints}: belongs to another run (other data, recipe or seed). Delete it, or choose another --out."
        )
    at, weights, best = load_checkpoint(checkpoints, optimizer)
    learned.load_state_dict({key: weights.pop(_OWN + key) for key in learned.state_dict()})
    student.load_state_dict(weights)
    return at, best


def _read_by_student(
    pairs: list[Pair], recipe: Recipe, student: Any, target: TokenBatch, seed: int, step: int
) -> list[str]:
    """Return the sentences of a batch, some of them misspelled where the recipe says so."""
    if recipe.augmentation is None:
        return [pair.text for pair in pairs]
    return recipe.augmentation.of_batch(pairs, student, target.pooled, _step_seed(seed, step))


def _validate(student: nn.Module, validation: Validation, at: Progressed, best: dict[str, Tensor]) -> dict[str, Tensor]:
    """Score the student, note it in ``at``, and return the best weights so far."""
    student.eval()
    score = validation.score(student)  # type: ignore[arg-type]
    at.history.append((at.step, score))
    if score <= at.best_score:
        return best
    at.best_score, at.best_step = score, at.step
    return {key: value.detach().clone() for key, value in student.state_dict().items()}


def _batches(pairs: int, schedule: Schedule, seed: int, start: int) -> Iterator[tuple[int, Tensor]]:
    """Yield (step, rows int64 [batch]) from ``start`` + 1 on: shuffled epochs end to end, each pair once an epoch."""
    size, orders = min(schedule.batch_size, pairs), dict[int, Tensor]()
    for step in range(start + 1, schedule.steps + 1):
        first = (step - 1) * size
        epochs = range(first // pairs, (first + size - 1) // pairs + 1)
        for epoch in epochs:
            if epoch not in orders:
                generator = torch.Generator().manual_seed(_step_seed(seed, -1 - epoch))
                orders = {e: o for e, o in orders.items() if e in epochs}
                orders[epoch] = torch.randperm(pairs, generator=generator)
        flow = torch.cat([orders[epoch] for epoch in epochs])
        offset = first - epochs[0] * pairs
        yield step, flow[offset : offset + size]


def _rate(step: int, schedule: Schedule) -> float:
    """Linear warm-up, then half a cosine down to zero; a factor of the learning rate."""
    warm = max(1, round(schedule.warmup * schedule.steps))
    if step <= warm:
        return step / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, schedule.steps - warm)))


def _step_seed(seed: int, step: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}:{step}".encode(), digest_size=7).digest())


def _precision() -> str:
    """bfloat16 where a GPU has it; float32 on a CPU."""
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"


def _fingerprint(
    student: Any, bitext: Bitext, vectors: TeacherVectors, recipe: Recipe, validation: Validation, seed: int
) -> str:
    """Hash all that decides the outcome, the student's first weights and its vocabulary included."""
    digest = hashlib.sha256(
        json.dumps([recipe.name, asdict(recipe.schedule), [asdict(t) for t in recipe.terms], seed]).encode()
    )
    if recipe.augmentation is not None:
        digest.update(json.dumps(asdict(recipe.augmentation)).encode())
    if recipe.fine_tuning != FineTuning():
        digest.update(json.dumps(asdict(recipe.fine_tuning)).encode())
    for pair in bitext.pairs:
        digest.update(f"{pair.language}\t{pair.text}\t{pair.english}\n".encode())
    digest.update(json.dumps([validation.texts, sorted(student.tokenizer.get_vocab().items())]).encode())
    for tensor in (
        vectors.pooled,
        validation.gallery,
        *validation.targets.values(),
        *student.state_dict().values(),
    ):
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
