"""An exported graph with weights of eight bits, by ONNX Runtime's own quantizer."""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kivuko.encoders.onnx_graph import ROWS


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
