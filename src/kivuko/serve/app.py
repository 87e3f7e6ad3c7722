"""The web application: routes, limits and access checks around a search service."""

import contextlib
import errno
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from starlette.requests import Request

import kivuko
from kivuko.errors import UsageError
from kivuko.progress import bars
from kivuko.search.searcher import Searcher
from kivuko.serve import schemas
from kivuko.serve.connections import BACKLOG, LogLimit, Server, server_config
from kivuko.serve.guard import BodyLimit, Gate, Guard, Settings, answer_failures
from kivuko.serve.routes import REFUSALS, image_routes, search_routes
from kivuko.serve.service import Measured, Metrics, SearchService

_KINDS = {
    "html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}  # fmt: skip
_AT = {"/": "index.html", "/docs": "docs.html", "/favicon.ico": "icon.svg"}


def page_routes() -> APIRouter:
    """Return a route for each file of the page; they are not part of the API."""
    routes = APIRouter(include_in_schema=False)
    folder = files("kivuko.serve") / "page"
    contents = {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in _KINDS}
    for path, name in (_AT | {f"/page/{name}": name for name in contents}).items():
        routes.add_api_route(path, _answers(contents[name], _KINDS[name.rpartition(".")[2]]), methods=["GET", "HEAD"])
    return routes


def _answers(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        # Always requested again, so that page and server have the same version.
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return answer


_DESCRIPTION = "Search images with words of any language that the model was trained on, or with an image."


def create_app(searcher: Any, settings: Settings | None = None) -> FastAPI:
    """Return the web application over an opened :class:`kivuko.search.Searcher`, which the caller closes."""
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
    app.include_router(image_routes(service))
    _add_state_routes(app, service)
    app.include_router(page_routes())
    answer_failures(app, service.note_damage)
    # The last one added is the first to see a request.
    app.add_middleware(BodyLimit, settings=settings)
    app.add_middleware(Gate, settings=settings)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Measured, metrics=metrics)
    return app


def _add_state_routes(app: FastAPI, service: SearchService) -> None:
    settings, languages = service.settings, service.guesser.codes

    @app.get(
        "/health", tags=["state"], summary="State of the server; needs no key",
        responses={503: {"model": schemas.Health, "description": "The index is damaged."}},
    )  # fmt: skip
    async def health(response: Response) -> schemas.Health:
        if service.damage:
            response.status_code = 503
        return schemas.Health(status="damaged" if service.damage else "ok", api_key=settings.api_key is not None)

    @app.get("/api/about", tags=["state"], summary="The index, the languages and the limits", responses=REFUSALS)
    async def about() -> schemas.About:
        store = service.searcher.index.store
        return schemas.About(
            images=len(store), generation=store.generation, captioned=await service.captioned(),
            languages=list(languages), max_upload=settings.max_upload, max_pixels=settings.max_pixels,
        )  # fmt: skip

    @app.get(
        "/metrics", tags=["state"], summary="Figures for Prometheus", response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Text format."}},
    )  # fmt: skip
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
    except (OSError, UnicodeError) as problem:
        number = getattr(problem, "errno", None)
        if number == errno.EADDRINUSE:
            raise UsageError(f"--port {port}: is taken by another program. Choose another, or 0 for any.") from problem
        if number in (errno.EACCES, errno.EPERM):
            raise UsageError(f"--port {port}: needs more rights than you have. Choose one above 1023.") from problem
        raise UsageError(f"--host {host}: is no address of this machine. Try 127.0.0.1.") from problem
    return listening


def address(listening: socket.socket) -> str:
    """Return the URL of a listening socket for a browser on this machine."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve_index(
    index: Path | str, settings: Settings, ready: Callable[[int, str], None], *, model: Path | None = None,
    kind: str = "auto", storage: str = "auto",
) -> None:  # fmt: skip
    """Load an index and serve it until interrupted; ``ready`` takes the number of images and the address."""
    with listen(settings.host, settings.port) as listening:  # before the model is loaded: a used port fails at once
        with bars() as progress:
            task = progress.add_task("loading", total=None, figures="")
            searcher = Searcher(index, model, kind=kind, storage=storage).load()
            progress.update(task, completed=1, total=1)
        with searcher:
            run(searcher, settings, listening, lambda: ready(len(searcher.index), address(listening)))


def run(searcher: Any, settings: Settings, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until interrupted; ``ready`` is called once requests are answered."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(LogLimit())
    with contextlib.suppress(KeyboardInterrupt):  # how a server is ended
        Server(server_config(create_app(searcher, settings)), ready).run(sockets=[listening])
