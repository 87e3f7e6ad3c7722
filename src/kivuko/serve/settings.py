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
    """Settings of one server.

    Attributes:
        host, port: where it listens.
        api_key: required in each request; None: no key.
        max_upload: bytes of a request that brings an image.
        max_pixels: width times height of such an image.
        timeout: seconds that a request may take, its upload included.
        max_requests: requests in progress; more are answered with 503.
        remembered: encoded queries that are cached, about 2 KB each.
        refresh_seconds: how often to look for a new state of the index.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    api_key: str | None = field(default=None, repr=False)
    max_upload: int = 20 * 2**20
    max_pixels: int = 50_000_000
    timeout: float = 30.0
    max_requests: int = 128
    remembered: int = 2048
    refresh_seconds: float = 3.0

    @property
    def allowed_hosts(self) -> tuple[str, ...] | None:
        """Names that a request's Host header may have, ports left out; None: any.

        A server on loopback must not answer to a foreign name that somebody's DNS points here (DNS rebinding). One
        that listens elsewhere has names that it cannot know.
        """
        return _LOOPBACK_NAMES if is_loopback(self.host) else None


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
