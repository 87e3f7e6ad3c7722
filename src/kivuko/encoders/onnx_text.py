"""An exported text encoder, run by onnxruntime and tokenizers without torch."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kivuko.encoders.loading import PROBES
from kivuko.errors import CorruptFileError, MissingDependencyError, ModelError, first_line, unreadable, wrap_errors

GRAPH, INT8_GRAPH = "model.onnx", "model.int8.onnx"
TOKENIZER = "tokenizer.json"
ABOUT = "export.json"


class OnnxTextEncoder:
    """A text encoder that ``kivuko export`` wrote; ``about`` is the content of its ``export.json``."""

    def __init__(self, session: Any, tokenizer: Any, about: dict[str, Any]) -> None:
        self._session, self._tokenizer, self.about = session, tokenizer, about
        self.dim = int(session.get_outputs()[0].shape[-1])

    @classmethod
    def open(cls, folder: Path | str, *, int8: bool = False, threads: int | None = None) -> Self:
        """Open an exported folder; ``threads`` None: as many as there are cores."""
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
        batches = [np.zeros((0, self.dim), dtype=np.float32)]
        for start in range(0, len(texts), batch_size):
            encoded = self._tokenizer.encode_batch(list(texts[start : start + batch_size]))
            features = {
                "input_ids": np.array([one.ids for one in encoded], dtype=np.int64),
                "attention_mask": np.array([one.attention_mask for one in encoded], dtype=np.int64),
            }
            batches.append(self._session.run(None, features)[0])
        return np.concatenate(batches)


def require_onnx(*modules: str) -> None:
    if missing := [one for one in modules if importlib.util.find_spec(one) is None]:
        raise MissingDependencyError(f"ONNX needs {', '.join(missing)}: pip install 'kivuko[export]'")


def _read_about(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise unreadable(file, problem, str(_damaged(file, first_line(problem)))) from problem
    return about if isinstance(about, dict) else {}


def _damaged(file: Path, reason: str) -> CorruptFileError:
    return CorruptFileError(f"{file}: corrupted or unreadable ({reason}). Export the model again.")
