"""Which URLs may be visited, and at which addresses (protection against server-side request forgery).

1. `target` reads a URL once, with the parser whose result is also sent: http or https, no user name, a usual port, and
   a host that is a plain public name or an IP address in its usual form. Numbers such as 2130706433, 0x7f.1 or 0177.0.0.1, and
   names with a trailing dot or an escape are refused.
2. `addresses` resolves the host and refuses it when any of its addresses is not public.
3. The caller connects to an address of that list and never resolves again, so that the name cannot come to mean something else
   in between (DNS rebinding). A redirect starts at 1.
"""

from __future__ import annotations

import ipaddress
import queue
import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from prstack.tools.live.addresses import is_loopback, not_public
from prstack.tools.live.errors import WebError
from prstack.tools.live.exchange import Deadline

Resolver = Callable[[str, Deadline], Sequence[str]]
"""Host name → its IP addresses, as text. Raises WebError, or OSError for a name that does not resolve."""

PORTS = {"http": 80, "https": 443}
OTHER_PORTS = (8080, 8443)
MAX_URL, MAX_ADDRESSES = 2048, 8
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL = ("localhost", "local", "internal", "intranet", "lan", "home.arpa", "localdomain")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be asked for. `host`: ASCII name or IP address, without brackets."""

    url: httpx.URL
    host: str
    port: int
    is_address: bool


class Guard:
    """The rules. `loopback_ports`: ports of this machine that may be visited all the same; for tests alone, no setting leads here."""

    def __init__(self, resolver: Resolver | None = None, loopback_ports: frozenset[int] = frozenset()):
        self._resolve = resolver or system_resolver
        self._loopback_ports = loopback_ports

    def target(self, url: str) -> Target:
        """What a URL asks for. Raises WebError `refused`."""
        if len(url) > MAX_URL:
            raise _refused(f"it is longer than {MAX_URL} characters")
        if "\\" in url or any(c.isspace() or not c.isprintable() for c in url):
            raise _refused("it holds spaces, backslashes or control characters")
        try:
            parsed = httpx.URL(url)
            host, port = parsed.raw_host.decode("ascii").lower(), parsed.port
        except (httpx.InvalidURL, ValueError):
            raise _refused("it is malformed") from None
        if parsed.scheme not in PORTS:
            raise _refused("only http and https are visited")
        if "@" in re.split(r"[/?#]", url.partition("//")[2], maxsplit=1)[0]:
            raise _refused("it holds a user name")
        is_address = _check_host(host)
        port = PORTS[parsed.scheme] if port is None else port
        if port not in (*PORTS.values(), *OTHER_PORTS, *self._loopback_ports):
            raise _refused(f"port {port} is not visited")
        return Target(parsed.copy_with(fragment=None), host, port, is_address)

    def addresses(self, target: Target, deadline: Deadline) -> list[str]:
        """The addresses to connect to, all of them checked. Raises WebError `refused`, `unreachable` or `timeout`."""
        if target.is_address:
            found = [target.host]
        else:
            try:
                found = list(dict.fromkeys(self._resolve(target.host, deadline)))
            except (OSError, UnicodeError):
                found = []
        if not found:
            raise WebError("unreachable", f"there is no host {target.host}; open another result")
        for address in found:
            if reason := self._not_allowed(address, target.port):
                raise _refused(f"its host is not on the public internet ({reason})")
        return found[:MAX_ADDRESSES]

    def _not_allowed(self, address: str, port: int) -> str:
        if port in self._loopback_ports:
            return "" if is_loopback(address) else f"port {port} is not visited"
        return not_public(address)


def _check_host(host: str) -> bool:
    """Whether a host is an IP address. Raises WebError for one that is neither that nor a public name."""
    if not host:
        raise _refused("it has no host")
    try:
        ipaddress.ip_address(host)
        return True
    except ValueError:
        pass
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _refused("its host is not a plain name")
    if _NUMBER.fullmatch(labels[-1]):
        raise _refused("its host is an IP address in an unusual form")
    if len(labels) == 1 or any(host == name or host.endswith("." + name) for name in _LOCAL):
        raise _refused("its host is a name of a local network")
    return False


def _refused(reason: str) -> WebError:
    return WebError("refused", f"this address is not visited: {reason}; open another result")


def system_resolver(host: str, deadline: Deadline) -> list[str]:
    """The addresses that the operating system gives, within the deadline (its own call knows none). Raises WebError, OSError."""
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put([info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)])
        except (OSError, UnicodeError) as e:
            answers.put(e)

    threading.Thread(target=ask, daemon=True, name="prstack-resolve").start()
    try:
        answer = answers.get(timeout=deadline.left())
    except queue.Empty:
        raise deadline.passed() from None
    if isinstance(answer, Exception):
        raise answer
    return answer
