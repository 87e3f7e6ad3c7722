"""Teacher vectors: every English sentence encoded once, kept in a cache, served in batches.

The cache is a safetensors file, written and read in bounded memory: tokens and sentence vectors stay in the file, which
is mapped into memory, and of a large one only what a batch needs is there.
"""

import functools
import hashlib
import io
import json
import math
import mmap
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kivuko.encoders.teacher import TextTeacher
from kivuko.encoders.token_batch import TokenBatch
from kivuko.errors import CorruptFileError, unreadable
from kivuko.files import atomic_path, cache_folder, refuse_unwritable

Progress = Callable[[int, int], None]  # (sentences done, sentences)
_BATCH = 128
_BLOCK = 32_768  # sentences whose tokens are in memory at once
_LARGE = 1 << 28  # bytes of a file from which what was read of it leaves the memory again
_CHUNK = 1 << 20  # bytes
_DTYPES = {"F16": torch.float16, "F32": torch.float32, "I64": torch.int64}


@dataclass(frozen=True)
class TeacherVectors:
    """Content tokens of all sentences end to end, and their pooled vectors."""

    sentences: dict[str, int]
    tokens: Tensor  # float16 [total, dim]
    offsets: Tensor  # int64 [sentences + 1], sentence i owns tokens[offsets[i]:offsets[i + 1]]
    pooled: Tensor  # float32 [sentences, dim]
    mean: Tensor  # float32 [dim], the mean token
    digest: str = ""  # of all of it, where it is known
    mapping: mmap.mmap | None = field(default=None, compare=False, repr=False)  # of a large file

    def batch(self, rows: Tensor) -> TokenBatch:
        """Return the sentences at ``rows`` int64 [batch] as a TokenBatch, its tokens packed."""
        starts, ends = self.offsets[rows], self.offsets[rows + 1]
        lengths = ends - starts
        steps = torch.arange(max(1, int(lengths.max())) if len(rows) else 1)
        mask = steps < lengths[:, None]  # [batch, length]
        places = (starts[:, None] + steps)[mask]  # [content tokens]
        batch = TokenBatch(None, mask, self.pooled[rows], self.tokens[places].float())
        if self.mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.mapping.madvise(mmap.MADV_DONTNEED)
        return batch


def teacher_vectors(
    teacher: TextTeacher, sentences: Sequence[str], cache: Path | None = None, progress: Progress | None = None
) -> TeacherVectors:
    """Encode the distinct sentences, or read them from the cache, which is keyed by teacher and sentences."""
    distinct = list(dict.fromkeys(sentences))
    file = (cache or cache_folder() / "teacher") / f"{_key(teacher, distinct)[:24]}.safetensors"
    if not file.is_file():
        refuse_unwritable(file)
        with atomic_path(file) as temporary, teacher.accelerated():
            _encode(teacher, distinct, progress, temporary)
    return _read(file, {text: row for row, text in enumerate(distinct)})


def _key(teacher: TextTeacher, distinct: list[str]) -> str:
    """Hash the teacher and the sentences, as JSON of both, whose text is never there as a whole."""
    digest = hashlib.sha256(json.dumps([2, teacher.fingerprint])[:-1].encode() + b", [")
    for start in range(0, len(distinct), _BLOCK):
        part = json.dumps(distinct[start : start + _BLOCK])[1:-1]
        digest.update((f", {part}" if start else part).encode())
    digest.update(b"]]")
    return digest.hexdigest()


def _encode(teacher: TextTeacher, sentences: list[str], progress: Progress | None, file: Path) -> None:
    """Encode sentences and write their vectors, a block of sentences at a time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lengths, sums = [0], torch.zeros(teacher.dim, dtype=torch.float64)
    mean = torch.zeros(teacher.dim)
    with tempfile.TemporaryFile(dir=file.parent) as tokens, tempfile.TemporaryFile(dir=file.parent) as pooled:
        for first in range(0, len(sentences), _BLOCK):
            block = sentences[first : first + _BLOCK]
            watch = functools.partial(_advance, progress, first, len(sentences))
            content, vectors = _encode_block(teacher, block, watch)
            lengths += [len(one) for one in content]
            joined = torch.cat(content)
            mean = joined.float().mean(0) if len(joined) else mean
            sums += mean.double() * len(joined)
            tokens.write(joined.numpy().data)
            pooled.write(vectors.numpy().data)
        total = sum(lengths)
        if len(sentences) > _BLOCK and total:
            mean = (sums / total).float()
        offsets = torch.tensor(lengths).cumsum(0)
        parts = {
            "offsets": _Part("I64", [len(lengths)], io.BytesIO(offsets.numpy().tobytes())),
            "mean": _Part("F32", [teacher.dim], io.BytesIO(mean.numpy().tobytes())),
            "pooled": _Part("F32", [len(sentences), teacher.dim], pooled),
            "tokens": _Part("F16", [total, teacher.dim], tokens),
        }
        _write(file, parts)


def _encode_block(
    teacher: TextTeacher, sentences: list[str], progress: Callable[[int], None]
) -> tuple[list[Tensor], Tensor]:
    """Return the content tokens of each sentence, float16, and the pooled vectors."""
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
        progress(start + len(rows))
    return tokens, pooled


def _advance(progress: Progress | None, before: int, total: int, done: int) -> None:
    if progress:
        progress(before + done, total)


class _Part(NamedTuple):
    """One tensor of a file: its type and shape, as safetensors writes them, and its bytes."""

    dtype: str
    shape: list[int]
    stream: BinaryIO

    @property
    def size(self) -> int:
        return math.prod(self.shape) * _DTYPES[self.dtype].itemsize


def _write(file: Path, parts: dict[str, _Part]) -> None:
    """Write a safetensors file; unlike ``save_file``, not from memory."""
    header: dict[str, object] = {"__metadata__": {"sha256": _digest(parts)}}
    place = 0
    for name, part in parts.items():
        header[name] = {"dtype": part.dtype, "shape": part.shape, "data_offsets": [place, place + part.size]}
        place += part.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as target:
        target.write(len(text).to_bytes(8, "little") + text)
        for part in parts.values():
            part.stream.seek(0)
            shutil.copyfileobj(part.stream, target, _CHUNK)


def _read(file: Path, sentences: dict[str, int]) -> TeacherVectors:
    remedy = "Delete this file and run again."
    names = ("tokens", "offsets", "pooled", "mean")
    try:
        with safe_open(file, framework="pt") as stored:
            expected = (stored.metadata() or {}).get("sha256")
            if set(stored.keys()) != set(names):
                raise ValueError(f"it holds {', '.join(stored.keys())}")
        with file.open("rb") as stream:
            begin = 8 + int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(begin - 8))
            parts = {name: _Part(header[name]["dtype"], header[name]["shape"], stream) for name in names}
            starts = {name: begin + header[name]["data_offsets"][0] for name in names}
            intact = _digest(parts, starts) == expected
            mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    except (SafetensorError, OSError, ValueError, LookupError) as problem:
        raise unreadable(file, problem, f"{file}: corrupted or unreadable. {remedy}") from problem
    if not intact:
        raise CorruptFileError(f"{file}: corrupted (its checksum differs from what was written). {remedy}")
    tensors = {name: _mapped(mapping, parts[name], starts[name]) for name in names}
    large = mapping if len(mapping) > _LARGE else None
    return TeacherVectors(sentences, **tensors, digest=expected or "", mapping=large)


def _mapped(mapping: mmap.mmap, part: _Part, start: int) -> Tensor:
    dtype, count = _DTYPES[part.dtype], math.prod(part.shape)
    if not count:
        return torch.zeros(part.shape, dtype=dtype)
    tensor = torch.frombuffer(mapping, dtype=dtype, count=count, offset=start)
    return tensor.view(part.shape)


def _digest(parts: dict[str, _Part], starts: dict[str, int] | None = None) -> str:
    """Hash tensors in the order of their names; each is at the begin of its stream, or where ``starts`` says."""
    digest = hashlib.sha256()
    for name in sorted(parts):
        part = parts[name]
        digest.update(f"{name} {_DTYPES[part.dtype]} {part.shape}".encode())
        part.stream.seek(starts[name] if starts else 0)
        for first in range(0, part.size, _CHUNK):
            digest.update(part.stream.read(min(_CHUNK, part.size - first)))
    return digest.hexdigest()
