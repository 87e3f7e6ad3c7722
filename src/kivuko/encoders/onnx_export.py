"""Export of a model's text encoder as ONNX: graph, tokenizer, and a check of both against torch."""

import contextlib
import io
import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, normalizers
from torch import Tensor, nn
from torch.nn import functional as F

import kivuko
from kivuko.datasets.emoji.sources import find_cldr, read_annotations
from kivuko.encoders.image_tower import Vectors
from kivuko.encoders.model import Model, encode_texts, load_model, quiet
from kivuko.encoders.modules import backend_tokenizer, fixed_length, is_static, subword_table, text_options, text_route
from kivuko.encoders.onnx_text import ABOUT, GRAPH, INT8_GRAPH, TOKENIZER, OnnxTextEncoder, require_onnx
from kivuko.encoders.reading import without_reading
from kivuko.encoders.teacher import default_prompt
from kivuko.encoders.vocabulary import PAD
from kivuko.errors import KivukoError, ModelError, UsageError, first_line
from kivuko.files import atomic_path, refuse_foreign, refuse_unwritable, sha256_of
from kivuko.progress import bars, console, note

INPUTS = ("input_ids", "attention_mask")  # int64 [batch, length]
OUTPUT = "sentence_embedding"  # float32 [batch, dim], of unit length
ROWS = "rows"  # the name of what holds the table of subwords: its weights are ``....rows.weight`` in the graph
_INLINE = 1_600_000_000  # bytes of weights above which they go into a file of their own: a graph holds 2 GB at most
TOLERANCE = 1e-3  # of 1 - cosine between the vectors of the graph and those of torch
_STEPS = ("graph", "check", "int8", "check of int8")
_POOR = 0.98  # worst cosine of a quantized graph below which a warning is due
_NAMES = 200  # of emoji per language, to compare on
_EIGHT_BITS = """\
With eight bits a vector depends a little on the texts that it is encoded with, since a network's activations share a
scale: encode texts one by one where the same text must always have the same vector.

"""
# Texts that no exporter should get wrong, of very different lengths, so that padding and cutting are tried too.
_ALWAYS = (
    "paka mweusi anakula samaki mtoni", "Bisad madow ayaa kalluun cunaysa", "काळी मांजर मासा खाते", "黑猫在河里吃鱼",
    "แมวดำกินปลา", "قطة سوداء تأكل السمك", "ጥቁር ድመት", "Ein schwarzer Kater frißt Fisch.", "UNE ÉGLISE À CÔTÉ",
    "a black cat", "😀 🐈", "x", "1,234.56", "paka  mweusi\tmtoni", "mbwa " * 7, "samaki " * 700, "",
)  # fmt: skip


@dataclass(frozen=True)
class Agreement:
    """Cosines between the vectors of an exported graph and those of torch."""

    texts: int
    mean: float
    worst: float
    worst_text: str
    recall: float  # share of the texts whose nearest neighbor among torch's vectors is their own
    bytes: int  # of the graph's file
    sha256: str


@dataclass(frozen=True)
class Exported:
    """The result of an export; ``int8`` is None where it was not requested."""

    folder: Path
    dim: int
    float32: Agreement
    int8: Agreement | None

    @property
    def warning(self) -> str:
        """A line on a text that eight bits move far; empty where there is none."""
        if self.int8 is None or self.int8.worst >= _POOR:
            return ""
        return (
            f"eight bits move some vectors far ({self.int8.worst:.3f} for '{self.int8.worst_text[:40]}'). "
            f"Measure a search with {INT8_GRAPH} before you use it."
        )


def export_onnx(
    model: Model | Path | str,
    out: Path | str,
    *,
    int8: bool = False,
    texts: Sequence[str] | None = None,
    cldr: Path | None = None,
    progress: bool | None = None,  # show the steps; None: as bars on a terminal, as lines elsewhere
) -> Exported:
    """Write a model's text encoder as ``model.onnx`` with ``tokenizer.json``, for onnxruntime and tokenizers alone.

    The graph maps ``input_ids`` and ``attention_mask``, int64 [batch, length], to ``sentence_embedding``, unit vectors
    float32 [batch, dim]. It is compared with torch on ``texts`` (None: names of emoji) before it is put in place.
    """
    require_onnx("onnx", "onnxscript", "onnxruntime")
    out = Path(out)
    refuse_foreign(out, ABOUT, "an exported model")
    refuse_unwritable(out / ABOUT)
    with _steps(out, int8, progress) as begin:
        loaded = load_model(model, device=None if isinstance(model, Model) else "cpu")
        if not loaded.has_text:
            raise UsageError(f"{loaded.source or loaded.name}: encodes no text, so there is no text encoder to export.")
        if texts is None:
            texts = _emoji_names(loaded.languages, cldr)
        place = loaded.device
        try:
            with quiet():
                return _export(loaded, out, texts, int8, begin)
        finally:
            loaded.encoder.to(place)


@contextlib.contextmanager
def _steps(out: Path, int8: bool, progress: bool | None) -> Iterator[Callable[[str], None]]:
    with bars(progress) as display:
        task = display.add_task("loading", total=len(_STEPS[: 4 if int8 else 2]) + 1, figures="")

        def begin(step: str) -> None:
            display.update(task, description=step, advance=1)
            if not console.is_terminal:
                note(f"{out}: {step}")

        yield begin
        display.update(task, description="exported", advance=1)


def _export(loaded: Model, out: Path, texts: Sequence[str], int8: bool, begin: Callable[[str], None]) -> Exported:
    name = loaded.source or loaded.name
    encoder = without_reading(loaded.encoder).float().cpu().eval()
    prompt = default_prompt(encoder)
    if prompt and not all(getattr(module, "include_prompt", True) for module in text_route(encoder)):
        raise ModelError(
            f"{name}: leaves its prompt {prompt!r} out of the mean, which an exported graph cannot. "
            "Save the model without a default prompt, or with a pooling that includes it."
        )
    # An empty text gets the prompt from sentence-transformers, and not from a tokenizer.
    checked = [text for text in dict.fromkeys([*_ALWAYS, *texts]) if text.strip() or not prompt]
    graph, check, quantization, check_of_int8 = _STEPS
    with atomic_path(out) as temporary:
        temporary.mkdir()
        begin(graph)
        exported_tokenizer(encoder, name, prompt).save(str(temporary / TOKENIZER))
        write_graph(encoder, temporary / GRAPH, name, length=fixed_length(encoder))
        begin(check)
        expected = encode_texts(encoder, checked)
        if not np.isfinite(expected).all():
            raise ModelError(f"{name}: gives vectors that are not numbers (NaN). Train the model again.")
        files = {"float32": _agreement(temporary, checked, expected, int8=False)}
        if not files["float32"].worst >= 1 - TOLERANCE:
            raise ModelError(
                f"{name}: the graph does not give torch's vectors (cosine {files['float32'].worst:.4f} for "
                f"{files['float32'].worst_text[:40]!r}), so nothing was written. Its preparation of text does more "
                "than a tokenizer does."
            )
        if int8:
            begin(quantization)
            quantize_graph(temporary / GRAPH, temporary / INT8_GRAPH)
            begin(check_of_int8)
            files["int8"] = _agreement(temporary, checked, expected, int8=True)
        about = _about(encoder, name, prompt, files)
        (temporary / ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(_card(about), encoding="utf-8")
    return Exported(out, expected.shape[1], files["float32"], files.get("int8"))


def _emoji_names(languages: Sequence[str], cldr: Path | None) -> list[str]:
    """Return emoji names in a model's languages; fewer, or none, where CLDR has none or is not installed."""
    try:
        folder = find_cldr(cldr)
    except KivukoError:
        if cldr is not None:
            raise
        return []
    texts: list[str] = []
    for code in languages:
        try:
            names = [annotation.name for annotation in read_annotations(folder, code).values()]
        except KivukoError:
            continue  # a language that CLDR has no names in; the texts that are always tried remain
        texts += names[:: max(1, len(names) // _NAMES)][:_NAMES]
    return texts


def exported_tokenizer(model: Any, name: str, prompt: str | None = None) -> Tokenizer:
    """Return a copy of a model's tokenizer that also truncates, pads, and adds special tokens and the prompt."""
    backend = backend_tokenizer(model)
    if backend is None:
        raise ModelError(f"{name}: its tokenizer is not one of the library 'tokenizers', so it cannot be exported.")
    first = text_route(model)[0]
    state = json.loads(backend.to_str())
    if is_static(first):
        state["post_processor"] = None  # sentence-transformers adds no special tokens there
    own = Tokenizer.from_str(json.dumps(state))
    if prompt:
        before = normalizers.Prepend(prompt)
        own.normalizer = normalizers.Sequence([before, own.normalizer] if own.normalizer is not None else [before])
    if is_static(first):
        own.enable_padding(pad_id=own.token_to_id(PAD) or 0, pad_token=PAD)
        return own
    wrapped = first.tokenizer
    if wrapped.pad_token_id is None:
        raise ModelError(f"{name}: its tokenizer has no padding token, so texts of two lengths make no batch.")
    if longest := text_options(first).get("max_length") or first.max_seq_length:
        own.enable_truncation(int(longest), direction=wrapped.truncation_side)
    own.enable_padding(
        direction=wrapped.padding_side, pad_id=wrapped.pad_token_id, pad_token=wrapped.pad_token,
        length=fixed_length(model),
    )  # fmt: skip
    return own


def agreement(actual: Vectors, expected: Vectors) -> tuple[Vectors, float]:
    """Return the cosine of each pair of rows, float32 [texts], and the share whose nearest row is their own.

    Rows are of unit length or zero; two rows of zeros agree. Equal rows of ``expected`` count as one's own.
    """
    both_empty = ~actual.any(1) & ~expected.any(1)
    cosines = np.where(both_empty, 1.0, np.clip((actual * expected).sum(1), -1.0, 1.0))
    nearest = (actual @ expected.T).max(1) <= (actual * expected).sum(1) + 1e-6
    return cosines.astype(np.float32), float(np.mean(nearest))


def _agreement(folder: Path, texts: Sequence[str], expected: Vectors, *, int8: bool) -> Agreement:
    file = folder / (INT8_GRAPH if int8 else GRAPH)
    vectors = OnnxTextEncoder.open(folder, int8=int8).encode(texts, batch_size=32)
    if vectors.shape != expected.shape:
        raise ModelError(f"{folder}: the graph gives vectors of shape {vectors.shape}, torch of {expected.shape}.")
    cosines, recall = agreement(np.nan_to_num(vectors), expected)
    worst = int(cosines.argmin())
    size = sum(one.stat().st_size for one in (file, file.with_name(f"{file.name}.data")) if one.is_file())
    return Agreement(
        len(texts), float(cosines.mean()), float(cosines[worst]), texts[worst][:200], recall, size, sha256_of(file)
    )


def _about(model: Any, name: str, prompt: str | None, agreements: dict[str, Agreement]) -> dict[str, Any]:
    import onnx
    import onnxruntime

    longest = getattr(text_route(model)[0], "max_seq_length", None)
    versions = {"kivuko": kivuko.__version__, "torch": torch.__version__, "onnx": onnx.__version__}
    files = {GRAPH: asdict(agreements["float32"])} | (
        {INT8_GRAPH: asdict(agreements["int8"])} if "int8" in agreements else {}
    )
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
        f"| `{file}` | {row['bytes'] / 1e6:,.1f} MB | {row['mean']:.5f} | {row['worst']:.5f} |"
        for file, row in about["files"].items()
    ]
    prompt = f" Each text gets the prompt `{about['prompt']}` by itself." if about["prompt"] else ""
    caution = _EIGHT_BITS if INT8_GRAPH in about["files"] else ""
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
    encoded = tokenizer.encode_batch(texts)
    ids = np.array([one.ids for one in encoded], dtype=np.int64)
    mask = np.array([one.attention_mask for one in encoded], dtype=np.int64)
    return session.run(["sentence_embedding"], {{"input_ids": ids, "attention_mask": mask}})[0]


print(encode(["paka mweusi"]).shape)
```

Cosine with torch's vectors, over {next(iter(about["files"].values()))["texts"]:,} texts:

| file | size | mean | worst |
|---|---|---|---|
{chr(10).join(rows)}

{caution}Made with Kivuko {about["versions"]["kivuko"]}. Misspelled and unknown words are read as
written: what a model's `spelling.json` and `word_reader.safetensors` add is not in a graph.
"""


def write_graph(model: Any, path: Path, name: str, *, length: int | None = None) -> None:
    """Write ``path`` (and ``path.data`` for weights above 1.6 GB) from a model's text side.

    Batch and length are free, unless ``length`` is given. The model is on the CPU, in float32. A text without a token
    gets a zero vector where the text side is static.
    """
    route = text_route(model)
    with _by_row(model) as parts, _quiet():
        features = INPUTS if is_static(route[0]) else tuple(route[0].preprocess(["a"]))
        graph = _TextGraph(parts, features).eval()
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
def _by_row(model: Any) -> Iterator[list[nn.Module]]:
    """Yield a text side's modules with its table scaled by row; the model's own table is put back afterward."""
    first, *rest = route = text_route(model)
    if is_static(first):
        yield [_StaticMean(first.embedding.weight), *rest]
        return
    table = subword_table(model)
    if type(table) is not nn.Embedding or table.max_norm is not None:  # one that does more than look up stays
        yield route
        return
    first.model.set_input_embeddings(_RowScaled(table.weight, table.padding_idx))
    try:
        yield route
    finally:
        first.model.set_input_embeddings(table)


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
    with quiet(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        yield
