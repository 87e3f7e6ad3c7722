"""Recipes: declarative files that name objectives, their weights, the student's start, and the schedule."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.bitext.word_alignment import ALIGNERS
from kivuko.encoders.input_embeddings import used_rows
from kivuko.encoders.loading import fast_bfloat16
from kivuko.encoders.student import TOKEN_BUDGET, add_lora
from kivuko.errors import KivukoError, ModelError, UsageError, is_number
from kivuko.losses.kinds import COUNT, FLAG, NOT_NEGATIVE, POSITIVE, Check, Term, one_of, read_term
from kivuko.losses.objectives import WeightedSum
from kivuko.perturbations.edits import edit_kinds, perturb
from kivuko.training.recipes import recipe_text
from kivuko.vectors import rescaled

_LAYER = re.compile(r"\.(?:layer|layers|block|blocks|h)\.(\d+)\.")
_EMBEDDING = re.compile(r"embed|wte|shared")


@dataclass(frozen=True)
class FineTuning:
    """Settings for students that are pretrained transformers; students of other kinds have no use for them."""

    lora_rank: int = 0  # of low-rank adapters, which learn in place of the encoder's weights; 0: none
    layer_decay: float = 1.0  # a layer's learning rate over that of the layer above it (arXiv 1801.06146, section 3.2)
    gradient_checkpointing: bool = False  # activations are computed again on the way back: less memory, more time
    precision: str = (
        "auto"  # of matrix products: "float32", "bfloat16" (mixed precision), or what the device is fast in
    )
    embeddings: str = "used"  # which token vectors learn: those that the bitext uses, "all", or none ("frozen")

    def learning_rows(self, student: Any, bitext: Bitext) -> Tensor | None:
        """Return the rows of the token vectors that learn, int64; None: the whole table as it is."""
        if self.embeddings == "all":
            return None
        rows = used_rows(student, (pair.text for pair in bitext.pairs))
        return rows if rows is None or self.embeddings == "used" else rows[:0]

    def precision_on(self, device: Any) -> str:
        """Return "float32" or "bfloat16": the precision of training on a device, torch's or its name."""
        if self.precision == "auto":
            return "bfloat16" if fast_bfloat16(device) else "float32"
        return self.precision

    def prepare(self, student: Any, *, new_words: bool) -> None:
        """Give a student its adapters and let it save memory, in place."""
        if self.lora_rank:
            student.model = add_lora(student.model, self.lora_rank, train_embeddings=new_words)
        if self.gradient_checkpointing:
            try:
                student.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            except ValueError as problem:
                raise ModelError(f"{student.name}: cannot recompute its activations; set "
                                 "gradient_checkpointing = false.") from problem  # fmt: skip

    def groups(self, student: nn.Module) -> list[dict[str, Any]]:
        """Return the optimizer's groups of what learns: ``params``, and ``factor`` of the student's learning rate."""
        learning = [(name, one) for name, one in student.named_parameters() if one.requires_grad]
        if self.layer_decay == 1:
            return [{"params": [one for _, one in learning], "factor": 1.0}]
        layers = 1 + max((int(match[1]) for name, _ in learning if (match := _LAYER.search(name))), default=-1)
        depths: dict[int, list[nn.Parameter]] = {}
        for name, one in learning:
            depths.setdefault(_depth(name, layers), []).append(one)
        return [{"params": depths[d], "factor": self.layer_decay**d} for d in sorted(depths)]


def _depth(name: str, layers: int) -> int:
    """Return the number of layers above a parameter: 0 for one after the last layer."""
    if match := _LAYER.search(name):
        return layers - 1 - int(match[1])
    return layers if _EMBEDDING.search(name) else 0


@dataclass(frozen=True)
class Schedule:
    """The schedule of a training by AdamW: linear warm-up, cosine decay to 0."""

    steps: int = 800
    batch_size: int = 256  # pairs
    learning_rate: float = 5e-3  # at its highest; students take their ``rate_factor`` of it
    warmup: float = 0.05  # share of the steps
    weight_decay: float = 0.0
    token_dropout: float = 0.0  # share of subwords that a static student hides from each training sentence
    validate_every: int = 100  # steps
    epochs: float | None = None  # length in passes over the pairs, in place of ``steps``
    accumulation: int = 1  # batches per step; an in-batch objective sees one of them at a time
    patience: int = 0  # validations in a row without a better score that end the training; 0: it goes to its last step
    token_budget: int = TOKEN_BUDGET  # tokens of a transformer's batch that are in memory at once; the rest: in parts

    def for_pairs(self, pairs: int) -> Schedule:
        """Return the schedule with ``steps`` by its epochs, where it has them."""
        if self.epochs is None:
            return self
        batch = min(self.batch_size, pairs) * self.accumulation
        return replace(self, steps=max(1, math.ceil(self.epochs * pairs / batch)), epochs=None)


@dataclass(frozen=True)
class Start:
    """A student's initialization: the table ``[student]`` of a recipe, see ``kivuko.training.initialization``."""

    vectors: str = "random"  # or "transplant": at means of English words' vectors, weighted by an aligner
    aligner: str = "transport"  # of the transplant, see ``kivuko.bitext.word_alignment``
    scale: float = 1.0  # of random first vectors, > 0; 1 is the student's own
    teacher_words: bool = False  # the teacher's own words join the vocabulary, with the teacher's vectors
    regularization: float = 0.5  # > 0, entropy weight of the transplant's plans, in units of their cost
    marginal_penalty: float | None = None  # > 0, weight of those plans' marginals, in that unit; None: they must hold
    spelling: float = 0.0  # >= 0, bonus for a subword and a word that are spelled the same, in nats; 0: none
    neighbors: bool = False  # a static student reads misspelled words by their neighbors (``encoders.spelling``)
    positions: bool = (
        True  # "transport" and "ibm2" learn the distances between words of a sentence and their translations
    )
    words: bool = False  # a static student's vocabulary gets whole words when it is trained (``word_vectors``)
    projection: str = "pairs"  # of a pretrained student, see ``map_pairs``; "english"; "random": where widths differ


@dataclass(frozen=True)
class Augmentation:
    """Misspelled training sentences: the student reads the perturbed sentence, the teacher the clean English one.

    With ``worst_of`` above 1 the worst of several draws is taken, as LEAF does for English CLIP (arXiv 2506.03355).
    """

    kinds: tuple[str, ...] = ("typo",)  # kinds of edit or groups of them, see ``kivuko.perturbations``
    edits: int = 1  # at most so many edits per sentence, at least 1; how many is drawn
    share: float = 0.5  # of the sentences of a batch that are perturbed, above 0 and at most 1
    worst_of: int = 1  # draws of which the worst is taken, at least 1
    copies: int = 0  # misspelled copies of each sentence, for the vocabulary and the first vectors; 0 or more

    def of_batch(self, pairs: Sequence[Pair], student: Any, targets: Tensor, seed: int) -> list[str]:
        """Return a batch's sentences, a share of them perturbed; ``targets`` [batch, dim]: the teacher's vectors."""
        rng = np.random.default_rng(seed)
        texts = [pair.text for pair in pairs]
        chosen = np.flatnonzero(rng.random(len(pairs)) < self.share).tolist()
        draws = [self._drawn([pairs[row] for row in chosen], rng) for _ in range(self.worst_of)]
        if len(draws) > 1 and chosen:
            draws = [_farthest(draws, student, targets[chosen])]
        for row, text in zip(chosen, draws[0], strict=True):
            texts[row] = text
        return texts

    def with_copies(self, bitext: Bitext, seed: int) -> Bitext:
        rng = np.random.default_rng(seed)
        pairs = list(bitext.pairs)
        for _ in range(self.copies):
            texts = self._drawn(bitext.pairs, rng)
            pairs += [replace(pair, text=text) for pair, text in zip(bitext.pairs, texts, strict=True)]
        return Bitext(tuple(pairs))

    def _drawn(self, pairs: Sequence[Pair], rng: np.random.Generator) -> list[str]:
        edits = rng.integers(1, self.edits + 1, size=len(pairs)).tolist()
        return [perturb(p.text, p.language, self.kinds, n, rng).text for p, n in zip(pairs, edits, strict=True)]


@torch.no_grad()
def _farthest(draws: Sequence[Sequence[str]], student: Any, targets: Tensor) -> list[str]:
    """Return the draw of each sentence with the lowest cosine to its target [sentences, dim]."""
    flat = [text for draw in draws for text in draw]
    learning = student.training
    student.eval()
    vectors = student.encode_tokens(flat).pooled.view(len(draws), len(targets), -1)
    student.train(learning)
    worst = F.cosine_similarity(rescaled(vectors), rescaled(targets.to(vectors.device)), dim=-1).argmin(0).tolist()
    return [draws[draw][row] for row, draw in enumerate(worst)]


@dataclass(frozen=True)
class Recipe:
    """A named way to distill."""

    name: str
    description: str
    terms: tuple[Term, ...]
    schedule: Schedule = Schedule()
    start: Start = Start()
    augmentation: Augmentation | None = None
    fine_tuning: FineTuning = field(default_factory=FineTuning)

    @property
    def uses_transport(self) -> bool:
        """True if a transport plan takes part, in an objective that counts or in the student's first vectors."""
        planned = self.start.vectors == "transplant" and self.start.aligner == "transport"
        return planned or any(term.transports for term in self.terms)

    @property
    def centers_student(self) -> bool:
        """True if the teacher's mean token is taken from the student's tokens too, before they are compared."""
        if self.start.teacher_words or self.start.vectors != "random":
            return False
        return not any(term.options.get("centered") == "teacher" for term in self.terms)

    def objective(self, center: Tensor) -> WeightedSum:
        """Build the weighted sum of objectives; ``center`` [dim] is the teacher's mean content token."""
        return WeightedSum([(term.weight, term.build(center)) for term in self.terms])

    def settings(self) -> list[Any]:
        """Return all that decides what a recipe does, for hashing as JSON."""
        parts = [None if part is None else asdict(part) for part in (self.start, self.augmentation, self.fine_tuning)]
        return [self.name, asdict(self.schedule), [term.described() for term in self.terms], *parts]

    def check_student(self, student: str) -> None:
        """Raise UsageError for a student without a projection, if the recipe does nothing but initialize that."""
        if not self.terms and student in ("static", "small"):
            raise UsageError(
                f"recipe {self.name}: a linear map from English text needs a pretrained student, not {student}: give "
                "--student multilingual-e5-small, a folder or a hub id."
            )

    def with_schedule(self, **changes: Any) -> Recipe:
        """Return the same recipe with another schedule: ``steps`` replace ``epochs``; no steps without objectives."""
        replaced: dict[str, Any] = {"epochs": None} if "steps" in changes else {}
        replaced |= changes if self.terms else changes | {"steps": 0, "epochs": None}
        return replace(self, schedule=replace(self.schedule, **replaced))

    def with_options(self, **options: int | float | None) -> Recipe:
        """Return the same recipe with the schedule entries that are not None changed."""
        changes = {key: value for key, value in options.items() if value is not None}
        try:
            return self.with_schedule(**_read(Schedule, changes, ""))
        except ValueError as problem:
            raise UsageError(f"{problem}.") from problem


def load_recipe(name: str | Path) -> Recipe:
    """Load a recipe by name (``optical``, ``mse``, ...) or from a TOML file."""
    return parse_recipe(*recipe_text(name))


def parse_recipe(content: str, name: str, where: str) -> Recipe:
    """Read a recipe from TOML; ``where`` names it in messages."""
    try:
        table = tomllib.loads(content)
    except (ValueError, RecursionError) as problem:  # also numbers of 5,000 digits, endless nesting
        raise UsageError(f"{where}: not valid TOML ({problem}).") from problem
    known = {"description", "objective", "schedule", "student", "augmentation", "fine_tuning"}
    _check_keys(table, known, where, "the recipe")
    entries = table.get("objective", [])
    untrained = entries == [] and table.get("schedule") == {"steps": 0}
    if not isinstance(entries, list) or not (entries or untrained):
        raise UsageError(f"{where}: names no objective. Add at least one [[objective]] with a kind.")
    for key, part in _PARTS.items():
        _check_keys(table.get(key, {}), {one.name for one in fields(part)}, where, f"[{key}]")
    if untrained:
        del table["schedule"]
    try:
        parts = {key: part(**_read(part, table.get(key, {}), f"[{key}] ")) for key, part in _PARTS.items()}
        terms = tuple(read_term(entry) for entry in entries)
    except (TypeError, ValueError) as problem:
        raise UsageError(f"{where}: {problem}.") from problem
    if not untrained and not any(term.weight for term in terms):
        raise UsageError(f"{where}: every objective has weight 0, so nothing would be learned.")
    augmentation = parts["augmentation"] if "augmentation" in table else None
    description = str(table.get("description", ""))
    schedule = replace(parts["schedule"], steps=0) if untrained else parts["schedule"]
    return Recipe(name, description, terms, schedule, parts["student"], augmentation, parts["fine_tuning"])


def _read(part: type, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a table's entries as a part of a recipe has them, or raise a ValueError that names a wrong one."""
    for key, value in table.items():
        _CHECKS[key](f"{where}{key}", value)
    return {key: _like(getattr(part, key), value) for key, value in table.items()}


def _like(default: Any, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return float(value) if is_number(value) and (default is None or isinstance(default, float)) else value


def _names_edits(entry: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(kind, str) for kind in value):
        raise ValueError(f"{entry} = {value!r} is not a list of names")
    try:
        edit_kinds(tuple(value))
    except KivukoError as problem:
        raise ValueError(f"{entry}: {str(problem).removesuffix('.')}") from problem


_PARTS = {"schedule": Schedule, "student": Start, "augmentation": Augmentation, "fine_tuning": FineTuning}
_SHARE = Check(lambda value: is_number(value) and 0 < value <= 1, "is not a number above 0, up to 1")
_LESS_THAN_ALL = Check(lambda value: is_number(value) and 0 <= value < 1, "is not a number from 0 to below 1")
_WHOLE = Check(lambda value: is_number(value, whole=True) and value >= 0, "is not a whole number of 0 or more")
_CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    "steps": COUNT, "batch_size": COUNT, "validate_every": COUNT, "token_budget": COUNT,
    "projection": one_of("random", "english", "pairs"), "epochs": POSITIVE, "accumulation": COUNT, "patience": _WHOLE,
    "warmup": _LESS_THAN_ALL,
    "token_dropout": _LESS_THAN_ALL,
    # Beyond these, the optimizer's own float32 scalars overflow.
    "learning_rate": Check(lambda value: is_number(value) and 0 < value <= 1e30, "is not a number above 0, up to 1e30"),
    "weight_decay": Check(lambda value: is_number(value) and 0 <= value <= 1e6, "is not a number from 0 to 1e6"),
    "vectors": one_of("random", "transplant"), "aligner": one_of(*ALIGNERS), "scale": POSITIVE, "teacher_words": FLAG,
    "regularization": POSITIVE, "marginal_penalty": POSITIVE, "spelling": NOT_NEGATIVE, "neighbors": FLAG,
    "positions": FLAG, "words": FLAG,
    "kinds": _names_edits, "edits": COUNT, "share": _SHARE, "worst_of": COUNT, "copies": _WHOLE,
    "lora_rank": _WHOLE, "layer_decay": _SHARE, "gradient_checkpointing": FLAG,
    "embeddings": one_of("used", "all", "frozen"), "precision": one_of("auto", "float32", "bfloat16"),
}  # fmt: skip


def _check_keys(table: Any, known: set[str], where: str, what: str) -> None:
    if not isinstance(table, dict):
        raise UsageError(f"{where}: {what} must be a table.")
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(known))}."
            raise UsageError(f"{where}: {what} has no entry '{key}'; {hint}")
