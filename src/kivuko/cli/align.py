"""``kivuko align``: show which English words each word of a sentence is aligned with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kivuko.cli.options import MODEL, PATH, Command, Share
from kivuko.cli.output import show, show_json, warn

if TYPE_CHECKING:
    from kivuko.encoders.alignment import Alignment


@click.command("align", cls=Command)
@click.argument("model", type=MODEL)
@click.argument("text")
@click.argument("english")
@click.option("--teacher", help="Hub id or folder of the English teacher.  [default: the model's own]")
@click.option(
    "--regularization", "regularizations", type=Share(min=0, min_open=True, max=1e6), multiple=True, default=(0.02,),
    help="Of the plan: the smaller, the sharper. Repeatable, for one plan each.  [default: 0.02]",
)  # fmt: skip
@click.option(
    "--method", default="sinkhorn", show_default=True, metavar="NAME",
    help="How the plan is solved: sinkhorn, sinkhorn_log, proximal, exact, greedy.",
)  # fmt: skip
@click.option(
    "--marginal-penalty", type=Share(min=0, min_open=True, max=1e6), metavar="X",
    help="Let words give or take less mass than their share, at this price (unbalanced transport).",
)  # fmt: skip
@click.option("--save", type=PATH, metavar="FILE", help="Also draw the plans (.png or .svg).")
@click.option("--image", type=PATH, hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("--tokens", "by_token", is_flag=True, help="Show subwords, not words.")
def command(
    model: Path | str,
    text: str,
    english: str,
    teacher: str | None,
    regularizations: tuple[float, ...],
    method: str,
    marginal_penalty: float | None,
    save: Path | None,
    image: Path | None,
    as_json: bool,
    by_token: bool,
) -> None:
    """Show which word of ENGLISH each word of TEXT is aligned with by MODEL.

    It solves the optimal-transport problem that training solves: TEXT's subwords, as MODEL encodes them, are matched
    with the English teacher's, and the mass is added up to words. MODEL is a folder or a hub id.

    \b
    Examples:
      kivuko align kivuko-demo/model "paka mweusi" "black cat"
      kivuko align kivuko-demo/model "काळी मांजर" "black cat" --save plan.svg
      kivuko align my-model "uso wa furaha" "happy face" --regularization 0.01 --regularization 0.1
    """
    from kivuko.encoders.alignment import align

    if image is not None:
        warn("note: --image is now --save; the old name will go with the next release.")
    save = save or image
    options: dict[str, Any] = {"method": method, "marginal_penalty": marginal_penalty}
    alignments = align(
        model, text, english, teacher=teacher, regularization=regularizations, save=save, by_token=by_token, **options
    )
    if as_json:
        described = {"model": str(model), "teacher": alignments[0].teacher, **options}
        show_json(described | _as_json(alignments, by_token))
    else:
        _show(alignments, by_token, save)
    for one in alignments:
        if one.warning:
            warn(f"warning: {one.title}: {one.warning}")
    if save is not None and save.suffix.lower() == ".png":
        _warn_of_missing_fonts(f"{text} {english}")


def _show(alignments: Sequence[Alignment], by_token: bool, save: Path | None) -> None:
    from kivuko.encoders.alignment import CAPTION, CAUTION
    from kivuko.progress import out as screen

    in_color = screen.color_system in ("256", "truecolor")
    for one in alignments:
        show(one.table(screen.width, in_color=in_color, by_token=by_token))
        show(f"{one.title}: {one.figures}")
    show(CAPTION, CAUTION, *alignments[0].notes)
    if save is not None:
        show(f"image: {save}")


def _warn_of_missing_fonts(text: str) -> None:
    from kivuko.fonts import scripts_without_font

    if lacking := ", ".join(scripts_without_font(text)):
        hint = "Install Noto's (Debian: fonts-noto-core, fonts-noto-cjk), or write .svg."
        warn(f"warning: no font here has the letters of {lacking}. {hint}")


def _as_json(alignments: Sequence[Alignment], by_token: bool) -> dict[str, Any]:
    first = alignments[0]
    described: dict[str, Any] = {"centered": first.centered}
    for prefix, side in (("", first.source), ("english_", first.target)):
        described[f"{prefix}words"] = side.words
        described |= {f"{prefix}{key}_words": getattr(side, key) for key in ("unknown", "partly_unknown", "unread")}
        if by_token:
            described |= {f"{prefix}tokens": side.tokens, f"{prefix}word_of_token": side.word_of}
    described["plans"] = [_plan_as_json(one, by_token) for one in alignments]
    return described


def _plan_as_json(one: Alignment, by_token: bool) -> dict[str, Any]:
    keys = ("regularization", "transport_cost", "marginal_error", "iterations", "converged")
    plan = {key: getattr(one, key) for key in keys} | {"coupling": one.plan.round(8).tolist()}
    return plan | ({"token_coupling": one.token_plan.round(8).tolist()} if by_token else {})
