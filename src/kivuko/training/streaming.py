"""Bitext that is read while a student trains, a window of pairs at a time: memory does not grow with the files."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.bitext.reading import open_source, stream_pairs
from kivuko.encoders.teacher import TextTeacher
from kivuko.encoders.token_batch import TokenBatch
from kivuko.errors import DataError
from kivuko.training.loop import step_seed
from kivuko.training.teacher_vectors import TeacherVectors, teacher_vectors

_IN_A_ROW = 8  # pairs of one file
_WINDOWS = 1_000_000  # more than a pass ever has, so that each window of each pass has a number of its own


@dataclass(frozen=True)
class PairStream:
    """Files of (language code, name), read side by side in proportion to their sizes; ``window``: pairs in memory."""

    sources: tuple[tuple[str, str], ...]
    window: int

    def windows(self) -> Iterator[Bitext]:
        """Read all files once; yield windows, each pair once in a window, every one full but the last."""
        pairs: dict[tuple[str, str, str], Pair] = {}
        for pair in self._pairs():
            pairs.setdefault((pair.language, pair.text, pair.english), pair)
            if len(pairs) == self.window:
                yield Bitext(tuple(pairs.values()))
                pairs = {}
        if pairs:
            yield Bitext(tuple(pairs.values()))

    def described(self) -> list[object]:
        """Return what decides the pairs, as far as it is known without reading them: names, sizes and times."""
        files = [Path(name).stat() if Path(name).is_file() else None for _, name in self.sources]
        return [self.sources, self.window, [file and (file.st_size, file.st_mtime_ns) for file in files]]

    def _pairs(self) -> Iterator[Pair]:
        opened = [open_source(name, code) for code, name in self.sources]
        flows = {place: stream_pairs(one) for place, one in enumerate(opened)}
        given = Counter(dict.fromkeys(flows, 0))
        while flows:
            # The one of which the smallest share has been read; of those of unknown size, the fewest pairs.
            place = min(flows, key=lambda one: (opened[one].bytes_read() / (opened[one].size or 1e18), given[one]))
            for pair in itertools.islice(flows[place], _IN_A_ROW):
                given[place] += 1
                yield pair
                if given[place] % _IN_A_ROW == 0:
                    break
            else:
                del flows[place]


class StreamedBatches:
    """The batches of a training on a stream: windows in the order of the files, shuffled within each.

    The teacher encodes a window when its turn comes; vectors are cached by window, for later passes and runs.
    """

    def __init__(
        self, stream: PairStream, held_out: Bitext, teacher: TextTeacher, first: TeacherVectors, size: int, seed: int
    ) -> None:
        """``first``: vectors of the first window; ``size``: pairs in a batch, fewer in the last one of a window."""
        self.stream, self.teacher, self.first, self.size, self.seed = stream, teacher, first, size, seed
        self.held_out = {pair.english.casefold() for pair in held_out}
        self.sizes: Counter[str] = Counter()  # pairs of each language in the windows reached
        self._flow: Iterator[tuple[list[Pair], TokenBatch]] | None = None

    def batch(self, number: int) -> tuple[list[Pair], TokenBatch]:
        """Return the pairs and the teacher's batch ``number``, from 1 on; each call asks for the next one."""
        if self._flow is None:
            self._flow = self._from(number - 1)
        return next(self._flow)

    def _from(self, start: int) -> Iterator[tuple[list[Pair], TokenBatch]]:
        """Yield batches behind the first ``start``, which are read but not encoded."""
        number = 0
        for epoch in itertools.count():
            before = number
            for place, window in enumerate(self.stream.windows()):
                pairs = [pair for pair in window if pair.english.casefold() not in self.held_out]
                if not epoch:
                    self.sizes.update(pair.language for pair in pairs)
                count = -(-len(pairs) // self.size)
                if number + count <= start:
                    number += count
                    continue
                vectors = self._vectors(place, pairs)
                rows = torch.tensor([vectors.sentences[pair.english] for pair in pairs])
                generator = torch.Generator().manual_seed(step_seed(self.seed, -1 - epoch * _WINDOWS - place))
                for chosen in torch.randperm(len(pairs), generator=generator).split(self.size):
                    number += 1
                    if number > start:
                        yield [pairs[row] for row in chosen.tolist()], vectors.batch(rows[chosen])
            if number == before:
                raise DataError(f"{self.stream.sources[0][1]}: no pairs to train on: give more bitext.")

    def _vectors(self, place: int, pairs: Sequence[Pair]) -> TeacherVectors:
        if place == 0:
            return self.first
        return teacher_vectors(self.teacher, [pair.english for pair in pairs])
