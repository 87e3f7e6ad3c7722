"""Settings of a server: address, API key, and limits."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

DEFAULT_PORT = 8117
MOST_RESULTS = 100
MOST_QUERIES = 64  # in one batch
LONGEST_QUERY = 500  # characters
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
