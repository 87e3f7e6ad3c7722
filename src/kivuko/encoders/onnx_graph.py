"""ONNX graphs of a text encoder: written by the exporter of torch, quantized by onnxruntime."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kivuko.encoders.modules import is_static, text_route
from kivuko.errors import ModelError, first_line

INPUTS = ("input_ids", "attention_mask")  # int64 [batch, length]
OUTPUT = "sentence_embedding"  # float32 [batch, dim], of unit length
ROWS = "rows"  # the name of what holds the table of subwords: its weights are ``....rows.weight`` in the graph
_INLINE = 1_600_000_000  # bytes of weights above which they go into a file of their own: a graph holds 2 GB at most


def write_graph(model: Any, path: Path, name: str, *, length: int | None = None) -> None:
    """Write ``path`` (and ``path.data`` for weights above 1.6 GB) from a model's text side.

    Batch and length are free, unless ``length`` is given. The model is on the CPU, in float32. A text without a token
    gets a zero vector where the text side is static.
    """
    route = text_route(model)
    with _by_row(route) as parts, _quiet():
        graph = _TextGraph(parts, _features(route[0])).eval()
        ids = torch.zeros(2, length or 5, dtype=torch.long)
        free = {0: "batch"} if length else {0: "batch", 1: "length"}
        try:
            program = torch.onnx.export(
                graph, (ids, torch.ones_like(ids)), input_names=list(INPUTS), output_names=[OUTPUT], dynamo=True,
                dynamic_shapes=dict.fromkeys(INPUTS, free), verbose=False,
            )  # fmt: skip
            assert program is not None
            weights = sum(one.numel() * one.element_size() for one in graph.parameters())
            program.save(path, external_data=weights > _INLINE)
        except OSError:
            raise  # full, read-only: the caller reports it
        except Exception as problem:  # the exporter raises many kinds, all of them for a model it cannot follow
            raise ModelError(
                f"{name}: torch's exporter makes no ONNX graph of its text side ({first_line(problem)})."
            ) from problem


def quantize_graph(graph: Path, out: Path) -> None:
    """Write a graph with weights of eight bits; activations are quantized while it runs, without calibration.

    Matrices use seven of the eight bits: processors without VNNI overflow with all of them.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    loaded = onnx.load(str(graph), load_external_data=False)
    small = _small_tables(loaded)
    # The exporter's sizes are removed: the quantizer infers them again, and stops where they are wrong.
    del loaded.graph.value_info[:]
    bare = graph.with_name(f"bare-{graph.name}")  # next to the weights, which it names by their path
    onnx.save(loaded, str(bare))
    try:
        with _quiet():
            quantize_dynamic(
                str(bare), str(out), per_channel=True, reduce_range=True, weight_type=QuantType.QInt8,
                nodes_to_exclude=small, use_external_data_format=graph.with_name(f"{graph.name}.data").is_file(),
            )  # fmt: skip
    finally:
        bare.unlink()


class _TextGraph(nn.Module):
    """The modules in sequence, as sentence-transformers runs them, on two tensors instead of a dictionary."""

    def __init__(self, parts: list[nn.Module], features: tuple[str, ...]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.features = features

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map int64 [batch, length] twice to unit vectors, float32 [batch, dim]."""
        features = {"input_ids": input_ids}
        if "attention_mask" in self.features:
            features["attention_mask"] = attention_mask
        if "token_type_ids" in self.features:
            features["token_type_ids"] = torch.zeros_like(input_ids)
        for part in self.parts:
            features = part(features)
        return F.normalize(features[OUTPUT].float(), dim=-1)


class _RowScaled(nn.Module):
    """A table of vectors that keeps rows with 1 as their largest number, and a factor for each row.

    ONNX Runtime quantizes a table with one scale; so every row has its own, as rare subwords' short vectors need.
    """

    def __init__(self, weights: Tensor, padding: int | None = None) -> None:
        super().__init__()
        weights = weights.detach().float()
        factors = weights.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        self.rows = nn.Embedding.from_pretrained(weights / factors)
        self.factors = nn.Embedding.from_pretrained(factors)
        self.num_embeddings, self.embedding_dim = weights.shape
        self.padding_idx = padding  # models like RoBERTa read it from the table

    def forward(self, ids: Tensor) -> Tensor:
        vectors: Tensor = self.rows(ids) * self.factors(ids)
        return vectors


class _StaticMean(nn.Module):
    """StaticEmbedding on padded texts: the mean of a text's subword vectors; zeros without any."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.table = _RowScaled(weights)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the sentence vectors, float32 [batch, dim]."""
        counted = features["attention_mask"].float().unsqueeze(-1)  # [batch, length, 1]
        sums = (self.table(features["input_ids"]) * counted).sum(1)
        features[OUTPUT] = sums / counted.sum(1).clamp(min=1.0)
        return features


@contextlib.contextmanager
def _by_row(route: list[Any]) -> Iterator[list[nn.Module]]:
    """Yield a text side's modules with its table scaled by row; the model's own table is put back afterward."""
    first, *rest = route
    if is_static(first):
        yield [_StaticMean(first.embedding.weight), *rest]
        return
    body = getattr(first, "model", None)
    try:
        table = body.get_input_embeddings()  # type: ignore[union-attr]
    except (AttributeError, NotImplementedError):
        table = None
    if type(table) is not nn.Embedding or table.max_norm is not None:  # one that does more than look up stays
        yield route
        return
    assert body is not None
    body.set_input_embeddings(_RowScaled(table.weight, table.padding_idx))
    try:
        yield route
    finally:
        body.set_input_embeddings(table)


def _features(first: Any) -> tuple[str, ...]:
    return INPUTS if is_static(first) else tuple(first.preprocess(["a"]))


def _small_tables(model: Any) -> list[str]:
    """Return the names of look-ups in small tables (positions, factors), where eight bits would hurt every text."""
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
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
