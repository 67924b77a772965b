"""One HTTP GET, bounded in time and size, on addresses that the caller has chosen.

1. The connection goes to one of the given addresses, whatever the URL's host means elsewhere; Host header, TLS server name and
   certificate check are those of the URL's host.
2. Every wait on the network gets what is left of the one deadline, so that a server that sends a byte a second cannot stretch it.
3. `read` stops at `max_bytes`, before and after decompression, and never holds more than that and one chunk.

There are no proxies, cookies, credentials, redirects or retries here, and nothing comes from the environment.
"""

from __future__ import annotations

import ssl
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpcore
import httpx

from prstack.tools.live.errors import WebError

CONNECT_SECONDS = 5.0
"""Wait for one address, when there are others."""
_ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""Content encodings and their zlib window."""


class Deadline:
    """A moment after which nothing waits any longer."""

    def __init__(self, seconds: float):
        self.seconds, self._until = seconds, time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left. Raises WebError `timeout` when there are none."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def passed(self) -> WebError:
        return WebError("timeout", f"no complete reply within {self.seconds:g} seconds; open another result")


@dataclass(slots=True)
class Reply:
    """A reply whose body is still to come."""

    status: int
    headers: httpx.Headers
    chunks: Iterator[bytes]

    def read(self, max_bytes: int) -> tuple[bytes, bool]:
        """The decompressed body and whether it was cut. Raises WebError `bad_reply`."""
        out, raw, cut = bytearray(), 0, False
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "", *_ENCODINGS):
            raise WebError("bad_reply", "the server compressed the page in a way that was not asked for; open another result")
        inflate = zlib.decompressobj(_ENCODINGS[encoding]) if encoding in _ENCODINGS else None
        for chunk in self.chunks:
            raw += len(chunk)
            room = max_bytes - len(out) + 1
            try:
                out += inflate.decompress(chunk, room) if inflate else chunk[:room]
            except zlib.error:
                raise WebError("bad_reply", "the page is not compressed as it says; open another result") from None
            if cut := len(out) > max_bytes or raw > max_bytes:
                break
        return bytes(out[:max_bytes]), cut


@contextmanager
def open_reply(url: httpx.URL, addresses: Sequence[str], headers: Mapping[str, str], deadline: Deadline, tls: ssl.SSLContext) -> Iterator[Reply]:
    """Sends a GET and gives the reply; the connection ends with the block. Raises WebError."""
    origin = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    fields = [(b"Host", url.netloc), *((k.encode("ascii"), v.encode("ascii")) for k, v in headers.items())]
    problem = None
    try:
        pool = httpcore.ConnectionPool(ssl_context=tls, max_connections=1, network_backend=_Pinned(addresses, deadline))
        with pool, pool.stream("GET", origin, headers=fields) as r:
            yield Reply(r.status, httpx.Headers(r.headers), r.iter_stream())
    except httpcore.TimeoutException:
        problem = deadline.passed()
    except httpcore.NetworkError:
        problem = WebError("unreachable", f"{url.host} cannot be reached; open another result")
    except (httpcore.ProtocolError, httpcore.UnsupportedProtocol, UnicodeError):
        problem = WebError("bad_reply", f"{url.host} does not answer in proper HTTP; open another result")
    if problem:  # outside the handlers: what they caught may quote what was sent
        raise problem


class _Pinned(httpcore.NetworkBackend):
    """Connects to given addresses, in their order, instead of resolving the host."""

    def __init__(self, addresses: Sequence[str], deadline: Deadline):
        self._addresses, self._deadline, self._tcp = list(addresses), deadline, httpcore.SyncBackend()

    def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        *others, last = self._addresses
        for address in others:
            try:
                return _Timed(self._tcp.connect_tcp(address, port, min(CONNECT_SECONDS, self._deadline.left())), self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return _Timed(self._tcp.connect_tcp(last, port, self._deadline.left()), self._deadline)


class _Timed(httpcore.NetworkStream):
    """A connection on which every operation has what is left of the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline):
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes, timeout=None):
        return self._stream.read(max_bytes, self._deadline.left())

    def write(self, buffer, timeout=None):
        self._stream.write(buffer, self._deadline.left())

    def close(self):
        self._stream.close()

    def start_tls(self, ssl_context, server_hostname=None, timeout=None):
        try:
            return _Timed(self._stream.start_tls(ssl_context, server_hostname, self._deadline.left()), self._deadline)
        except httpcore.ConnectError as e:
            if isinstance(e.__cause__, ssl.SSLError):
                raise WebError("unreachable", f"{server_hostname} has no secure connection with a valid certificate; open another result") from None
            raise

    def get_extra_info(self, info):
        return self._stream.get_extra_info(info)
