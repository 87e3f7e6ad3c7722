"""Who may ask, and what the answers tell a browser: key, host name, security headers, and no bare traceback."""

from __future__ import annotations

import hashlib
import hmac
import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kivuko.serve.failure import failure
from kivuko.serve.settings import Settings

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
# These say nothing of the gallery; a page must load before it can ask for the key.
_OPEN_TO_ALL = ("/", "/docs", "/health", "/favicon.ico")
_PAGE = "/page/"


class Guard:
    """ASGI middleware: the outermost but for the measuring."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._hosts = settings.allowed_hosts
        self._key = _digest(settings.api_key) if settings.api_key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
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


def _is_open(path: str) -> bool:
    return path in _OPEN_TO_ALL or path.startswith(_PAGE)


def _digest(key: str) -> bytes:
    # Of one length whatever is sent, so that comparing tells nothing of the key's.
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()
