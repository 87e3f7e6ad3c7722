"""What a server tells of itself, in Prometheus' format."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LATENCIES = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters and histograms of one server, in a registry of their own."""

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
            "kivuko_query_lookups", "Queries asked for, by whether their vector was at hand.", ("found",),
            registry=self.registry,
        )  # fmt: skip
        self.batches = Histogram(
            "kivuko_encode_batch_queries", "Queries encoded in one pass.", buckets=_SIZES, registry=self.registry
        )
        self.pictures = Gauge("kivuko_gallery_pictures", "Distinct pictures in the gallery.", registry=self.registry)
        self.generation = Gauge("kivuko_gallery_generation", "State of the gallery.", registry=self.registry)

    def looked_up(self, found: bool) -> None:
        """Count one query that was or was not at hand."""
        self.lookups.labels("yes" if found else "no").inc()

    def text(self) -> bytes:
        """Return everything in the text format."""
        return generate_latest(self.registry)


class Measured:
    """ASGI middleware that counts and times requests by the route's pattern, never by the path a client sent."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
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
