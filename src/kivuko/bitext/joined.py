"""Several sources of one language, read one after the other as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from kivuko.bitext.raw_pair import RawPair
from kivuko.bitext.source import PairSource


class JoinedSource:
    """The shards of one bitext; see ``PairSource``. Numbers go on from shard to shard, places name the shard.

    Args:
        name: of the whole.
        shards: at least one, all in one language and format.
    """

    def __init__(self, name: str, shards: Sequence[PairSource]) -> None:
        self.name, self.language, self.format = name, shards[0].language, shards[0].format
        sizes = [shard.size for shard in shards]
        self.size: int | None = None if None in sizes else sum(size for size in sizes if size is not None)
        self._shards = shards
        self._before = [0]  # numbers given before each of the shards read so far

    def __iter__(self) -> Iterator[RawPair]:
        new = tuple.__new__
        self._before = [0]
        before = 0
        for shard in self._shards:
            number = 0
            for number, text, english, reason in shard:
                yield new(RawPair, (before + number, text, english, reason))
            before += number
            self._before.append(before)

    def place(self, number: int) -> str:
        # The last shard that begins before the number: shards without a line begin where the next one does.
        index = min(bisect_right(self._before, number - 1), len(self._shards)) - 1
        return self._shards[index].place(number - self._before[index])

    def bytes_read(self) -> int:
        return sum(shard.bytes_read() for shard in self._shards)
