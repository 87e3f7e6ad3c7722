"""How much a request may bring, how long it may take, and how many may be in progress."""

from __future__ import annotations

import asyncio
import contextlib

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kivuko.serve.failure import failure
from kivuko.serve.settings import LARGEST_JSON, Settings

UPLOAD_PATH = "/api/search/image"
_MULTIPART_FRAME = 16 * 1024  # bytes around the picture: boundaries and part headers
_MOST_DISCARDED, _DISCARD_S = 256 * 2**20, 10.0


class Gate:
    """ASGI middleware that turns requests away, with 503 and Retry-After, while too many are in progress."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self._most, self._now = app, settings.max_requests, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["path"] in ("/health", "/metrics"):
            await self.app(scope, receive, send)
            return
        if self._now >= self._most:
            busy = failure(503, "the server is busy; try again in a moment.", {"Retry-After": "1"})
            await busy(scope, receive, send)
            return
        self._now += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._now -= 1


class TimeLimit:
    """ASGI middleware that ends a request after ``settings.timeout`` seconds, its upload included."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self._seconds = app, settings.timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, uploading = False, True

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        async def noting_receive() -> Message:
            nonlocal uploading
            message = await receive()
            uploading = bool(message.get("more_body"))
            return message

        try:
            async with asyncio.timeout(self._seconds) as limit:
                await self.app(scope, noting_receive, noting_send)
        except TimeoutError:
            if started or not limit.expired():
                raise
            status = 408 if uploading and scope["method"] == "POST" else 503
            late = failure(status, f"not done within {self._seconds:g} seconds.", {"Connection": "close"})
            await late(scope, receive, send)


class BodyLimit:
    """ASGI middleware that counts a request's body as it comes, and refuses it with 413 once it is too long.

    What comes beyond the limit is read and thrown away for a while, so that a client that sends all before it reads
    gets to see the answer.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self._upload = app, settings.max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        most = self._upload + _MULTIPART_FRAME if scope["path"] == UPLOAD_PATH else LARGEST_JSON
        told = self._told(scope["path"])
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > most:
            if "expect" not in headers:  # who asks first whether to send has sent nothing yet
                await _discard(receive)
            await failure(413, told, {"Connection": "close"})(scope, receive, send)
            return
        seen = 0

        async def counting() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                if message.get("more_body"):
                    await _discard(receive)
                raise HTTPException(413, told, {"Connection": "close"})
            return message

        await self.app(scope, counting, send)

    def _told(self, path: str) -> str:
        if path == UPLOAD_PATH:
            return f"the upload is too large: at most {self._upload / 2**20:g} MB. Send a smaller picture."
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
