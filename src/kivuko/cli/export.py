"""``kivuko export``: write a model's text side for runtimes without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kivuko.errors import KivukoError, UsageError

if TYPE_CHECKING:
    from kivuko.encoders.onnx_export import Agreement, Exported

_POOR = 0.98  # worst cosine of a quantized graph below which it is worth a warning
_NAMES = 200  # of emoji per language, to check on


@click.command("export", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--onnx", is_flag=True, help="As ONNX: the format, and the only one there is.")
@click.option("--int8", is_flag=True, help="Also with weights of eight bits, about a quarter of the size.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for what is written.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.option(
    "--cldr", type=click.Path(path_type=Path), help="Folder that holds CLDR's annotations/, if not the system's."
)
def command(model: Path, onnx: bool, int8: bool, out: Path, as_json: bool, cldr: Path | None) -> None:
    """Write the text side of MODEL as ONNX: a graph and a tokenizer, for onnxruntime and tokenizers alone.

    MODEL is a folder that Kivuko made, or any of sentence-transformers that encodes text. What was written is run and
    held against torch before it is put in place: vectors must agree to 0.001 in cosine. Eight bits cost some accuracy;
    how much is measured and told.

    \b
    Examples:
      kivuko export kivuko-demo/model --onnx --out my-onnx
      kivuko export my-model --onnx --int8 --out my-onnx
    """
    import json
    from dataclasses import asdict

    if not onnx:
        raise UsageError("say in which format: --onnx is the only one there is.")
    from kivuko.cli.progress import bars, console
    from kivuko.cli.progress import out as screen
    from kivuko.encoders.onnx_text import require_onnx

    require_onnx("onnx", "onnxscript", "onnxruntime")
    from kivuko.encoders.loading import model_kind
    from kivuko.encoders.model import load_encoder, quiet, read_about
    from kivuko.encoders.onnx_export import STEPS, export_onnx, refuse_foreign_export
    from kivuko.files import refuse_unwritable

    refuse_foreign_export(out)
    refuse_unwritable(out / "export.json")
    if model.is_dir() and model_kind(str(model)) == "multi-vector":
        raise UsageError(f"{model}: a late-interaction model; only models with one vector a text can be exported.")
    about = read_about(model)
    texts = _texts(about.languages if about else (), cldr)
    with bars() as progress:
        task = progress.add_task("loading", total=len(STEPS[: 4 if int8 else 2]) + 1, figures="")

        def tell(step: str) -> None:
            progress.update(task, description=step, advance=1)
            if not console.is_terminal:
                console.print(f"{out}: {step}", soft_wrap=True)

        loaded = load_encoder(model)
        if "text" not in loaded.modalities:
            raise UsageError(f"{model}: encodes no text, so there is no text side to export.")
        with quiet():
            exported = export_onnx(loaded, out, texts, name=str(model), int8=int8, tell=tell)
        progress.update(task, description="exported", advance=1)
    if as_json:
        told = {**asdict(exported), "folder": str(out)}
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    for line in _closing_lines(exported):
        screen.print(line, soft_wrap=True)
    if exported.int8 is not None and exported.int8.worst < _POOR:
        console.print(
            f"warning: eight bits move some vectors far ({exported.int8.worst:.3f} for "
            f"'{exported.int8.worst_text[:40]}'). Measure a search with model.int8.onnx before you use it.",
            soft_wrap=True,
        )


def _texts(languages: tuple[str, ...], cldr: Path | None) -> list[str]:
    """Return emoji names in a model's languages to check the graph on; fewer, or none, where CLDR is not at hand."""
    from kivuko.datasets.emoji.sources import find_cldr, read_annotations

    found: list[str] = []
    try:
        folder = find_cldr(cldr)
    except KivukoError:
        if cldr is not None:
            raise
        return found
    for code in languages:
        try:
            names = [annotation.name for annotation in read_annotations(folder, code).values()]
        except KivukoError:
            continue  # a language that CLDR has no names in; the texts that are always tried remain
        found += names[:: max(1, len(names) // _NAMES)][:_NAMES]
    return found


def _closing_lines(exported: Exported) -> list[str]:
    lines = [
        f"{exported.folder}: vectors of width {exported.dim}; {exported.float32.texts:,} texts checked against torch.",
        _line("model.onnx", exported.float32),
    ]
    if exported.int8 is not None:
        lines.append(_line("model.int8.onnx", exported.int8))
    return [*lines, f"{exported.folder / 'README.md'} shows how to run it with onnxruntime and tokenizers."]


def _line(file: str, one: Agreement) -> str:
    worst = f"worst {one.worst:.5f} ('{one.worst_text[:30]}')"
    return f"{file}: {one.bytes / 1e6:,.1f} MB, cosine {one.mean:.5f}, {worst}, own vector nearest {one.recall:.1%}"
