"""Exporting the text side of a model: graph, tokenizer, and a check of what was written against torch."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, normalizers

import kivuko
from kivuko.encoders.image_tower import Vectors
from kivuko.encoders.model import encode_texts
from kivuko.encoders.modules import backend_tokenizer, is_static, text_route
from kivuko.encoders.onnx_text import (
    ABOUT,
    GRAPH,
    INT8_GRAPH,
    ROWS,
    TOKENIZER,
    OnnxTextEncoder,
    require_onnx,
    write_graph,
)
from kivuko.encoders.spelling import without_reading
from kivuko.encoders.teacher import default_prompt
from kivuko.encoders.vocabulary import PAD
from kivuko.errors import ModelError
from kivuko.files import atomic_path, sha256_of


def quantize_graph(graph: Path, out: Path) -> None:
    """Write a quantized copy of a graph: matrices by column, the table of subwords by row, all else as it is.

    Activations are quantized while it runs, so no sentences are needed to calibrate it. Matrices use seven of the eight
    bits: processors without VNNI overflow with all of them, and what is measured here should hold there.

    Args:
        graph: what ``write_graph`` wrote, whose table comes with a factor for each row.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    loaded = onnx.load(str(graph), load_external_data=False)
    small = _small_tables(loaded)
    # Sizes that the exporter noted down; the quantizer infers them again, and stops where an exporter's are wrong.
    del loaded.graph.value_info[:]
    bare = graph.with_name(f"bare-{graph.name}")  # beside the weights, which it names by their place
    onnx.save(loaded, str(bare))
    try:
        with _quiet():
            quantize_dynamic(
                str(bare), str(out), per_channel=True, reduce_range=True, weight_type=QuantType.QInt8,
                nodes_to_exclude=small, use_external_data_format=graph.with_name(f"{graph.name}.data").is_file(),
            )  # fmt: skip
    finally:
        bare.unlink()


def _small_tables(model: Any) -> list[str]:
    """Return the names of the look-ups in all tables but that of subwords, or but the largest where none is marked.

    Those of positions and of the rows' factors are small, and what eight bits lose there is lost for every text.
    """
    sizes = {one.name: math.prod(one.dims) for one in model.graph.initializer}
    gathers = {node.name: node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    subwords = {table for table in gathers.values() if table.endswith(f".{ROWS}.weight")}
    if not subwords:
        subwords = {max(gathers.values(), key=lambda table: sizes.get(table, 0), default="")}
    return [name for name, table in gathers.items() if table not in subwords]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def exported_tokenizer(model: Any, name: str, prompt: str | None = None) -> Tokenizer:
    """Return a copy of a model's tokenizer that also cuts, pads, adds special tokens and the prompt by itself.

    ``encode_batch(texts)`` then gives ``ids`` and ``attention_mask`` of one length for all texts. An empty text gets
    no prompt.

    Args:
        model: a ``SentenceTransformer``.
        name: of the model, for messages.
        prompt: put before every text, such as E5's "query: ".

    Raises:
        ModelError: the model has no tokenizer of the library ``tokenizers``.
    """
    backend = backend_tokenizer(model)
    if backend is None:
        raise ModelError(f"{name}: its tokenizer is not one of the library 'tokenizers', so it cannot be exported.")
    first = text_route(model)[0]
    state = json.loads(backend.to_str())
    if is_static(first):
        state["post_processor"] = None  # sentence-transformers asks for no special tokens there
    own = Tokenizer.from_str(json.dumps(state))
    if prompt:
        before = normalizers.Prepend(prompt)
        own.normalizer = normalizers.Sequence([before, own.normalizer] if own.normalizer is not None else [before])
    if is_static(first):
        _pad(own, own.token_to_id(PAD) or 0, PAD, "right", None)
        return own
    wrapped = first.tokenizer
    if wrapped.pad_token_id is None:
        raise ModelError(f"{name}: its tokenizer has no padding token, so texts of two lengths make no batch.")
    if longest := _asked(first).get("max_length") or first.max_seq_length:
        own.enable_truncation(int(longest), direction=wrapped.truncation_side)
    _pad(own, wrapped.pad_token_id, wrapped.pad_token, wrapped.padding_side, fixed_length(model))
    return own


def fixed_length(model: Any) -> int | None:
    """Return the length to which a model pads every text, as SigLIP does; None if it pads to the longest."""
    first = text_route(model)[0]
    asked = _asked(first)
    return int(asked.get("max_length") or first.max_seq_length) if asked.get("padding") == "max_length" else None


def _asked(first: Any) -> dict[str, Any]:
    """Return what a model's first module asks of its tokenizer beyond the usual."""
    found: dict[str, Any] = getattr(first, "processing_kwargs", {}).get("text", {})
    return found


def _pad(tokenizer: Tokenizer, number: int, token: str, side: str, length: int | None) -> None:
    tokenizer.enable_padding(direction=side, pad_id=number, pad_token=token, length=length)


TOLERANCE = 1e-3  # of 1 - cosine between what the graph gives and what torch gives
STEPS = ("graph", "check", "int8", "check of int8")  # what ``tell`` is told of

_EIGHT_BITS = """\
With eight bits a vector depends a little on the texts that it is encoded with, since a network's activations share a
scale: encode texts one by one where the same text must always have the same vector.

"""
# Texts that no exporter should get wrong: scripts with and without spaces, marks, case, emoji, nothing at all, a word
# of one letter, numbers, and texts of very different lengths, so that padding and cutting are tried too.
_ALWAYS = (
    "paka mweusi anakula samaki mtoni", "Bisad madow ayaa kalluun cunaysa", "काळी मांजर मासा खाते", "黑猫在河里吃鱼",
    "แมวดำกินปลา", "قطة سوداء تأكل السمك", "ጥቁር ድመት", "Ein schwarzer Kater frißt Fisch.", "UNE ÉGLISE À CÔTÉ",
    "a black cat", "😀 🐈", "x", "1,234.56", "paka  mweusi\tmtoni", "mbwa " * 7, "samaki " * 700, "",
)  # fmt: skip


@dataclass(frozen=True)
class Agreement:
    """How near the vectors of an exported graph are to torch's, as cosines.

    ``worst_text``: the text of the lowest one. ``recall``: share of the texts whose nearest neighbor among torch's
    vectors of all texts is their own vector. ``bytes``, ``sha256``: of the graph's file.
    """

    texts: int
    mean: float
    worst: float
    worst_text: str
    recall: float
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Exported:
    """What an export wrote; ``int8`` is None where it was not asked for. ``dim``: width of the vectors."""

    folder: Path
    dim: int
    float32: Agreement
    int8: Agreement | None


def export_onnx(
    model: Any,
    out: Path,
    texts: Sequence[str] = (),
    *,
    name: str,
    int8: bool = False,
    tell: Callable[[str], None] = lambda _step: None,
) -> Exported:
    """Write ``model.onnx``, ``tokenizer.json`` and ``export.json``, and with ``int8`` also ``model.int8.onnx``.

    What was written is read again, run, and held against torch: on ``texts`` and on a few that are hard to get right.
    The graph takes ``input_ids`` and ``attention_mask``, int64 [batch, length], and gives ``sentence_embedding``, unit
    vectors, float32 [batch, dim]. The words that a model reads misspelled ones by are left out.

    Args:
        model: what ``load_encoder`` returns, in float32 on the CPU.
        texts: in the model's languages.
        name: of the model, for messages.
        tell: is told each of ``STEPS`` when it begins.

    Raises:
        ModelError: torch's exporter cannot follow the model, or the graph does not give torch's vectors to 1e-3 in
            cosine; nothing is written then.
        MissingDependencyError: the extra ``export`` is not installed.
        KivukoError: something that is not an export stands at ``out``, or it cannot be written.
    """
    require_onnx("onnx", "onnxscript", "onnxruntime")
    refuse_foreign_export(out)
    model = without_reading(model).float().eval()
    prompt = default_prompt(model)
    _refuse_left_out_prompt(model, prompt, name)
    # An empty text gets the prompt from sentence-transformers, and not from a tokenizer.
    checked = [text for text in dict.fromkeys([*_ALWAYS, *texts]) if text.strip() or not prompt]
    with atomic_path(out) as temporary:
        temporary.mkdir()
        tell("graph")
        exported_tokenizer(model, name, prompt).save(str(temporary / TOKENIZER))
        write_graph(model, temporary / GRAPH, name, length=fixed_length(model))
        tell("check")
        expected = encode_texts(model, checked)
        if not np.isfinite(expected).all():
            raise ModelError(f"{name}: gives vectors that are no numbers (NaN). Make the model again.")
        found = {"float32": _agreement(temporary, checked, expected, int8=False)}
        if not found["float32"].worst >= 1 - TOLERANCE:
            raise ModelError(
                f"{name}: the graph does not give torch's vectors (cosine {found['float32'].worst:.4f} for "
                f"{found['float32'].worst_text[:40]!r}), so nothing was written. Its preparation of text does more "
                "than a tokenizer does."
            )
        if int8:
            tell("int8")
            quantize_graph(temporary / GRAPH, temporary / INT8_GRAPH)
            tell("check of int8")
            found["int8"] = _agreement(temporary, checked, expected, int8=True)
        about = _about(model, name, prompt, found)
        (temporary / ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(_card(about), encoding="utf-8")
    return Exported(out, expected.shape[1], found["float32"], found.get("int8"))


def refuse_foreign_export(path: Path) -> None:
    """Raise ModelError if ``path`` is a file, or a folder with something else than an export in it."""
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / ABOUT).is_file()):
        raise ModelError(f"{path}: exists and is not an exported model; nothing was replaced. Choose another --out.")


def agreement(found: Vectors, expected: Vectors) -> tuple[Vectors, float]:
    """Return the cosine of each pair of rows, float32 [texts], and the share whose nearest row is their own.

    Two rows of zeros agree, a row of zeros and another do not. Rows are of unit length or zero; equal rows of
    ``expected`` count as one's own.
    """
    both_empty = ~found.any(1) & ~expected.any(1)
    cosines = np.where(both_empty, 1.0, np.clip((found * expected).sum(1), -1.0, 1.0))
    nearest = (found @ expected.T).max(1) <= (found * expected).sum(1) + 1e-6
    return cosines.astype(np.float32), float(np.mean(nearest))


def _agreement(folder: Path, texts: Sequence[str], expected: Vectors, *, int8: bool) -> Agreement:
    file = folder / (INT8_GRAPH if int8 else GRAPH)
    found = OnnxTextEncoder.open(folder, int8=int8).encode(texts, batch_size=32)
    if found.shape != expected.shape:
        raise ModelError(f"{folder}: the graph gives vectors of shape {found.shape}, torch of {expected.shape}.")
    cosines, recall = agreement(np.nan_to_num(found), expected)
    worst = int(cosines.argmin())
    size = sum(one.stat().st_size for one in (file, file.with_name(f"{file.name}.data")) if one.is_file())
    return Agreement(
        len(texts), float(cosines.mean()), float(cosines[worst]), texts[worst][:200], recall, size, sha256_of(file)
    )


def _refuse_left_out_prompt(model: Any, prompt: str | None, name: str) -> None:
    if prompt and not all(getattr(module, "include_prompt", True) for module in text_route(model)):
        raise ModelError(
            f"{name}: leaves its prompt {prompt!r} out of the mean, which an exported graph cannot. "
            "Save the model without a default prompt, or with a pooling that includes it."
        )


def _about(model: Any, name: str, prompt: str | None, found: dict[str, Agreement]) -> dict[str, Any]:
    import onnx
    import onnxruntime
    import torch

    longest = getattr(text_route(model)[0], "max_seq_length", None)
    versions = {"kivuko": kivuko.__version__, "torch": torch.__version__, "onnx": onnx.__version__}
    files = {GRAPH: asdict(found["float32"])} | ({INT8_GRAPH: asdict(found["int8"])} if "int8" in found else {})
    return {
        "format": "kivuko-onnx-1", "source": Path(name).name, "prompt": prompt,
        "dim": int(model.get_embedding_dimension()),
        "max_length": int(longest) if longest and longest != float("inf") else None,
        "inputs": {"input_ids": "int64 [batch, length]", "attention_mask": "int64 [batch, length]"},
        "output": {"sentence_embedding": "float32 [batch, dim], unit length"}, "files": files,
        "versions": versions | {"onnxruntime": onnxruntime.__version__},
    }  # fmt: skip


def _card(about: dict[str, Any]) -> str:
    rows = [
        f"| `{file}` | {told['bytes'] / 1e6:,.1f} MB | {told['mean']:.5f} | {told['worst']:.5f} |"
        for file, told in about["files"].items()
    ]
    prompt = f" Each text gets the prompt `{about['prompt']}` by itself." if about["prompt"] else ""
    told = _EIGHT_BITS if INT8_GRAPH in about["files"] else ""
    return f"""\
# {about["source"]}, exported

The text side, for onnxruntime and tokenizers alone: unit vectors of width {about["dim"]}.{prompt}

```python
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
session = onnxruntime.InferenceSession("{list(about["files"])[-1]}", providers=["CPUExecutionProvider"])


def encode(texts):
    found = tokenizer.encode_batch(texts)
    ids = np.array([one.ids for one in found], dtype=np.int64)
    mask = np.array([one.attention_mask for one in found], dtype=np.int64)
    return session.run(["sentence_embedding"], {{"input_ids": ids, "attention_mask": mask}})[0]


print(encode(["paka mweusi"]).shape)
```

Cosine with torch's vectors, over {next(iter(about["files"].values()))["texts"]:,} texts:

| file | size | mean | worst |
|---|---|---|---|
{chr(10).join(rows)}

{told}Made with Kivuko {about["versions"]["kivuko"]}. Misspelled words are read as written: what a model's
`spelling.json` adds is not in a graph.
"""
