"""Everything that the server can be asked, without HTTP: what it does, in which thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from kivuko.edits import Perturbed, perturb
from kivuko.encoders.alignment import Alignment
from kivuko.errors import KivukoError, UsageError
from kivuko.gallery.filter import Filter, parse_filter
from kivuko.gallery.hit import Hit
from kivuko.gallery.item import Item
from kivuko.gallery.query_text import clean_query
from kivuko.serve.failure import refuse
from kivuko.serve.language_guess import LanguageGuesser
from kivuko.serve.metrics import Metrics
from kivuko.serve.query_batches import QueryBatches
from kivuko.serve.query_reading import ReadQuery, query_reader
from kivuko.serve.settings import MOST_RESULTS, Settings
from kivuko.serve.uploads import decode_upload

_LOG = logging.getLogger("kivuko.serve")
_NO_PICTURE = "no picture of that number is in the gallery."
Result = TypeVar("Result")


class SearchService:
    """Searches on behalf of requests, from one event loop, which it never holds up.

    Args:
        searcher: see :class:`kivuko.gallery.Searcher`.
    """

    def __init__(self, searcher: Any, settings: Settings, metrics: Metrics) -> None:
        self.searcher, self.settings, self.metrics = searcher, settings, metrics
        self.guesser = LanguageGuesser.of(searcher.model, searcher.folder)
        self._queries = QueryBatches(
            query_reader(searcher, self.guesser), remembered=settings.remembered,
            on_batch=metrics.batches.observe, on_lookup=metrics.looked_up,
        )  # fmt: skip
        self._searching = ThreadPoolExecutor(2, "kivuko-search")
        self._decoding = ThreadPoolExecutor(2, "kivuko-picture")  # each may hold a picture of max_pixels
        self._aligning = ThreadPoolExecutor(1, "kivuko-align")
        self._watch: asyncio.Task[None] | None = None
        self._show_size()

    async def start(self) -> None:
        """Begin to work in the running event loop."""
        await self._queries.start()
        self._watch = asyncio.create_task(self._watch_gallery())

    async def stop(self) -> None:
        """End what runs beside requests."""
        if self._watch is not None:
            self._watch.cancel()
        await self._queries.stop()
        for threads in (self._searching, self._decoding, self._aligning):
            threads.shutdown(wait=False, cancel_futures=True)

    async def search(self, text: str, k: int, where: Sequence[str] = ()) -> tuple[ReadQuery, list[Hit]]:
        """Return a query as it was read, and the ``k`` pictures nearest to it.

        Raises:
            UsageError: it is empty or unknown, or a condition is none.
        """
        return (await self.search_all([text], k, where))[0]

    async def search_all(
        self, texts: Sequence[str], k: int, where: Sequence[str] = ()
    ) -> list[tuple[ReadQuery, list[Hit]]]:
        """Do the same for several queries at once."""
        passing = _filter(where)
        reads = await self._queries.get_all([clean_query(text) for text in texts])
        vectors = np.stack([read.vector for read in reads])
        hits = await self._run(self._searching, self.searcher.gallery.search, vectors, k, passing)
        return list(zip(reads, hits, strict=True))

    async def misspelt(self, read: ReadQuery, edits: int, seed: int) -> Perturbed:
        """Return a query with random typos; a seed makes the same ones each time."""
        rng = np.random.default_rng(seed)
        return await self._run(self._searching, perturb, read.text, read.language.code, ("typo",), edits, rng)

    async def search_picture(self, content: bytes, k: int, where: Sequence[str] = ()) -> list[Hit]:
        """Return the pictures nearest to an uploaded one; its errors are those of ``decode_upload``."""
        passing = _filter(where)

        def look() -> list[Hit]:
            image = decode_upload(content, self.settings.max_pixels)
            vector = self.searcher.encode_picture(image)
            hits: list[Hit] = self.searcher.gallery.search(vector[None], k, passing)[0]
            return hits

        return await self._run(self._decoding, look)

    async def like(self, id: int, k: int) -> list[Hit]:
        """Return the pictures nearest to one of the gallery's. Raises HTTPException 404 without it."""
        try:
            return await self._run(self._searching, self.searcher.gallery.like, id, k)
        except KeyError as problem:
            raise refuse(404, _NO_PICTURE) from problem

    async def item(self, id: int) -> Item:
        """Return a picture's description. Raises HTTPException 404 without it."""
        items: list[Item] = await self._run(self._searching, self.searcher.gallery.store.items, [id])
        if not items:
            raise refuse(404, _NO_PICTURE)
        return items[0]

    async def thumbnail(self, id: int) -> bytes:
        """Return a picture's thumbnail, JPEG or WebP. Raises HTTPException 404 without it."""
        found: bytes | None = await self._run(self._searching, self.searcher.gallery.store.thumbnail, id)
        if found is None:
            raise refuse(404, _NO_PICTURE)
        return found

    async def captioned(self) -> bool:
        """Tell whether any picture has a caption."""
        return bool(await self._run(self._searching, self.searcher.gallery.store.captioned))

    async def align(self, query: str, english: str | None, id: int | None) -> tuple[Alignment, str, int | None]:
        """Return the plan between a query and an English text, that text, and the picture whose caption it is."""
        if english is None:
            item = await self.item(id) if id is not None else await self._nearest_captioned(query)
            if item.caption is None:
                raise refuse(422, "this picture has no caption to align the query with; send an English text.")
            english, id = item.caption, item.id
        return await self._run(self._aligning, self.searcher.alignment, query, english), english, id

    async def _nearest_captioned(self, query: str) -> Item:
        _, hits = await self.search(query, 1, ["caption!="])
        if not hits:
            raise refuse(422, "no picture of this gallery has a caption; send an English text.")
        return hits[0].item

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(threads, work, *arguments)

    async def _watch_gallery(self) -> None:
        said = ""
        while True:
            await asyncio.sleep(self.settings.refresh_seconds)
            try:
                if await self._run(self._aligning, self.searcher.gallery.refresh):
                    self._show_size()
                    _LOG.warning("the gallery has changed: %d pictures now", len(self.searcher.gallery.store))
                said = ""
            except KivukoError as problem:  # what is open goes on being served
                if str(problem) != said:
                    _LOG.warning("%s", said := str(problem))
            except Exception:
                _LOG.exception("looking for a new state of the gallery failed")

    def _show_size(self) -> None:
        store = self.searcher.gallery.store
        self.metrics.pictures.set(len(store))
        self.metrics.generation.set(store.generation)


def deepest(k: int) -> int:
    """Return how deep to search where ranks are to be compared."""
    return max(k, MOST_RESULTS)


def _filter(where: Sequence[str]) -> Filter | None:
    try:
        return parse_filter(where) if where else None
    except UsageError as problem:
        raise UsageError(str(problem).replace("--where", "where:", 1)) from problem
