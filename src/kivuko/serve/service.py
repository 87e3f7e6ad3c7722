"""The work of the server without HTTP, its threads, and its metrics."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from fastapi import HTTPException
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kivuko.encoders.alignment import Alignment
from kivuko.errors import CorruptFileError, ImageIndexError, KivukoError
from kivuko.perturbations.edits import Perturbed, perturb
from kivuko.search.background import Closeness
from kivuko.search.filter import as_filter, clean_query
from kivuko.search.items import Hit, Item
from kivuko.serve.guard import Middleware, Settings
from kivuko.serve.queries import QueryBatches, ReadQuery, language_guesser, query_reader
from kivuko.serve.uploads import UploadDecoder

_LATENCIES = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters and histograms of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "kivuko_requests", "Requests answered.", ("route", "status"), registry=self.registry
        )  # fmt: skip
        self.latency = Histogram(
            "kivuko_request_seconds", "Time from a request's head to its whole answer.", ("route",),
            buckets=_LATENCIES, registry=self.registry,
        )  # fmt: skip
        self.in_progress = Gauge("kivuko_requests_in_progress", "Requests in progress.", registry=self.registry)
        self.lookups = Counter(
            "kivuko_query_lookups", "Queries, by whether their vector was cached.", ("cached",),
            registry=self.registry,
        )  # fmt: skip
        self.batches = Histogram(
            "kivuko_encode_batch_queries", "Queries encoded in one pass.", buckets=_SIZES, registry=self.registry
        )
        self.images = Gauge("kivuko_index_images", "Distinct images in the index.", registry=self.registry)
        self.generation = Gauge("kivuko_index_generation", "State of the index.", registry=self.registry)

    def looked_up(self, cached: bool) -> None:
        self.lookups.labels("yes" if cached else "no").inc()

    def text(self) -> bytes:
        """Return everything in the text format."""
        return generate_latest(self.registry)


class Measured(Middleware):
    """Counts and times requests by the pattern of the route, never by the path."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        super().__init__(app)
        self.metrics = metrics

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, began = 0, time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.metrics.in_progress.inc()
        try:
            await self.app(scope, receive, noting)
        finally:
            self.metrics.in_progress.dec()
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, str(status or "none")).inc()
            self.metrics.latency.labels(route).observe(time.perf_counter() - began)


_LOG = logging.getLogger("kivuko.serve")
_NO_IMAGE = "no image of that number is in the index."
Result = TypeVar("Result")
Answered = tuple[ReadQuery, list[Hit], Closeness | None]


class SearchService:
    """The work of requests over a ``kivuko.Searcher``, for one event loop, which it never blocks."""

    def __init__(self, searcher: Any, settings: Settings, metrics: Metrics) -> None:
        self.searcher, self.settings, self.metrics = searcher, settings, metrics
        self.guesser = language_guesser(searcher.model.encoder, searcher.folder)
        self._queries = QueryBatches(
            query_reader(searcher, self.guesser), remembered=settings.remembered,
            on_batch=metrics.batches.observe, on_lookup=metrics.looked_up,
        )  # fmt: skip
        self._searching = ThreadPoolExecutor(2, "kivuko-search")
        self._uploads = UploadDecoder(settings)
        self._decoding = ThreadPoolExecutor(2, "kivuko-image")
        self._aligning = ThreadPoolExecutor(1, "kivuko-align")
        self._watch: asyncio.Task[None] | None = None
        self._check: asyncio.Task[None] | None = None
        self.damage = ""  # of the index, in one line
        self._show_size()

    async def start(self) -> None:
        await self._queries.start()
        self._watch = asyncio.create_task(self._watch_index())
        self._check = asyncio.create_task(self._check_index())

    async def stop(self) -> None:
        for task in (self._watch, self._check):
            if task is not None:
                task.cancel()
        await self._queries.stop()
        for threads in (self._searching, self._decoding, self._aligning):
            threads.shutdown(wait=False, cancel_futures=True)
        self._uploads.close()

    async def search(self, text: str, k: int, where: Sequence[str] = ()) -> Answered:
        """Return an encoded query, the ``k`` images nearest to it, and its closeness."""
        return (await self.search_all([text], k, where))[0]

    async def search_all(self, texts: Sequence[str], k: int, where: Sequence[str] = ()) -> list[Answered]:
        passing = as_filter(where)
        reads = await self._queries.get_all([clean_query(text) for text in texts])
        vectors = np.stack([read.vector for read in reads])

        def look() -> list[Answered]:
            lists = self.searcher.index.search(vectors, k, passing)
            return [(read, hits, self.searcher.closeness(hits)) for read, hits in zip(reads, lists, strict=True)]

        return await self._run(self._searching, look)

    async def misspelled(self, read: ReadQuery, edits: int, seed: int) -> Perturbed:
        rng = np.random.default_rng(seed)
        return await self._run(self._searching, perturb, read.text, read.language.code, ("typo",), edits, rng)

    async def search_image(self, content: bytes, k: int, where: Sequence[str] = ()) -> list[Hit]:
        passing = as_filter(where)

        def look() -> list[Hit]:
            vector = self.searcher.encode_image(self._uploads.decode(content))
            hits: list[Hit] = self.searcher.index.search(vector[None], k, passing)[0]
            return hits

        return await self._run(self._decoding, look)

    async def like(self, id: int, k: int) -> list[Hit]:
        try:
            return await self._run(self._searching, self.searcher.index.like, id, k)
        except KeyError as problem:
            raise HTTPException(404, _NO_IMAGE) from problem

    async def item(self, id: int) -> Item:
        items: list[Item] = await self._run(self._searching, self.searcher.index.store.items, [id])
        if not items:
            raise HTTPException(404, _NO_IMAGE)
        return items[0]

    async def thumbnail(self, id: int) -> bytes:
        """Return the thumbnail of an image, JPEG or WebP."""
        content: bytes | None = await self._run(self._searching, self.searcher.index.store.thumbnail, id)
        if content is None:
            raise HTTPException(404, _NO_IMAGE)
        return content

    async def captioned(self) -> bool:
        return bool(await self._run(self._searching, self.searcher.index.store.captioned))

    async def align(self, query: str, english: str | None, id: int | None) -> tuple[Alignment, str, int | None]:
        """Return the plan between a query and an English text, that text, and the image whose caption it is."""
        if english is None:
            item = await self.item(id) if id is not None else await self._nearest_captioned(query)
            if item.caption is None:
                raise HTTPException(422, "this image has no caption to align the query with; send an English text.")
            english, id = item.caption, item.id
        return await self._run(self._aligning, self.searcher.alignment, query, english), english, id

    async def _nearest_captioned(self, query: str) -> Item:
        _, hits, _ = await self.search(query, 1, ["caption!="])
        if not hits:
            raise HTTPException(422, "no image of this index has a caption; send an English text.")
        return hits[0].item

    def note_damage(self, problem: KivukoError) -> None:
        """Log an error, once if it comes again, and remember it if it is damage of the index."""
        if isinstance(problem, CorruptFileError) and str(problem) == self.damage:
            return
        _LOG.error("%s", problem)
        if isinstance(problem, CorruptFileError):
            self.damage = str(problem)

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(threads, work, *arguments)

    async def _check_index(self) -> None:
        """Compare the files of vectors with their checksums, beside the searches."""
        store = self.searcher.index.store
        try:
            for problem in await self._run(self._aligning, store.verify, False):
                self.note_damage(CorruptFileError(f"{store.path}: damaged ({problem})."))
        except ImageIndexError:  # closed meanwhile
            return
        except KivukoError as problem:
            self.note_damage(problem)

    async def _watch_index(self) -> None:
        logged = ""
        while True:
            await asyncio.sleep(self.settings.refresh_seconds)
            try:
                if await self._run(self._aligning, self.searcher.index.refresh):
                    self._show_size()
                    self.damage = ""
                    self._check = asyncio.create_task(self._check_index())
                    _LOG.warning("the index has changed: %d images now", len(self.searcher.index.store))
                logged = ""
            except KivukoError as problem:  # the open generation is still served
                if str(problem) != logged:
                    _LOG.warning("%s", logged := str(problem))
            except Exception:
                _LOG.exception("looking for a new state of the index failed")

    def _show_size(self) -> None:
        store = self.searcher.index.store
        self.metrics.images.set(len(store))
        self.metrics.generation.set(store.generation)
