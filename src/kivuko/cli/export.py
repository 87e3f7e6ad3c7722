"""``kivuko export``: write a model's text encoder for runtimes without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kivuko.cli.options import CLDR, MODEL, PATH, Command
from kivuko.cli.output import show, show_json, warn
from kivuko.errors import UsageError

if TYPE_CHECKING:
    from kivuko.encoders.onnx_export import Agreement, Exported


@click.command("export", cls=Command)
@click.argument("model", type=MODEL)
@click.option("--onnx", is_flag=True, help="As ONNX: the format, and the only one there is.")
@click.option("--int8", is_flag=True, help="Also with weights of eight bits, about a quarter of the size.")
@click.option("--out", type=PATH, required=True, help="Folder for the files.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@CLDR
def command(model: Path | str, onnx: bool, int8: bool, out: Path, as_json: bool, cldr: Path | None) -> None:
    """Write the text encoder of MODEL as ONNX: a graph and a tokenizer, for onnxruntime and tokenizers alone.

    MODEL is a folder that Kivuko made, any model of sentence-transformers that encodes text, or a hub id. The graph is
    run and compared with torch before it is put in place: vectors must agree to 0.001 in cosine. Eight bits cost some
    accuracy, which is measured and printed.

    \b
    Examples:
      kivuko export kivuko-demo/model --onnx --out my-onnx
      kivuko export my-model --onnx --int8 --out my-onnx
    """
    from dataclasses import asdict

    if not onnx:
        raise UsageError("say in which format: --onnx is the only one there is.")
    from kivuko.encoders.onnx_export import export_onnx

    exported = export_onnx(model, out, int8=int8, cldr=cldr)
    if as_json:
        show_json({**asdict(exported), "folder": str(out)})
        return
    show(*_closing_lines(exported))
    if exported.warning:
        warn(f"warning: {exported.warning}")


def _closing_lines(exported: Exported) -> list[str]:
    lines = [
        f"{exported.folder}: vectors of width {exported.dim}; {exported.float32.texts:,} texts compared with torch.",
        _line("model.onnx", exported.float32),
    ]
    if exported.int8 is not None:
        lines.append(_line("model.int8.onnx", exported.int8))
    return [*lines, f"{exported.folder / 'README.md'} shows how to run it with onnxruntime and tokenizers."]


def _line(file: str, one: Agreement) -> str:
    worst = f"worst {one.worst:.5f} ('{one.worst_text[:30]}')"
    return f"{file}: {one.bytes / 1e6:,.1f} MB, cosine {one.mean:.5f}, {worst}, own vector nearest {one.recall:.1%}"
