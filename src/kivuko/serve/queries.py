"""Micro-batching of queries: queries that arrive together are encoded together, and the latest are cached."""

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
from kivuko.encoders.known_words import WORDS_FILE as WORDS
from kivuko.encoders.known_words import WordCounts
from kivuko.encoders.model import read_about
from kivuko.encoders.reading import reader_of
from kivuko.encoders.spelling import SpellingNeighbors
from kivuko.errors import KivukoError, UsageError
from kivuko.progress import note


def language_guesser(model: Any, folder: Path | str) -> LanguageGuesser:
    """Return a language guesser for a loaded model, with the word counts in its folder if it has any."""
    try:
        if (words := WordCounts.load(Path(folder) / WORDS)) is not None:
            return LanguageGuesser(words.languages, words.words, words.counts)
    except KivukoError as problem:  # search works without them
        note(f"warning: {problem} Until then the language of a query is guessed without them.")
    spelling = reader_of(model)
    if isinstance(spelling, SpellingNeighbors):  # of older models, without such a file
        return LanguageGuesser(spelling.languages, spelling.words, spelling.counts)
    with contextlib.suppress(KivukoError):
        about = read_about(folder)
        return LanguageGuesser(about.languages if about else ())
    return LanguageGuesser(())


@dataclass(frozen=True, eq=False)
class ReadQuery:
    """An encoded query."""

    text: str  # cleaned
    vector: NDArray[np.float32]  # unit vector [dim]
    language: LanguageGuess
    readings: Mapping[str, Mapping[str, float]]  # word that is read as others -> reading -> share, likeliest first
    unknown: tuple[str, ...] = ()  # out-of-vocabulary words


Result = ReadQuery | KivukoError
Read = Callable[[Sequence[str]], list[Result]]


def query_reader(searcher: Any, guesser: LanguageGuesser) -> Read:
    """Return a function that encodes many queries in one pass of the model, with an error for each invalid one."""

    def read(texts: Sequence[str]) -> list[Result]:
        try:
            vectors = searcher.encode(texts)
        except UsageError as problem:
            return [problem] if len(texts) == 1 else [read([text])[0] for text in texts]
        reader = reader_of(searcher.model.encoder)
        results: list[Result] = []
        for text, vector in zip(texts, vectors, strict=True):
            readings = searcher.readings(text)
            own = None if reader is not None and reader.in_english else readings  # English tells nothing of a language
            results.append(ReadQuery(text, vector, guesser.guess(text, own), readings, searcher.unknown_words(text)))
        return results

    return read


_MOST, _WAIT_S = 64, 0.002


class QueryBatches:
    """Encodes queries in micro-batches, one at a time, in one thread; for use from one event loop.

    A single query is encoded at once. After a batch of several, the next waits two milliseconds to fill.
    """

    def __init__(
        self,
        read: Read,
        *,
        remembered: int = 2048,  # size of the cache, least recently used
        on_batch: Callable[[int], None] = lambda size: None,
        on_lookup: Callable[[bool], None] = lambda cached: None,
    ) -> None:
        self._read, self._remembered = read, remembered
        self._on_batch, self._on_lookup = on_batch, on_lookup
        self._known: OrderedDict[str, ReadQuery] = OrderedDict()
        self._waiting: dict[str, asyncio.Future[Result]] = {}
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kivuko-encode")
        self._worker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Stop the worker; waiting queries are canceled."""
        if self._worker is not None:
            self._worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._worker
        for future in self._waiting.values():
            future.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def get(self, text: str) -> ReadQuery:
        """Encode a cleaned query."""
        if (known := self._known.get(text)) is not None:
            self._known.move_to_end(text)
            self._on_lookup(True)
            return known
        self._on_lookup(False)
        if (future := self._waiting.get(text)) is None:
            future = self._waiting[text] = asyncio.get_running_loop().create_future()
            self._queue.put_nowait(text)
        result = await asyncio.shield(future)  # others may wait for the same
        if isinstance(result, ReadQuery):
            return result
        raise result

    async def get_all(self, texts: Sequence[str]) -> list[ReadQuery]:
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
                results = await loop.run_in_executor(self._thread, self._read, batch)
            except Exception as problem:  # a fault of the model: the requests fail, the worker continues
                for text in batch:
                    self._settle(text, problem)
                continue
            for text, result in zip(batch, results, strict=True):
                self._settle(text, result)

    def _settle(self, text: str, result: Result | Exception) -> None:
        future = self._waiting.pop(text)
        if isinstance(result, ReadQuery):
            self._known[text] = result
            if len(self._known) > self._remembered:
                self._known.popitem(last=False)
        if isinstance(result, ReadQuery) or type(result).__module__ == "kivuko.errors":
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(result)
            future.exception()  # the client may be gone
