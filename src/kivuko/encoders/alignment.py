"""Token alignment: the transport plan between the words of a text and those of its English translation.

The plan is that of training (OPTICAL, arXiv 2301.12566); for display, the mass of subwords is added up to words.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import regex
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from kivuko.encoders.heat_map import Panel, heat_map_image, heat_map_svg, heat_map_table
from kivuko.errors import ModelError, UsageError, check_number, check_path, check_type
from kivuko.files import atomic_path, refuse_unwritable, write_text
from kivuko.fonts import shortened
from kivuko.text import clean_text, pluralize

if TYPE_CHECKING:  # torch takes seconds to import, and options are checked before
    from torch import Tensor

    from kivuko.encoders.model import Model
    from kivuko.encoders.teacher import TextTeacher
    from kivuko.encoders.word_tokens import TextTokens

Matrix = NDArray[np.float64]

CAPTION = "Each row: where the word's mass goes, in per cent; a row adds up to 100."
CAUTION = "Unrelated words get a share, too; a word weighs by its subwords."
METHODS = ("sinkhorn", "sinkhorn_log", "proximal", "exact", "greedy")  # those of ``kivuko.solve``
UNREGULARIZED = ("exact", "greedy")

# A plan for display is small and solved once, so it is solved more closely than training needs.
_TOLERANCE, _MOST_ITERATIONS = 1e-6, 10_000


@dataclass(frozen=True, eq=False)
class Alignment:
    """The plan between the tokens of a text and those of its English translation, and how well it was solved.

    :func:`kivuko.align` returns one. ``print(alignment)`` shows it as a table.

    Attributes:
        source, target: tokens and words of the text, and of the English.
        token_plan: float64 [tokens, English tokens], mass moved; sums to 1 unless the marginals are relaxed.
        regularization: of the plan, in units of the cost (0-2).
        transport_cost, marginal_error, iterations, converged: see ``kivuko.Plan``.
        centered: True if the cost is of vectors relative to the teacher's mean token, as in training.
        method: the solver.
        model, teacher: their names.
    """

    source: TextTokens
    target: TextTokens
    token_plan: Matrix
    regularization: float
    transport_cost: float
    marginal_error: float
    iterations: int
    converged: bool
    centered: bool
    method: str = "sinkhorn"
    model: str = "the model"
    teacher: str = "the teacher"

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the text, those without a token included."""
        return self.source.words

    @property
    def english_words(self) -> tuple[str, ...]:
        """The words of the English."""
        return self.target.words

    @property
    def plan(self) -> Matrix:
        """Mass moved from word to word, summed over the tokens of each: float64 [words, English words]."""
        plan: Matrix = _members(self.source).T @ self.token_plan @ _members(self.target)
        return plan

    @property
    def shares(self) -> Matrix:
        """The share of each word's mass that goes to each English word, [words, English words]; NaN without mass."""
        return row_shares(self.plan)

    @property
    def title(self) -> str:
        """The method and its regularization, as far as they differ from the default method."""
        title = f"regularization {self.regularization:g}"
        if self.method == "sinkhorn":
            return title
        return self.method if self.method in UNREGULARIZED else f"{self.method}, {title}"

    @property
    def figures(self) -> str:
        """Transport cost, marginal error and iterations in one line."""
        error = f"marginal error {self.marginal_error:.1g}"
        return f"transport cost {self.transport_cost:.3f}, {error}, {pluralize(self.iterations, 'iteration')}"

    @property
    def warning(self) -> str:
        """A line on why the plan should not be trusted; empty if it converged."""
        if self.converged:
            return ""
        if self.method == "greedy":
            return "one to one, so on the side with more subwords some have no partner."
        return (
            f"not converged in {pluralize(self.iterations, 'iteration')}: do not trust it; try a larger regularization."
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines on out-of-vocabulary words and on what the cost lacks; none where there is nothing to note."""
        return tuple(self._notes())

    def table(self, width: int = 80, *, in_color: bool = False, by_token: bool = False) -> Table:
        """Return the shares as a table of ``rich``, at most ``width`` characters wide where the words allow it."""
        return heat_map_table(self.panel(by_token), width, in_color)

    def draw(self, path: Path | str, *, by_token: bool = False) -> None:
        """Draw the shares as a heat map.

        Args:
            path: ends in .png or .svg; an existing file is replaced.
            by_token: show subwords, not words.

        Raises:
            UsageError: another ending, or too many words for an image.
            KivukoError: the file cannot be written.
        """
        draw_alignments([self], path, by_token=by_token)

    def panel(self, by_token: bool = False) -> Panel:
        """Return the heat map of the plan, to be drawn alone or next to others."""
        notes = [self.figures, self.warning] if self.warning else [self.figures]
        if by_token:
            rows, columns = list(_subwords(self.source)), list(_subwords(self.target))
            return Panel(self.title, rows, columns, row_shares(self.token_plan), notes)
        return Panel(self.title, self.words, self.english_words, self.shares, notes)

    def __str__(self) -> str:
        console = Console(width=80, color_system=None)
        with console.capture() as capture:
            console.print(self.table())
        return "\n".join([capture.get().rstrip("\n"), f"{self.title}: {self.figures}", *filter(None, [self.warning])])

    def __repr__(self) -> str:
        sizes = f"{pluralize(len(self.words), 'word')} with {len(self.english_words)} English"
        return f"<Alignment of {sizes}, {self.title}: {self.warning or self.figures}>"

    def _notes(self) -> Iterator[str]:
        if not self.centered:
            yield (
                f"The model does not hold the mean token of {self.teacher}: "
                "the cost is the plain cosine, the plan less sharp."
            )
        for side, owner in ((self.source, "model"), (self.target, "teacher")):
            if side.unknown:
                yield f"Not in the {owner}'s vocabulary: {', '.join(side.unknown)}"
            if side.partly_unknown:
                yield f"In part not in the {owner}'s vocabulary: {', '.join(side.partly_unknown)}"
            if side.unread:
                yield f"Beyond the length that the {owner} reads: {', '.join(side.unread)}"


@overload
def align(
    model: Model | Path | str, text: str, english: str, *, teacher: Path | str | None = None,
    regularization: float = 0.02, method: str = "sinkhorn", marginal_penalty: float | None = None,
    save: Path | str | None = None, by_token: bool = False,
) -> Alignment: ...  # fmt: skip
@overload
def align(
    model: Model | Path | str, text: str, english: str, *, teacher: Path | str | None = None,
    regularization: Sequence[float], method: str = "sinkhorn", marginal_penalty: float | None = None,
    save: Path | str | None = None, by_token: bool = False,
) -> list[Alignment]: ...  # fmt: skip
def align(
    model: Model | Path | str,
    text: str,
    english: str,
    *,
    teacher: Path | str | None = None,
    regularization: float | Sequence[float] = 0.02,
    method: str = "sinkhorn",
    marginal_penalty: float | None = None,
    save: Path | str | None = None,
    by_token: bool = False,
) -> Alignment | list[Alignment]:
    """Align the words of a text with those of its English translation, as training with transport does.

    The tokens of the text, as the model encodes them, are matched with the English teacher's tokens by optimal
    transport, and the mass is added up to words. A Model passed again keeps its teacher loaded.

    Args:
        model: anything that ``load_model`` takes; its tokens must have vectors.
        text: a sentence or query; cleaned as training sentences are.
        english: its English translation.
        teacher: hub id or folder of the English teacher. None: the one that the model names.
        regularization: of the plan, above 0, in units of the cost (0-2); the smaller, the sharper. Several give one
            plan each.
        method: "sinkhorn", "sinkhorn_log", "proximal", "exact" or "greedy"; the last two have no use for the
            regularization.
        marginal_penalty: let words give or take less mass than their share at this price (unbalanced transport).
        save: a file (.png, .svg) to draw the plans into, side by side.
        by_token: show subwords in the image, not words.

    Returns:
        An Alignment; a list of them where several regularizations are given.

    Raises:
        UsageError: a text is empty or wholly out of vocabulary, the model names no teacher, or an option does not fit.
        ModelError: the model or the teacher does not load, gives no token vectors, or their widths differ.

    >>> import kivuko
    >>> alignment = kivuko.align(
    ...     "all-MiniLM-L6-v2", "a black cat", "the cat is black", teacher="all-MiniLM-L6-v2", regularization=0.01
    ... )
    >>> alignment.words, alignment.english_words
    (('a', 'black', 'cat'), ('the', 'cat', 'is', 'black'))
    >>> alignment.plan.shape, round(float(alignment.plan.sum()), 4), alignment.converged
    ((3, 4), 1.0, True)
    >>> alignment.english_words[alignment.shares[2].argmax()]
    'cat'
    """
    if method not in METHODS:
        raise UsageError(f"method '{method}': there is none of that name. Choose from {', '.join(METHODS)}.")
    text, english = _cleaned("text", text), _cleaned("english", english)
    check_path("teacher", teacher, "the id or folder of a teacher", optional=True)
    if save is not None:
        save = check_path("save", save, "a file (.png, .svg)")
        _check_image(Path(save))
    single = np.ndim(regularization) == 0
    values = [check_number("regularization", one, above=0) for one in np.atleast_1d(regularization).tolist()]
    if not values:
        raise UsageError("regularization: give a number above 0, or several.")
    check_number("marginal_penalty", marginal_penalty, above=0, optional=True)
    aligner = load_aligner(model, teacher=teacher)
    alignments = [
        aligner.align(text, english, regularization=one, method=method, marginal_penalty=marginal_penalty)
        for one in list(dict.fromkeys(values))[: 1 if method in UNREGULARIZED else None]
    ]
    if save is not None:
        draw_alignments(alignments, save, (text, english), by_token=by_token)
    return alignments[0] if single else alignments


def draw_alignments(
    alignments: Sequence[Alignment], path: Path | str, title: Sequence[str] = (), *, by_token: bool = False
) -> None:
    """Draw plans of the same texts side by side; see ``Alignment.draw``."""
    _check_image(path := Path(path))
    first = alignments[0]
    lines = title or (" ".join(first.words), " ".join(first.english_words))
    lines = [shortened(line, 90) for line in lines]
    panels = [one.panel(by_token) for one in alignments]
    notes = (CAPTION, CAUTION, *first.notes)
    if path.suffix.lower() == ".svg":
        write_text(path, heat_map_svg(panels, lines, notes))
        return
    drawn = heat_map_image(panels, lines, notes)
    with atomic_path(path) as temporary:
        drawn.save(temporary, format="PNG")


@dataclass(frozen=True, eq=False)
class Aligner:
    """A model with its English teacher: solves the transport problem that its training solved."""

    encoder: Any  # a SentenceTransformer with token vectors
    teacher: TextTeacher
    center: Tensor | None = None  # float [dim], the teacher's mean token, subtracted before the cosine
    student_centered: bool = True  # True if it is subtracted from the model's tokens too
    name: str = "the model"

    def align(
        self,
        text: str,
        english: str,
        *,
        regularization: float = 0.02,
        method: str = "sinkhorn",
        marginal_penalty: float | None = None,
    ) -> Alignment:
        """Align a text with its English translation; options and errors as of :func:`align`."""
        from kivuko.encoders.word_tokens import text_tokens
        from kivuko.transport.solve import solve

        source = text_tokens(self.encoder, text, self.name)
        target = text_tokens(self.teacher.model, english, self.teacher.name, keep_unknown=True)
        for side, given, owner in ((source, text, "model"), (target, english, "teacher")):
            if not side.words:
                raise UsageError(f"the text for the {owner} is empty: write at least one word.")
            if not side.tokens:
                raise UsageError(f"'{given[:80]}': no part of it is in the {owner}'s vocabulary. Try other words.")
        plan = solve(
            self._cost(source.vectors, target.vectors), regularization=regularization, method=method,
            marginal_penalty=marginal_penalty, tolerance=_TOLERANCE, max_iterations=_MOST_ITERATIONS,
        )  # fmt: skip
        return Alignment(
            source, target, plan.coupling[0].double().cpu().numpy(), regularization,
            transport_cost=float(plan.transport_cost[0]), marginal_error=float(plan.marginal_error[0]),
            iterations=int(plan.iterations[0]), converged=bool(plan.converged[0]), centered=self.center is not None,
            method=method, model=self.name, teacher=self.teacher.name,
        )  # fmt: skip

    def _cost(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the cosine distances of tokens [n, dim] and [m, dim], relative to the mean token: [1, n, m]."""
        from kivuko.encoders.modules import require_one_width
        from kivuko.transport.cost import centered_cosine_cost, cosine_cost

        widths = {"its tokens": source.shape[1], f"those of {self.teacher.name}": target.shape[1]}
        widths |= {"the mean token": len(self.center)} if self.center is not None else {}
        require_one_width(self.name, widths, "Name the teacher that taught it.")
        x, y = source.double()[None], target.double()[None]
        if self.center is None:
            return cosine_cost(x, y)
        own = self.center if self.student_centered else self.center.new_zeros(len(self.center))
        return centered_cosine_cost(x, y, own, self.center)


# The last aligner of each loaded model, by the teacher's name, so that several calls load the teacher once.
_ALIGNERS: weakref.WeakKeyDictionary[Model, tuple[str, Aligner]] = weakref.WeakKeyDictionary()


def load_aligner(model: Model | Path | str, *, teacher: Path | str | None = None, fetch: bool = True) -> Aligner:
    from kivuko.encoders.model import Model, load_model, quiet, read_token_mean
    from kivuko.encoders.teacher import load_teacher

    model = load_model(model, device=None if isinstance(model, Model) else "cpu")
    about = model.about
    name = model.source or model.name
    source = str(teacher or (about.teacher_source if about else ""))
    if not source:
        raise UsageError(f"{name}: does not say which English teacher it belongs to. Name one: --teacher NAME.")
    if model in _ALIGNERS and _ALIGNERS[model][0] == source:
        return _ALIGNERS[model][1]
    prompt = about.teacher_prompt or None if about and teacher is None else None
    try:
        with quiet():
            loaded = load_teacher(source, prompt, fetch=fetch)
    except ModelError as problem:
        if teacher:
            raise
        raise ModelError(f"{problem} It is the teacher that {name} names; --teacher names another.") from problem
    mean = read_token_mean(model.path, loaded.fingerprint) if model.path else None
    center, both = (None, True) if mean is None else (mean.vector, mean.student_centered)
    aligner = Aligner(model.encoder, loaded, center, both, name)
    _ALIGNERS[model] = (source, aligner)
    return aligner


def row_shares(plan: Matrix) -> Matrix:
    """Return the share of each row's mass that goes to each column; NaN in a row without mass.

    >>> row_shares(np.array([[0.375, 0.125], [0.0, 0.0]])).tolist()
    [[0.75, 0.25], [nan, nan]]
    """
    mass = plan.sum(1, keepdims=True)
    shares: Matrix = np.divide(plan, mass, out=np.full_like(plan, np.nan), where=mass > 0)
    return shares


def _members(side: TextTokens) -> Matrix:
    """Return which token belongs to which word: [tokens, words], one 1 in each row."""
    members = np.zeros((len(side.tokens), len(side.words)))
    members[np.arange(len(side.tokens)), side.word_of] = 1.0
    return members


def _subwords(side: TextTokens) -> Iterator[str]:
    """Mark a subword that continues a word by a dot, and put a combining mark at its start on a dotted circle."""
    for place, token in enumerate(side.tokens):
        continues = place > 0 and side.word_of[place] == side.word_of[place - 1]
        yield ("·" if continues else "") + ("◌" if regex.match(r"\p{M}", token) else "") + token.replace("▁", "_")


def _cleaned(name: str, text: str) -> str:
    check_type(name, text, str, "one text")
    shown = "the English" if name == "english" else "the text"
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise UsageError(f"{shown} is not UTF-8: set the terminal to UTF-8 and write it again.") from problem
    if not (cleaned := clean_text(text)):
        raise UsageError(f"{shown} is empty: write a few words.")
    return cleaned


def _check_image(path: Path) -> None:
    if path.suffix.lower() not in (".png", ".svg"):
        raise UsageError(f"{path}: end the image's name in .png or .svg.")
    refuse_unwritable(path)
