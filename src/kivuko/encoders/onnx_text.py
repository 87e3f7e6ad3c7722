"""An exported text side at work, with onnxruntime and tokenizers alone: no torch."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from kivuko.encoders.loading import PROBES
from kivuko.encoders.modules import is_static, text_route
from kivuko.errors import CorruptFileError, MissingDependencyError, ModelError, first_line, wrap_errors

GRAPH, INT8_GRAPH = "model.onnx", "model.int8.onnx"
TOKENIZER = "tokenizer.json"
ABOUT = "export.json"


class OnnxTextEncoder:
    """A text side that ``kivuko export`` wrote: texts -> unit vectors.

    Attributes:
        dim: width of the vectors.
        about: what ``export.json`` says: the source, the prompt, the longest text, how it was checked.
    """

    def __init__(self, session: Any, tokenizer: Any, about: dict[str, Any]) -> None:
        self._session, self._tokenizer, self.about = session, tokenizer, about
        self.dim = int(session.get_outputs()[0].shape[-1])

    @classmethod
    def open(cls, folder: Path | str, *, int8: bool = False, threads: int | None = None) -> OnnxTextEncoder:
        """Open an exported folder.

        Args:
            int8: whether to take the quantized graph.
            threads: of one call; None: as many as there are cores.

        Raises:
            ModelError: it is not what ``kivuko export`` writes, or holds no quantized graph.
            CorruptFileError: a file in it is damaged.
            MissingDependencyError: onnxruntime is not installed.
        """
        require_onnx("onnxruntime")
        import onnxruntime
        from tokenizers import Tokenizer

        folder = Path(folder)
        graph = folder / (INT8_GRAPH if int8 else GRAPH)
        for file in (graph, folder / TOKENIZER):
            if not file.is_file():
                flag = " --int8" if file.name == INT8_GRAPH else ""
                raise ModelError(f"{folder}: no {file.name} in it. 'kivuko export MODEL --onnx{flag} --out' makes one.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        if threads:
            options.intra_op_num_threads = threads
        with wrap_errors(lambda reason: _damaged(graph, reason)):
            session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        with wrap_errors(lambda reason: _damaged(folder / TOKENIZER, reason)):
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
            tokenizer.encode_batch(list(PROBES))
        return cls(session, tokenizer, _read_about(folder / ABOUT))

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> NDArray[np.float32]:
        """Encode texts: unit vectors, float32 [texts, dim]; a text without a subword may get a zero vector."""
        found = [np.zeros((0, self.dim), dtype=np.float32)]
        for start in range(0, len(texts), batch_size):
            encoded = self._tokenizer.encode_batch(list(texts[start : start + batch_size]))
            features = {
                "input_ids": np.array([one.ids for one in encoded], dtype=np.int64),
                "attention_mask": np.array([one.attention_mask for one in encoded], dtype=np.int64),
            }
            found.append(self._session.run(None, features)[0])
        return np.concatenate(found)


def require_onnx(*modules: str) -> None:
    """Raise MissingDependencyError unless the libraries that exporting takes are installed."""
    import importlib.util

    if missing := [one for one in modules if importlib.util.find_spec(one) is None]:
        raise MissingDependencyError(f"ONNX needs {', '.join(missing)}: pip install 'kivuko[export]'")


def _read_about(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise _damaged(file, first_line(problem)) from problem
    return found if isinstance(found, dict) else {}


def _damaged(file: Path, reason: str) -> CorruptFileError:
    return CorruptFileError(f"{file}: corrupted or unreadable ({reason}). Export the model again.")


INPUTS = ("input_ids", "attention_mask")  # int64 [batch, length]
OUTPUT = "sentence_embedding"  # float32 [batch, dim], of unit length
ROWS = "rows"  # the name of what holds the table of subwords: its weights are ``....rows.weight`` in the graph
_INLINE = 1_600_000_000  # bytes of weights above which they go into a file of their own: a graph holds 2 GB at most


def write_graph(model: Any, path: Path, name: str, *, length: int | None = None) -> None:
    """Write ``path`` (and ``path.data`` for weights above 1.6 GB) from a model's text side.

    Batch and length are free, unless ``length`` is given. A text without a token gets a zero vector where the text
    side is static.

    Args:
        model: a ``SentenceTransformer`` on the CPU, in float32; its weights are as before when this returns.
        name: of the model, for messages.
        length: to which every text is padded, for models that were trained so (SigLIP).

    Raises:
        ModelError: torch's exporter cannot make a graph of it.
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
            raise  # full, read-only: the caller tells
        except Exception as problem:  # the exporter raises many kinds, all of them for a model it cannot follow
            raise ModelError(
                f"{name}: torch's exporter makes no ONNX graph of its text side ({first_line(problem)})."
            ) from problem


class _TextGraph(nn.Module):
    """The modules one after the other, as sentence-transformers runs them, on two tensors instead of a dictionary."""

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
    """A table of vectors whose rows are kept with 1 as their largest number, and each row's own factor beside it.

    It gives what the table gives. Quantized with one scale for the whole table, as ONNX Runtime does it, every row has
    then a scale of its own: vectors of rare subwords are often ten times shorter than those of common ones.
    """

    def __init__(self, weights: Tensor, padding: int | None = None) -> None:
        super().__init__()
        weights = weights.detach().float()
        factors = weights.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        self.rows = nn.Embedding.from_pretrained(weights / factors)
        self.factors = nn.Embedding.from_pretrained(factors)
        self.num_embeddings, self.embedding_dim = weights.shape
        self.padding_idx = padding  # RoBERTa's kin ask the table for it

    def forward(self, ids: Tensor) -> Tensor:
        """Map int64 [batch, length] to [batch, length, width]."""
        found: Tensor = self.rows(ids) * self.factors(ids)
        return found


class _StaticMean(nn.Module):
    """What StaticEmbedding computes, on padded texts: the mean of a text's subword vectors; zeros without any."""

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
    """Return the names of the tensors that a text side reads."""
    return INPUTS if is_static(first) else tuple(first.preprocess(["a"]))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which prints its progress and warns of its own affairs."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
