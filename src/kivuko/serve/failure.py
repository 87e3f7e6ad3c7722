"""Answers that say what went wrong: ``{"error": "one line"}``, whatever went wrong where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.responses import JSONResponse, Response

from kivuko.errors import KivukoError, UsageError

_SAID = {404: "there is nothing here; /docs lists what there is.", 405: "this address does not take that method."}


def failure(status: int, line: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an error as an answer."""
    return JSONResponse({"error": " ".join(line.split())}, status, headers=dict(headers or {}))


def refuse(status: int, line: str) -> HTTPException:
    """Return what to raise in a route to end it with an error."""
    return HTTPException(status, line)


def answer_failures(app: FastAPI) -> None:
    """Let an application answer every refusal in one form."""

    async def http(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, AnyHTTPException)
        default = not isinstance(problem, HTTPException)  # the framework's own words
        line = _SAID.get(problem.status_code, problem.detail) if default else problem.detail
        return failure(problem.status_code, str(line), problem.headers)

    async def invalid(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, RequestValidationError)
        return failure(422, _first(problem.errors()))

    async def ours(_: Request, problem: Exception) -> Response:
        # What a query causes is the asker's to mend; a damaged gallery is not.
        return failure(422 if isinstance(problem, UsageError) else 503, str(problem))

    app.add_exception_handler(AnyHTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(KivukoError, ours)


def _first(errors: Sequence[Any]) -> str:
    if not errors:
        return "the request is not valid."
    place = ".".join(str(part) for part in errors[0].get("loc", ())[1:])
    said = str(errors[0].get("msg", "not valid")).removeprefix("Value error, ")
    return f"{place}: {said}" if place else said
