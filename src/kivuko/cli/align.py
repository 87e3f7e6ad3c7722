"""``kivuko align``: see which English word each word of a sentence is carried to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kivuko.cli.options import Share
from kivuko.errors import ModelError, UsageError

if TYPE_CHECKING:
    from kivuko.encoders.alignment import Alignment, TextTokens
    from kivuko.encoders.teacher import TextTeacher
    from kivuko.report.heat_map import Panel

_UNREGULARIZED = ("exact", "greedy")  # methods that have no use for --regularization
_CAPTION = "Each row: where the word's mass goes, in per cent; a row adds up to 100."
_CAUTION = "Unrelated words get a share, too; a word weighs by its subwords."


@click.command("align", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("text")
@click.argument("english")
@click.option("--teacher", "teacher_name", help="Hub id or folder of the English teacher.  [default: the model's own]")
@click.option(
    "--regularization", "regularizations", type=Share(min=0, min_open=True, max=1e6), multiple=True, default=(0.02,),
    help="Of the plan: the smaller, the sharper. Say it again for one plan each.  [default: 0.02]",
)  # fmt: skip
@click.option(
    "--method", default="sinkhorn", show_default=True, metavar="NAME",
    help="How the plan is solved: sinkhorn, sinkhorn_log, proximal, exact, greedy.",
)  # fmt: skip
@click.option(
    "--marginal-penalty", type=Share(min=0, min_open=True, max=1e6), metavar="X",
    help="Let words give or take less mass than their share, at this price (unbalanced transport).",
)  # fmt: skip
@click.option("--image", "image", type=click.Path(path_type=Path), help="Also write an image (.png or .svg).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("--tokens", "by_token", is_flag=True, help="Show subwords, not words.")
def command(
    model: Path,
    text: str,
    english: str,
    teacher_name: str | None,
    regularizations: tuple[float, ...],
    method: str,
    marginal_penalty: float | None,
    image: Path | None,
    as_json: bool,
    by_token: bool,
) -> None:
    """See which word of ENGLISH each word of TEXT is carried to by MODEL.

    It solves the optimal-transport problem that training solves: TEXT's subwords, as MODEL sees them, are matched with
    the English teacher's, and the mass is added up to words.

    \b
    Examples:
      kivuko align kivuko-demo/model "paka mweusi" "black cat"
      kivuko align kivuko-demo/model "काळी मांजर" "black cat" --image plan.svg
      kivuko align my-model "uso wa furaha" "happy face" --regularization 0.01 --regularization 0.1
    """
    from kivuko.cli.progress import console
    from kivuko.cli.progress import out as screen
    from kivuko.files import refuse_unwritable
    from kivuko.report.heat_map_table import heat_map_table
    from kivuko.report.result_image import scripts_without_font
    from kivuko.transport import METHODS

    text, english = _readable(text, "TEXT"), _readable(english, "ENGLISH")
    if method not in METHODS:
        raise UsageError(f"--method {method}: there is none of that name. Choose from {', '.join(METHODS)}.")
    if image is not None:
        if image.suffix.lower() not in (".png", ".svg"):
            raise UsageError(f"--image {image}: end the name in .png or .svg.")
        refuse_unwritable(image)
    options = {"method": method, "marginal_penalty": marginal_penalty}
    distinct = tuple(dict.fromkeys(regularizations))[: 1 if method in _UNREGULARIZED else None]
    teacher, alignments = _align(model, teacher_name, text, english, distinct, options)
    panels = [_panel(one, method, by_token) for one in alignments]
    notes = list(_notes(alignments[0], teacher.name))
    if as_json:
        click.echo(_json({"model": str(model), "teacher": teacher.name, **options}, alignments, by_token))
    for one, panel in zip(alignments, panels, strict=True):
        if not as_json:
            in_color = screen.color_system in ("256", "truecolor")
            screen.print(heat_map_table(panel, screen.width, in_color))
            screen.print(f"{panel.title}: {_figures(one)}", soft_wrap=True)
        if not one.converged:
            console.print(f"warning: {panel.title}: {_warning(one, method)}", soft_wrap=True)
    if not as_json:
        for note in (_CAPTION, _CAUTION, *notes):
            screen.print(note, soft_wrap=True)
    if image is not None:
        _draw(panels, (text, english), (_CAPTION, _CAUTION, *notes), image)
        if not as_json:
            screen.print(f"image: {image}", soft_wrap=True)
        lacking = ", ".join(scripts_without_font(f"{text} {english}"))
        if lacking and image.suffix.lower() == ".png":
            hint = "Install Noto's (Debian: fonts-noto-core, fonts-noto-cjk), or write .svg."
            console.print(f"warning: no font here has the letters of {lacking}. {hint}", soft_wrap=True)


def _readable(text: str, name: str) -> str:
    from kivuko.bitext import clean_text

    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise UsageError(f"{name} is not UTF-8: set the terminal to UTF-8 and write it again.") from problem
    if not (cleaned := clean_text(text)):  # as the bitext was
        raise UsageError(f"{name} is empty: write a few words.")
    return cleaned


def _align(
    model: Path, teacher_name: str | None, text: str, english: str, regularizations: Sequence[float], options: Any
) -> tuple[TextTeacher, list[Alignment]]:
    from kivuko.encoders.alignment import load_aligner, teacher_named_by
    from kivuko.encoders.model import load_encoder

    loaded = load_encoder(model)
    if not teacher_name:
        try:
            teacher_named_by(model)
        except UsageError as problem:
            raise UsageError(f"{problem} Name one: --teacher NAME.") from problem
    try:
        aligner = load_aligner(model, loaded, teacher_name)
    except ModelError as problem:
        if teacher_name:
            raise
        raise ModelError(f"{problem} It is the teacher that {model} names; --teacher names another.") from problem
    return aligner.teacher, [aligner.align(text, english, regularization=one, **options) for one in regularizations]


def _panel(alignment: Alignment, method: str, by_token: bool) -> Panel:
    from kivuko.encoders.alignment import row_shares
    from kivuko.report.heat_map import Panel

    title = f"regularization {alignment.regularization:g}"
    if method != "sinkhorn":
        title = method if method in _UNREGULARIZED else f"{method}, {title}"
    notes = [_figures(alignment)] if alignment.converged else [_figures(alignment), _warning(alignment, method)]
    if by_token:
        rows, columns = list(_subwords(alignment.source)), list(_subwords(alignment.target))
        return Panel(title, rows, columns, row_shares(alignment.token_coupling), notes)
    return Panel(title, alignment.words, alignment.english_words, row_shares(alignment.coupling), notes)


def _subwords(side: TextTokens) -> Iterator[str]:
    """Mark the subwords that go on with a word by a dot; a vowel sign that begins one stands on a dotted circle.

    "_" is the bare beginning of a word.
    """
    import regex

    for place, token in enumerate(side.tokens):
        goes_on = place > 0 and side.word_of[place] == side.word_of[place - 1]
        yield ("·" if goes_on else "") + ("◌" if regex.match(r"\p{M}", token) else "") + token.replace("▁", "_")


def _figures(alignment: Alignment) -> str:
    return (
        f"transport cost {alignment.transport_cost:.3f}, marginal error {alignment.marginal_error:.1g}, "
        f"{_iterations(alignment)}"
    )


def _warning(alignment: Alignment, method: str) -> str:
    if method == "greedy":
        return "one to one, so that on the side with more subwords some are left without a partner."
    return f"not converged in {_iterations(alignment)}: do not trust it; try a larger --regularization."


def _iterations(alignment: Alignment) -> str:
    return f"{alignment.iterations} iteration{'s' if alignment.iterations != 1 else ''}"


def _notes(alignment: Alignment, teacher: str) -> Iterator[str]:
    if not alignment.centered:
        yield f"The model does not hold the mean token of {teacher}: the cost is the plain cosine, the plan less sharp."
    for side, whose in ((alignment.source, "model"), (alignment.target, "teacher")):
        if side.unknown:
            yield f"Not in the {whose}'s vocabulary: {', '.join(side.unknown)}"
        if side.partly_unknown:
            yield f"In part not in the {whose}'s vocabulary: {', '.join(side.partly_unknown)}"
        if side.unread:
            yield f"Beyond the length that the {whose} reads: {', '.join(side.unread)}"


def _json(asked: dict[str, Any], alignments: Sequence[Alignment], by_token: bool) -> str:
    import json

    first = alignments[0]
    told: dict[str, Any] = {**asked, "centered": first.centered}
    for name, side in (("", first.source), ("english_", first.target)):
        told[f"{name}words"] = side.words
        told |= {f"{name}{key}_words": getattr(side, key) for key in ("unknown", "partly_unknown", "unread")}
        if by_token:
            told |= {f"{name}tokens": side.tokens, f"{name}word_of_token": side.word_of}
    told["plans"] = [
        {
            **{
                key: getattr(one, key)
                for key in ("regularization", "transport_cost", "marginal_error", "iterations", "converged")
            },
            "coupling": one.coupling.round(8).tolist(),
            **({"token_coupling": one.token_coupling.round(8).tolist()} if by_token else {}),
        }
        for one in alignments
    ]
    return json.dumps(told, ensure_ascii=False)


def _draw(panels: Sequence[Panel], title: Sequence[str], notes: Sequence[str], place: Path) -> None:
    """Write the panels as one image; the name's ending says which format."""
    from kivuko.files import atomic_path, write_text
    from kivuko.report.heat_map import heat_map_image, heat_map_svg
    from kivuko.report.result_image import shortened

    title = [shortened(line, 90) for line in title]
    if place.suffix.lower() == ".svg":
        write_text(place, heat_map_svg(panels, title, notes))
        return
    with atomic_path(place) as temporary:
        heat_map_image(panels, title, notes).save(temporary, format="PNG")
