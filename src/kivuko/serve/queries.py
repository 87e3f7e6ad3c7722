"""Queries that arrive together are encoded together, and the latest are remembered."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kivuko.bitext.language_id import LanguageGuess, LanguageGuesser
from kivuko.encoders.model import read_about
from kivuko.encoders.spelling import WORDS_FILE as WORDS
from kivuko.encoders.spelling import WordCounts
from kivuko.errors import KivukoError, UsageError


def language_guesser(model: Any, folder: Path | str) -> LanguageGuesser:
    """Return a guesser for a loaded model's languages, with the word counts of its folder if it has any."""
    route = model[0].sub_modules["text"] if hasattr(model[0], "sub_modules") else model
    with contextlib.suppress(KivukoError):  # search does not need what a model says about itself
        if (words := WordCounts.load(Path(folder) / WORDS)) is not None:
            return LanguageGuesser(words.languages, words.words, words.counts)
    spelling = getattr(route[0], "spelling", None)  # of a model from before there was such a file
    if spelling is not None:
        return LanguageGuesser(spelling.languages, spelling.words, spelling.counts)
    with contextlib.suppress(KivukoError):
        about = read_about(folder)
        return LanguageGuesser(about.languages if about else ())
    return LanguageGuesser(())


@dataclass(frozen=True, eq=False)
class ReadQuery:
    """One query, read.

    Attributes:
        text: as cleaned.
        vector: unit vector, float32 [dim].
        readings: misspelled word -> what it was read as -> share, likeliest first.
        unknown: words of which no part is known.
    """

    text: str
    vector: NDArray[np.float32]
    language: LanguageGuess
    readings: Mapping[str, Mapping[str, float]]
    unknown: tuple[str, ...] = ()


Outcome = ReadQuery | KivukoError
Read = Callable[[Sequence[str]], list[Outcome]]


def query_reader(searcher: Any, guesser: LanguageGuesser) -> Read:
    """Return the function that reads many queries in one pass of the model, for a thread of its own.

    A query that cannot be read gives its error and takes no other with it.
    """

    def read(texts: Sequence[str]) -> list[Outcome]:
        try:
            vectors = searcher.encode(texts)
        except UsageError as problem:
            return [problem] if len(texts) == 1 else [read([text])[0] for text in texts]
        found: list[Outcome] = []
        for text, vector in zip(texts, vectors, strict=True):
            readings = searcher.readings(text)
            found.append(ReadQuery(text, vector, guesser.guess(text, readings), readings, searcher.unknown_words(text)))
        return found

    return read


_MOST, _WAIT_S = 64, 0.002


class QueryBatches:
    """Reads queries in micro-batches, one at a time, in one thread; for use from one event loop.

    A lone query is read at once. Where the batch before had company, the next waits two milliseconds for its own.

    Args:
        read: reads many queries in one pass; called in the thread.
        remembered: queries kept at hand, the least recently used forgotten first.
        on_batch: told the size of each batch.
        on_lookup: told of each query whether it was at hand.
    """

    def __init__(
        self,
        read: Read,
        *,
        remembered: int = 2048,
        on_batch: Callable[[int], None] = lambda size: None,
        on_lookup: Callable[[bool], None] = lambda found: None,
    ) -> None:
        self._read, self._remembered = read, remembered
        self._on_batch, self._on_lookup = on_batch, on_lookup
        self._known: OrderedDict[str, ReadQuery] = OrderedDict()
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kivuko-encode")
        self._worker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to read; call it in the event loop that will ask."""
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """End the worker; what waits is given up."""
        if self._worker is not None:
            self._worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._worker
        for future in self._waiting.values():
            future.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def get(self, text: str) -> ReadQuery:
        """Return a cleaned query, read.

        Raises:
            KivukoError: the model cannot read it.
        """
        if (known := self._known.get(text)) is not None:
            self._known.move_to_end(text)
            self._on_lookup(True)
            return known
        self._on_lookup(False)
        if (future := self._waiting.get(text)) is None:
            future = self._waiting[text] = asyncio.get_running_loop().create_future()
            self._queue.put_nowait(text)
        outcome = await asyncio.shield(future)  # others may wait for the same
        if isinstance(outcome, ReadQuery):
            return outcome
        raise outcome

    async def get_all(self, texts: Sequence[str]) -> list[ReadQuery]:
        """Return several cleaned queries, read; errors as of ``get``."""
        return await asyncio.gather(*(self.get(text) for text in texts))

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        together = False
        while True:
            batch = [await self._queue.get()]
            await asyncio.sleep(_WAIT_S if together else 0)
            while len(batch) < _MOST and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            together = len(batch) > 1
            self._on_batch(len(batch))
            try:
                outcomes = await loop.run_in_executor(self._thread, self._read, batch)
            except Exception as problem:  # a fault of the model's: whoever asked is told, the worker goes on
                for text in batch:
                    self._settle(text, problem)
                continue
            for text, outcome in zip(batch, outcomes, strict=True):
                self._settle(text, outcome)

    def _settle(self, text: str, outcome: Outcome | Exception) -> None:
        future = self._waiting.pop(text)
        if isinstance(outcome, ReadQuery):
            self._known[text] = outcome
            if len(self._known) > self._remembered:
                self._known.popitem(last=False)
        if isinstance(outcome, ReadQuery) or type(outcome).__module__ == "kivuko.errors":
            future.set_result(outcome)  # type: ignore[arg-type]
        else:
            future.set_exception(outcome)
            future.exception()  # whoever asked may have left
