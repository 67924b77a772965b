"""Getting a page: GET of http and https, within limits of time, size, redirects and type, where robots.txt allows it.

Every URL, redirects and robots.txt included, passes the guard; a host is resolved once a fetch, and what was checked is
what is connected to. One deadline covers all of it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import httpx

from prstack import __version__
from prstack.tools.live.errors import WebError
from prstack.tools.live.exchange import Deadline, Reply, open_reply
from prstack.tools.live.guard import Guard, Target
from prstack.tools.live.robots import MAX_BYTES as MAX_ROBOTS
from prstack.tools.live.robots import Robots

AGENT = "prstack"
"""The name that robots.txt rules are looked up for."""
HEADERS = {
    "User-Agent": f"{AGENT}/{__version__} (research agent; obeys robots.txt)",
    "Accept": "text/html,application/xhtml+xml,text/plain;q=0.9",
    "Accept-Encoding": "gzip",
    "Accept-Language": "en,*;q=0.5",
}
TYPES = ("text/html", "text/plain", "application/xhtml+xml")
MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page as it came. `url`: after redirects; `type`: one of TYPES; `content_type`: the header; `cut`: there was more."""

    url: str
    type: str
    content_type: str
    body: bytes
    cut: bool


class Fetcher:
    """Gets pages. `tls` replaces the usual certificate authorities, `robots` the rules kept in this object."""

    def __init__(
        self, guard: Guard | None = None, seconds: float = 15.0, max_bytes: int = 2_000_000, tls: ssl.SSLContext | None = None, robots: Robots | None = None
    ):
        self.guard = guard or Guard()
        self._seconds, self._max_bytes = seconds, max_bytes
        self._tls = tls or httpx.create_ssl_context(trust_env=False)
        self._robots = robots or Robots(AGENT)

    def fetch(self, url: str) -> Fetched:
        """The page at a URL. Raises WebError with any code but `search_failed`."""
        visit = _Visit(self.guard, Deadline(self._seconds), self._tls)

        def check(target: Target) -> None:
            if not self._robots.allows(str(target.url), _site(target), visit.robots):
                raise WebError("robots", f"{target.host} does not let robots read this page; open another result")

        def read(target: Target, reply: Reply) -> Fetched:
            if reply.status not in (200, 203):
                raise WebError("http_status", f"{target.host} answered with status {reply.status}; open another result")
            content_type = reply.headers.get("content-type", "")
            kind = content_type.split(";")[0].split(",")[0].strip().lower()
            if kind not in TYPES:
                raise WebError("wrong_type", f"this is no text page but {kind[:60] or 'of no stated type'}; open another result")
            body, cut = reply.read(self._max_bytes)
            return Fetched(str(target.url), kind, content_type, body, cut)

        return visit.follow(url, read, check)


class _Visit:
    """One fetch: its deadline, and the addresses that its hosts were found to have."""

    def __init__(self, guard: Guard, deadline: Deadline, tls: ssl.SSLContext):
        self._guard, self._deadline, self._tls = guard, deadline, tls
        self._addresses: dict[tuple[str, int], list[str]] = {}

    def follow(self, url: str, read: Callable[[Target, Reply], T], check: Callable[[Target], None] | None = None) -> T:
        """What `read` makes of the reply at the end of the redirects; `check` is asked before each request."""
        for _ in range(MAX_REDIRECTS + 1):
            target = self._guard.target(url)
            if check:
                check(target)
            with self._open(target) as reply:
                location = reply.headers.get("location") if reply.status in _REDIRECTS else None
                if location is None:
                    return read(target, reply)
            try:
                url = str(target.url.join(location))
            except (httpx.InvalidURL, ValueError):
                raise WebError("bad_reply", f"{target.host} redirects to no proper address; open another result") from None
        raise WebError("bad_reply", f"more than {MAX_REDIRECTS} redirects; open another result")

    def robots(self, address: str) -> tuple[int, bytes]:
        return self.follow(address, lambda _, reply: (reply.status, reply.read(MAX_ROBOTS)[0] if reply.status < 300 else b""))

    def _open(self, target: Target) -> AbstractContextManager[Reply]:
        key = target.host, target.port
        if key not in self._addresses:
            self._addresses[key] = self._guard.addresses(target, self._deadline)
        return open_reply(target.url, self._addresses[key], HEADERS, self._deadline, self._tls)


def _site(target: Target) -> str:
    return str(target.url.copy_with(raw_path=b"")).rstrip("/")
