"""Settings of a server, and the middleware that holds to them: access, limits, errors in one form."""

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kivuko.errors import KivukoError, UsageError

DEFAULT_PORT = 8117
MOST_RESULTS = 100
MOST_QUERIES = 64  # in one batch
LONGEST_QUERY = 500  # characters
LARGEST_HEAD = 32 * 1024  # bytes of a request's line and headers
LARGEST_JSON = 512 * 1024  # bytes: a full batch of the longest queries, escaped, fits well

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Settings:
    """Settings of one server."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    api_key: str | None = field(default=None, repr=False)
    max_upload: int = 20 * 2**20  # bytes of an uploaded image
    max_pixels: int = 50_000_000  # width times height of it
    decode_seconds: float = 10.0  # of an upload
    timeout: float = 30.0  # seconds of a request, its upload included
    max_requests: int = 128  # in progress; more are answered with 503
    remembered: int = 2048  # encoded queries that are cached, about 2 KB each
    refresh_seconds: float = 3.0  # between two looks for a new generation of the index

    @property
    def allowed_hosts(self) -> tuple[str, ...] | None:
        """Names, without port, that the Host header of a request may have; None: any.

        A server on loopback must not answer to a foreign name whose DNS points here (DNS rebinding).
        """
        return _LOOPBACK_NAMES if is_loopback(self.host) else None


def is_loopback(host: str) -> bool:
    """True if a host name or address can be reached only from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


_MESSAGES = {404: "there is nothing here; /docs lists what there is.", 405: "this address does not take that method."}


def failure(status: int, line: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an error response."""
    return JSONResponse({"error": " ".join(line.split())}, status, headers=dict(headers or {}))


def answer_failures(app: FastAPI, report: Callable[[KivukoError], None]) -> None:
    """Make an application answer every error in one form; ``report`` is called with those that a client cannot mend."""

    async def http(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, AnyHTTPException)
        default = not isinstance(problem, HTTPException)  # a message of the framework
        line = _MESSAGES.get(problem.status_code, problem.detail) if default else problem.detail
        return failure(problem.status_code, str(line), problem.headers)

    async def invalid(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, RequestValidationError)
        return failure(422, _first(problem.errors()))

    async def ours(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, KivukoError)
        if isinstance(problem, UsageError):
            return failure(422, str(problem))
        report(problem)  # its message names files of the server
        return failure(503, "the server cannot do this now; its log says why.")

    app.add_exception_handler(AnyHTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(KivukoError, ours)


def _first(errors: Sequence[Any]) -> str:
    if not errors:
        return "the request is not valid."
    place = ".".join(str(part) for part in errors[0].get("loc", ())[1:])
    message = str(errors[0].get("msg", "not valid")).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


_LOG = logging.getLogger("kivuko.serve")

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob: data:",
        "connect-src 'self'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'none'",
    )
)  # fmt: skip
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
# These reveal nothing of the index; a page must load before it can ask for the key.
_OPEN_TO_ALL = ("/", "/docs", "/health", "/favicon.ico")
_PAGE = "/page/"


class Middleware:
    """ASGI middleware for HTTP requests; other scopes pass by."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.http if scope["type"] == "http" else self.app)(scope, receive, send)

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError


class Guard(Middleware):
    """Checks host name and key, and adds security headers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(app)
        self._hosts = settings.allowed_hosts
        self._key = _digest(settings.api_key) if settings.api_key else None

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def protected(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = self._refusal(scope)
        try:
            await (answer or self.app)(scope, receive, protected)
        except Exception:
            _LOG.exception("a request failed")
            if started:
                raise
            await failure(500, "the server failed on this request; its log says why.")(scope, receive, protected)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        if self._hosts is not None and _without_port(headers.get("host", "")) not in self._hosts:
            return failure(421, "this server answers to localhost only; open it by the address that it printed.")
        if _head_size(scope) > LARGEST_HEAD:
            line = f"the line and the headers of the request are too long: at most {LARGEST_HEAD // 1024} KB."
            return failure(400, line, {"Connection": "close"})
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and _is_foreign(headers):
            return failure(403, "requests from the pages of other sites are refused.")
        if self._key is not None and not _is_open(scope["path"]) and not self._has_key(headers):
            return failure(
                401, "an API key is needed: send it as X-API-Key or as a Bearer token.",
                {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        return None

    def _has_key(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        given = headers.get("x-api-key") or (token.strip() if kind.lower() == "bearer" else "")
        return self._key is not None and hmac.compare_digest(_digest(given), self._key)


def _head_size(scope: Scope) -> int:
    line = len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"]) + len(" ? HTTP/1.1\r\n\r\n")
    return line + sum(len(name) + len(value) + len(": \r\n") for name, value in scope["headers"])


def _is_foreign(headers: Headers) -> bool:
    """True if a browser sends a request for the page of another site; other clients say nothing of it."""
    if site := headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()


def _is_open(path: str) -> bool:
    return path in _OPEN_TO_ALL or path.startswith(_PAGE)


def _digest(key: str) -> bytes:
    # A hash has the same length for any key, so the comparison reveals nothing about it.
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()


UPLOAD_PATH = "/api/search/image"
_MULTIPART_FRAME = 16 * 1024  # bytes around the image: boundaries and part headers
_MOST_DISCARDED, _DISCARD_S = 256 * 2**20, 10.0


class Gate(Middleware):
    """Refuses requests while too many are in progress, and ends each after ``settings.timeout``, its upload included.

    Those whose body still arrives do not count; when there are as many of them, the oldest gives way to a new one.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(app)
        self._most, self._seconds = settings.max_requests, settings.timeout
        self._now = 0
        self._arriving: dict[asyncio.Timeout, None] = {}

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in ("/health", "/metrics"):
            await self.app(scope, receive, send)
            return
        if self._now >= self._most:
            busy = failure(503, "the server is busy; try again in a moment.", {"Retry-After": "1"})
            await busy(scope, receive, send)
            return
        started, headers = False, Headers(scope=scope)
        arriving = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        async def noting_receive() -> Message:
            nonlocal arriving
            message = await receive()
            if arriving and not message.get("more_body"):
                arriving = False
                self._arriving.pop(limit, None)
                self._now += 1
            return message

        try:
            async with asyncio.timeout(self._seconds) as limit:
                if not arriving:
                    self._now += 1
                else:
                    if len(self._arriving) >= self._most:
                        oldest = next(iter(self._arriving))
                        del self._arriving[oldest]
                        if not oldest.expired():  # one that is being answered with 408 has no time to lose
                            oldest.reschedule(0)
                    self._arriving[limit] = None
                await self.app(scope, noting_receive, noting_send)
        except TimeoutError:
            if started or not limit.expired():
                raise
            line = f"not done within {self._seconds:g} seconds, or too slow while the server is busy."
            await failure(408 if arriving else 503, line, {"Connection": "close"})(scope, receive, send)
        finally:
            self._arriving.pop(limit, None)
            self._now -= not arriving


class BodyLimit(Middleware):
    """Counts a request's body as it arrives, and refuses it with 413 if it is too long.

    The rest is read and discarded for a while, for clients that send everything before they read the answer.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(app)
        self._upload = settings.max_upload

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        most = self._upload + _MULTIPART_FRAME if scope["path"] == UPLOAD_PATH else LARGEST_JSON
        line = self._message(scope["path"])
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > most:
            if "expect" not in headers:  # a client that waits for permission to send has sent nothing yet
                await _discard(receive)
            await failure(413, line, {"Connection": "close"})(scope, receive, send)
            return
        seen = 0

        async def counting() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                if message.get("more_body"):
                    await _discard(receive)
                raise HTTPException(413, line, {"Connection": "close"})
            return message

        await self.app(scope, counting, send)

    def _message(self, path: str) -> str:
        if path == UPLOAD_PATH:
            return f"the upload is too large: at most {self._upload / 2**20:g} MB. Send a smaller image."
        return f"the request is too large: at most {LARGEST_JSON // 1024} KB."


async def _discard(receive: Receive) -> None:
    thrown = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_S):
            while thrown < _MOST_DISCARDED:
                message = await receive()
                thrown += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
