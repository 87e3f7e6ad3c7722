"""Routes about one picture: what is known of it, its thumbnail, and pictures like it."""

from __future__ import annotations

import hashlib
import time
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from kivuko.serve import schemas
from kivuko.serve.search_routes import REFUSALS, pictures
from kivuko.serve.service import SearchService
from kivuko.serve.settings import MOST_RESULTS

_Id = Annotated[int, Path(ge=0, le=schemas.LARGEST_ID, description="The gallery's number of the picture.")]
_NOT_FOUND: dict[int | str, dict[str, object]] = {404: {"model": schemas.Failure, "description": "No such picture."}}
_THUMBNAIL = "The picture, at most 256 pixels a side, or as large as it is if it has at most 384"
_BYTES = {"schema": {"type": "string", "format": "binary"}}


def picture_routes(service: SearchService) -> APIRouter:
    """Return the routes, answered by a service."""
    routes = APIRouter(prefix="/api/items", tags=["pictures"], responses=REFUSALS | _NOT_FOUND)

    @routes.get("/{id}", summary="What is known of a picture")
    async def item(id: _Id) -> schemas.Picture:
        return schemas.picture(await service.item(id))

    @routes.get("/{id}/like", summary="Pictures like this one")
    async def like(
        id: _Id, k: Annotated[int, Query(ge=1, le=MOST_RESULTS)] = 20
    ) -> schemas.PicturesAnswer:  # fmt: skip
        began = time.perf_counter()
        return pictures(service, await service.like(id, k), began)

    @routes.get(
        "/{id}/thumbnail", summary=_THUMBNAIL, response_class=Response,
        responses={
            200: {"content": {"image/jpeg": _BYTES, "image/webp": _BYTES}, "description": "The picture."},
            304: {"description": "As it was when it was asked for last."},
        },
    )  # fmt: skip
    async def thumbnail(id: _Id, request: Request) -> Response:
        content = await service.thumbnail(id)
        headers = {
            "Cache-Control": "private, max-age=300",
            "ETag": f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"',
        }
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        kind = "image/webp" if content[:4] == b"RIFF" else "image/jpeg"
        return Response(content, media_type=kind, headers=headers)

    return routes
