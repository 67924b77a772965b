"""A real web server on 127.0.0.1 for tests of the live web; the internet that they see."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prstack.tools.live.fetch import Fetcher
from prstack.tools.live.guard import Guard

LOCAL = "127.0.0.1"
Answer = tuple[int, dict[str, str], bytes] | Callable[[BaseHTTPRequestHandler], None]


class Site:
    """Paths and their answers: (status, headers, body), or a function of the request's handler. `asked` holds (Host, path)."""

    def __init__(self, address: str = LOCAL, port: int = 0, tls: ssl.SSLContext | None = None):
        self.pages: dict[str, Answer] = {}
        self.asked: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                site.asked.append((self.headers["Host"], self.path))
                site.headers.append({k.lower(): v for k, v in self.headers.items()})
                answer = site.pages.get(self.path) or site.pages.get(self.path.partition("?")[0]) or (404, {}, b"")
                if callable(answer):
                    answer(self)
                    return
                status, headers, body = answer
                self.send_response(status)
                for name, value in ({"Content-Type": "text/html"} | headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def handle(self):
                with contextlib.suppress(OSError, ValueError):  # the client went away, as it may
                    super().handle()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer((address, port), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def page(self, path: str, body: str | bytes, status: int = 200, **headers: str) -> None:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        self.pages[path] = (status, named, body.encode() if isinstance(body, str) else body)

    def redirect(self, path: str, to: str, status: int = 302) -> None:
        self.pages[path] = (status, {"Location": to}, b"")

    def url(self, path: str = "/", host: str = "shop.example", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def fetcher(self, resolver=None, **options) -> Fetcher:
        """A fetcher for which every name means this machine, and this site's port may be visited."""
        return Fetcher(Guard(resolver or (lambda host, deadline: [LOCAL]), frozenset({self.port})), **options)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def free_port() -> int:
    with socket.create_server((LOCAL, 0)) as s:
        return s.getsockname()[1]
