"""Teacher vectors: every English sentence encoded once, kept in a cache, served in batches."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kivuko.encoders.teacher import TextTeacher
from kivuko.encoders.token_batch import TokenBatch
from kivuko.errors import CorruptFileError, unreadable
from kivuko.files import atomic_path, cache_folder, refuse_unwritable

Progress = Callable[[int, int], None]  # (sentences done, sentences)
_BATCH = 128


@dataclass(frozen=True)
class TeacherVectors:
    """Content tokens of all sentences end to end, and their pooled vectors."""

    sentences: dict[str, int]
    tokens: Tensor  # float16 [total, dim]
    offsets: Tensor  # int64 [sentences + 1], sentence i owns tokens[offsets[i]:offsets[i + 1]]
    pooled: Tensor  # float32 [sentences, dim]
    mean: Tensor  # float32 [dim], the mean token

    def batch(self, rows: Tensor) -> TokenBatch:
        """Return the sentences at ``rows`` int64 [batch] as a TokenBatch, its tokens packed."""
        starts, ends = self.offsets[rows], self.offsets[rows + 1]
        lengths = ends - starts
        steps = torch.arange(max(1, int(lengths.max())) if len(rows) else 1)
        mask = steps < lengths[:, None]  # [batch, length]
        places = (starts[:, None] + steps)[mask]  # [content tokens]
        return TokenBatch(None, mask, self.pooled[rows], self.tokens[places].float())


def teacher_vectors(
    teacher: TextTeacher, sentences: Sequence[str], cache: Path | None = None, progress: Progress | None = None
) -> TeacherVectors:
    """Encode the distinct sentences, or read them from the cache, which is keyed by teacher and sentences."""
    distinct = list(dict.fromkeys(sentences))
    key = hashlib.sha256(json.dumps([2, teacher.fingerprint, distinct]).encode()).hexdigest()
    file = (cache or cache_folder() / "teacher") / f"{key[:24]}.safetensors"
    if not file.is_file():
        refuse_unwritable(file)
        with teacher.accelerated():
            tensors = _encode(teacher, distinct, progress)
        with atomic_path(file) as temporary:
            save_file(tensors, temporary, metadata={"sha256": _digest(tensors)})
    return _read(file, {text: row for row, text in enumerate(distinct)})


def _encode(teacher: TextTeacher, sentences: list[str], progress: Progress | None) -> dict[str, Tensor]:
    # Sentences of like length go together, which spares padding; the results are put back in order.
    order = sorted(range(len(sentences)), key=lambda row: len(sentences[row]))
    tokens: list[Tensor] = [torch.empty(0)] * len(sentences)
    pooled = torch.zeros(len(sentences), teacher.dim)
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        batch = teacher.encode_tokens([sentences[row] for row in rows])
        pooled[rows] = batch.pooled.to("cpu")
        content = batch.content().half().to("cpu")  # from a GPU, half of what it holds and nothing of the padding
        for row, own in zip(rows, content.split(batch.mask.sum(1).tolist()), strict=True):
            tokens[row] = own
        if progress:
            progress(start + len(rows), len(order))
    lengths = torch.tensor([0, *(len(one) for one in tokens)])
    joined = torch.cat(tokens) if tokens else torch.zeros(0, teacher.dim, dtype=torch.float16)
    mean = joined.float().mean(0) if len(joined) else torch.zeros(teacher.dim)
    return {"tokens": joined, "offsets": lengths.cumsum(0), "pooled": pooled, "mean": mean}


def _read(file: Path, sentences: dict[str, int]) -> TeacherVectors:
    remedy = "Delete this file and run again."
    try:
        with safe_open(file, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in ("tokens", "offsets", "pooled", "mean")}
            expected = (stored.metadata() or {}).get("sha256")
    except (SafetensorError, OSError, ValueError) as problem:
        raise unreadable(file, problem, f"{file}: corrupted or unreadable. {remedy}") from problem
    if _digest(tensors) != expected:
        raise CorruptFileError(f"{file}: corrupted (its checksum differs from what was written). {remedy}")
    return TeacherVectors(sentences, **tensors)


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
