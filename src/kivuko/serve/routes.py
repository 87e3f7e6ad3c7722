"""Routes that search: by text, by several texts, by an image; and the alignment of a query."""

import hashlib
import time
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from kivuko.errors import UsageError
from kivuko.search.items import Hit
from kivuko.serve import schemas
from kivuko.serve.guard import LONGEST_QUERY, MOST_RESULTS
from kivuko.serve.service import Answered, SearchService
from kivuko.serve.uploads import read_upload

REFUSALS: dict[int | str, dict[str, object]] = {
    status: {"model": schemas.Failure, "description": description}
    for status, description in (
        (400, "The body cannot be read."),
        (401, "An API key is needed."),
        (408, "The upload took too long."),
        (413, "The body is too large."),
        (421, "Not a name that this server answers to."),
        (422, "The request is not valid, or its words are unknown; the line says which."),
        (503, "Busy, or not done in time: try again."),
    )
}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}

_K = Annotated[int, Query(ge=1, le=MOST_RESULTS, description="How many images, best first.")]
_Where = Annotated[list[schemas.Condition], Query(max_length=32, description="Conditions, such as width>=800.")]


def search_routes(service: SearchService) -> APIRouter:
    """Return the routes of searches and alignments."""
    routes = APIRouter(prefix="/api", tags=["search"], responses=REFUSALS)

    @routes.post("/search", summary="Search by a text in any language of the model")
    async def search(body: schemas.SearchRequest) -> schemas.SearchAnswer:
        began = time.perf_counter()
        depth = MOST_RESULTS if body.typos else body.k
        answered = await service.search(body.query, depth, body.where)
        typos = await _with_typos(service, answered, body) if body.typos else None
        return _answer(service, answered, body.k, began, typos)

    @routes.get("/search", summary="The same, with everything in the address")
    async def search_by_address(
        q: Annotated[str, Query(min_length=1, max_length=LONGEST_QUERY, description="The query.")],
        k: _K = 20,
        where: _Where = [],  # noqa: B006  (FastAPI copies it)
    ) -> schemas.SearchAnswer:
        began = time.perf_counter()
        return _answer(service, await service.search(q, k, where), k, began)

    @routes.post("/search/batch", summary="Search by several texts at once")
    async def search_batch(body: schemas.BatchRequest) -> schemas.BatchAnswer:
        began = time.perf_counter()
        results = await service.search_all(body.queries, body.k, body.where)
        answers = [_answer(service, answered, body.k, began) for answered in results]
        return schemas.BatchAnswer(answers=answers, took_ms=_since(began))

    @routes.post(
        "/search/image", summary="Search by an image", openapi_extra=_UPLOAD,
        responses={415: {"model": schemas.Failure, "description": "Not a raster image, or not a form."}},
    )  # fmt: skip
    async def search_image(
        request: Request,
        k: _K = 20,
        where: _Where = [],  # noqa: B006
    ) -> schemas.ImagesAnswer:
        began = time.perf_counter()
        content = await read_upload(request, service.settings.max_upload)
        return images(service, await service.search_image(content, k, where), began)

    @routes.post(
        "/align", summary="The token alignment of a query with an English text",
        responses={404: {"model": schemas.Failure, "description": "No such image."}},
    )  # fmt: skip
    async def align(body: schemas.AlignRequest) -> schemas.AlignAnswer:
        if body.id is not None and body.english is not None:
            raise UsageError("send either id or english, not both.")
        alignment, english, id = await service.align(body.query, body.english, body.id)
        return schemas.AlignAnswer(
            query=body.query,
            english=english,
            id=id,
            words=list(alignment.words),
            english_words=list(alignment.english_words),
            coupling=alignment.plan.tolist(),
            shares=[[None if one != one else one for one in row] for row in alignment.shares.tolist()],
            unknown_words=list(alignment.source.unknown),
            transport_cost=alignment.transport_cost,
            converged=alignment.converged,
        )

    return routes


def images(service: SearchService, hits: list[Hit], began: float) -> schemas.ImagesAnswer:
    store = service.searcher.index.store
    return schemas.ImagesAnswer(
        hits=schemas.search_hits(hits), generation=store.generation, images=len(store), took_ms=_since(began)
    )


def _answer(
    service: SearchService, answered: Answered, k: int, began: float, typos: schemas.TypoAnswer | None = None
) -> schemas.SearchAnswer:
    read, hits, closeness = answered
    store = service.searcher.index.store
    return schemas.SearchAnswer(
        **dict(schemas.understood(read)), hits=schemas.search_hits(hits[:k]),
        close=closeness.close if closeness else None, closeness=closeness.share if closeness else None, typos=typos,
        generation=store.generation, images=len(store), took_ms=_since(began),
    )  # fmt: skip


async def _with_typos(service: SearchService, answered: Answered, body: schemas.SearchRequest) -> schemas.TypoAnswer:
    assert body.typos is not None
    read, before, _ = answered
    perturbed = await service.misspelled(read, body.typos.edits, body.typos.seed)
    kinds = [edit.kind for edit in perturbed.edits]
    try:
        again, after, _ = await service.search(perturbed.text, MOST_RESULTS, body.where)
    except UsageError as problem:  # no part of the misspelled query is known, which typos can cause
        lost = schemas.moved([], before, body.k)[1]
        return schemas.TypoAnswer(
            query=perturbed.text, language=schemas.guessed_language(read.language), readings=[],
            unknown_words=perturbed.text.split(), edits=kinds, seed=body.typos.seed,
            hits=[], fell_out=lost, error=str(problem),
        )  # fmt: skip
    stayed, lost = schemas.moved(after, before, body.k)
    return schemas.TypoAnswer(
        **dict(schemas.understood(again)), edits=kinds, seed=body.typos.seed, hits=stayed, fell_out=lost, error=None
    )


def _since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 2)


_Id = Annotated[int, Path(ge=0, le=schemas.LARGEST_ID, description="The index's number of the image.")]
_NOT_FOUND: dict[int | str, dict[str, object]] = {404: {"model": schemas.Failure, "description": "No such image."}}
_THUMBNAIL = "The image, at most 256 pixels a side, or as large as it is if it has at most 384"
_BYTES = {"schema": {"type": "string", "format": "binary"}}


def image_routes(service: SearchService) -> APIRouter:
    """Return the routes of single images."""
    routes = APIRouter(prefix="/api/items", tags=["images"], responses=REFUSALS | _NOT_FOUND)

    @routes.get("/{id}", summary="Caption, size and metadata of an image")
    async def item(id: _Id) -> schemas.Image:
        return schemas.Image(**vars(await service.item(id)))

    @routes.get("/{id}/like", summary="Images like this one")
    async def like(
        id: _Id, k: Annotated[int, Query(ge=1, le=MOST_RESULTS)] = 20
    ) -> schemas.ImagesAnswer:  # fmt: skip
        began = time.perf_counter()
        return images(service, await service.like(id, k), began)

    @routes.get(
        "/{id}/thumbnail", summary=_THUMBNAIL, response_class=Response,
        responses={
            200: {"content": {"image/jpeg": _BYTES, "image/webp": _BYTES}, "description": "The image."},
            304: {"description": "Unchanged since the last request."},
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
