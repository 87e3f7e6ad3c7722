"""The application: routes, limits and guard around one service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Response

import kivuko
from kivuko.serve import schemas
from kivuko.serve.failure import answer_failures
from kivuko.serve.guard import Guard
from kivuko.serve.limits import BodyLimit, Gate, TimeLimit
from kivuko.serve.metrics import Measured, Metrics
from kivuko.serve.page_routes import page_routes
from kivuko.serve.picture_routes import picture_routes
from kivuko.serve.search_routes import REFUSALS, search_routes
from kivuko.serve.service import SearchService
from kivuko.serve.settings import Settings

_DESCRIPTION = "Search pictures with words of any language that the model was trained on, or with a picture."


def create_app(searcher: Any, settings: Settings | None = None) -> FastAPI:
    """Return the web application over an opened :class:`kivuko.gallery.Searcher`, which stays the caller's to close."""
    settings = settings or Settings()
    metrics = Metrics()
    service = SearchService(searcher, settings, metrics)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="Kivuko", description=_DESCRIPTION, version=kivuko.__version__, lifespan=life, docs_url=None,
        redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    app.include_router(search_routes(service))
    app.include_router(picture_routes(service))
    _add_state_routes(app, service)
    app.include_router(page_routes())
    answer_failures(app)
    # The last one added is the first to see a request.
    app.add_middleware(BodyLimit, settings=settings)
    app.add_middleware(TimeLimit, settings=settings)
    app.add_middleware(Gate, settings=settings)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Measured, metrics=metrics)
    return app


def _add_state_routes(app: FastAPI, service: SearchService) -> None:
    settings, languages = service.settings, service.guesser.codes

    @app.get("/health", tags=["state"], summary="Whether the server is well; needs no key")
    async def health() -> schemas.Health:
        return schemas.Health(status="ok", api_key=settings.api_key is not None)

    @app.get("/api/about", tags=["state"], summary="What is served", responses=REFUSALS)
    async def about() -> schemas.About:
        store = service.searcher.gallery.store
        return schemas.About(
            pictures=len(store), generation=store.generation, captioned=await service.captioned(),
            languages=list(languages), max_upload=settings.max_upload, max_pixels=settings.max_pixels,
        )  # fmt: skip

    @app.get(
        "/metrics", tags=["state"], summary="Figures for Prometheus", response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Text format."}},
    )  # fmt: skip
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
