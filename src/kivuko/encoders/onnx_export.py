"""Export of a model's text encoder as ONNX: graph, tokenizer, and a check of both against torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, normalizers

import kivuko
from kivuko.encoders.image_tower import Vectors
from kivuko.encoders.model import Model, encode_texts, load_model, quiet
from kivuko.encoders.modules import backend_tokenizer, is_static, text_route
from kivuko.encoders.onnx_graph import quantize_graph, write_graph
from kivuko.encoders.onnx_text import ABOUT, GRAPH, INT8_GRAPH, TOKENIZER, OnnxTextEncoder, require_onnx
from kivuko.encoders.spelling import without_reading
from kivuko.encoders.teacher import default_prompt
from kivuko.encoders.vocabulary import PAD
from kivuko.errors import KivukoError, ModelError, UsageError
from kivuko.files import atomic_path, refuse_unwritable, sha256_of
from kivuko.progress import bars, console, note

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
    refuse_foreign_export(out)
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


@contextmanager
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
    _refuse_left_out_prompt(encoder, prompt, name)
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
    from kivuko.datasets.emoji.sources import find_cldr, read_annotations

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
    if longest := _text_options(first).get("max_length") or first.max_seq_length:
        own.enable_truncation(int(longest), direction=wrapped.truncation_side)
    own.enable_padding(
        direction=wrapped.padding_side, pad_id=wrapped.pad_token_id, pad_token=wrapped.pad_token,
        length=fixed_length(model),
    )  # fmt: skip
    return own


def fixed_length(model: Any) -> int | None:
    """Return the length to which a model pads every text, as SigLIP does; None if it pads to the longest."""
    first = text_route(model)[0]
    options = _text_options(first)
    return int(options.get("max_length") or first.max_seq_length) if options.get("padding") == "max_length" else None


def refuse_foreign_export(path: Path) -> None:
    """Raise ModelError if ``path`` is a file, or a folder with something else than an export in it."""
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / ABOUT).is_file()):
        raise ModelError(f"{path}: exists and is not an exported model; nothing was replaced. Choose another --out.")


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


def _refuse_left_out_prompt(model: Any, prompt: str | None, name: str) -> None:
    if prompt and not all(getattr(module, "include_prompt", True) for module in text_route(model)):
        raise ModelError(
            f"{name}: leaves its prompt {prompt!r} out of the mean, which an exported graph cannot. "
            "Save the model without a default prompt, or with a pooling that includes it."
        )


def _text_options(first: Any) -> dict[str, Any]:
    options: dict[str, Any] = getattr(first, "processing_kwargs", {}).get("text", {})
    return options


def _about(model: Any, name: str, prompt: str | None, agreements: dict[str, Agreement]) -> dict[str, Any]:
    import onnx
    import onnxruntime
    import torch

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

{caution}Made with Kivuko {about["versions"]["kivuko"]}. Misspelled words are read as written: what a model's
`spelling.json` adds is not in a graph.
"""
