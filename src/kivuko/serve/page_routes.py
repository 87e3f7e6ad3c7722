"""The page's own files, read once when the server starts: a request names them, it never reaches the disk."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from fastapi import APIRouter, Response
from starlette.requests import Request

_KINDS = {
    "html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}  # fmt: skip
_AT = {"/": "index.html", "/docs": "docs.html", "/favicon.ico": "icon.svg"}


def page_routes() -> APIRouter:
    """Return one route for each file; none of them is part of the API."""
    routes = APIRouter(include_in_schema=False)
    folder = files("kivuko.serve") / "page"
    found = {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in _KINDS}
    for path, name in (_AT | {f"/page/{name}": name for name in found}).items():
        routes.add_api_route(path, _answers(found[name], _KINDS[name.rpartition(".")[2]]), methods=["GET", "HEAD"])
    return routes


def _answers(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        # Asked for anew each time, so that page and server are always of one version.
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return answer
