"""The toolbox as a server of the Model Context Protocol (MCP), for any agent that speaks it.

1. `tools/list` gives the toolbox's own schemas, `tools/call` the very text that `Toolbox.call` gives; what is wrong with a call is a
   result with `isError`, worded for models. Arguments go to the toolbox as they come; nothing else checks them.
2. Calls run in threads, so that a slow one (the live web) holds up neither the others nor the end of the server.
3. Over standard input and output nothing but the protocol is written to standard output: what tools print goes to standard error.
   Input is waited for and not read ahead, so that a signal ends the server while nobody speaks.
4. Over HTTP every request stands alone (no sessions), and the SDK refuses foreign Host and Origin headers, so that a web page in a
   browser on this machine cannot reach the tools by rebinding a name.

Both ways end with the input, with SIGINT and with SIGTERM.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from prstack import __version__
from prstack.errors import UserError
from prstack.tools.toolbox import Toolbox
from prstack.types import ToolCall

if TYPE_CHECKING:
    import uvicorn
    from mcp.server.lowlevel import Server
    from mcp.server.transport_security import TransportSecuritySettings

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANY = ("0.0.0.0", "::", "")
PATH = "/mcp"
GRACE = 2
"""Seconds that HTTP answers under way get when the server ends."""
CHUNK = 1 << 16


def make_server(toolbox: Toolbox) -> Server:
    """An MCP server over a toolbox, on no transport yet. Raises UserError where the package `mcp` is missing or too old."""
    try:
        import anyio
        from mcp import types
        from mcp.server.lowlevel import Server
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager  # noqa: F401 - tells version 2 from 1
    except ImportError as e:
        raise UserError(f"serving tools over MCP needs the package mcp, version 2 ({e}): pip install 'mcp>=2.3,<3'") from e
    tools = [types.Tool(name=f["name"], description=f["description"], input_schema=f["parameters"]) for f in (s["function"] for s in toolbox.schemas)]

    async def list_tools(_: object, __: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools)

    async def call_tool(_: object, asked: types.CallToolRequestParams) -> types.CallToolResult:
        call = ToolCall("mcp", asked.name, json.dumps(asked.arguments or {}))
        result = await anyio.to_thread.run_sync(toolbox.call, call, abandon_on_cancel=True)
        return types.CallToolResult(content=[types.TextContent(type="text", text=result.text)], is_error=not result.ok)

    return Server("prstack", version=__version__, on_list_tools=list_tools, on_call_tool=call_tool)


def serve_stdio(toolbox: Toolbox) -> None:
    """Serves the toolbox over standard input and output until the input ends or SIGINT or SIGTERM comes."""
    server = make_server(toolbox)
    import anyio

    anyio.run(_stdio, server)


def serve_http(toolbox: Toolbox, host: str = "127.0.0.1", port: int = 8077, ready: Callable[[str], None] | None = None) -> None:
    """Serves the toolbox over streamable HTTP until SIGINT or SIGTERM comes.

    `ready` is told the address once connections are taken; port 0 takes any free one. Raises UserError for an address that
    cannot be bound.
    """
    server = make_server(toolbox)
    import anyio
    import uvicorn

    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as e:
        raise UserError(f"serve.host={host} serve.port={port}: cannot listen there ({getattr(e, 'strerror', None) or e}); give others") from e
    app = server.streamable_http_app(streamable_http_path=PATH, json_response=True, stateless_http=True, transport_security=_security(host))
    settings = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE)
    with listener:
        if ready:
            ready(f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}{PATH}")
        anyio.run(_http, uvicorn.Server(settings), listener)


def _security(host: str) -> TransportSecuritySettings:
    """Which Host and Origin headers are taken: loopback's and the bound address's. A server on every address cannot know its own
    names, so that there the protection is off."""
    from mcp.server.transport_security import TransportSecuritySettings

    names = [f"[{h}]" if ":" in h else h for h in dict.fromkeys((*LOOPBACK, host))]
    hosts = [f"{n}{port}" for n in names for port in ("", ":*")]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=host not in ANY,
        allowed_hosts=hosts,
        allowed_origins=[f"{scheme}://{h}" for h in hosts for scheme in ("http", "https")],
    )


async def _stdio(server: Server) -> None:
    import anyio
    from mcp.server.stdio import stdio_server

    wire = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # a tool, or a process that it starts, cannot read what the client says
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_on_signal, lambda _: group.cancel_scope.cancel())
            async with stdio_server(stdin=_lines(wire)) as (incoming, outgoing):
                with contextlib.redirect_stdout(sys.stderr):
                    await server.run(incoming, outgoing, server.create_initialization_options())
            group.cancel_scope.cancel()
    except* BrokenPipeError:
        pass  # the client went away
    finally:
        os.dup2(wire, 0)
        os.close(wire)
        os.close(null)


async def _http(server: uvicorn.Server, listener: socket.socket) -> None:
    import anyio

    server.capture_signals = contextlib.nullcontext  # ours end it without raising them again
    async with anyio.create_task_group() as group:
        group.start_soon(_on_signal, lambda number: server.handle_exit(number, None))
        await server.serve(sockets=[listener])
        group.cancel_scope.cancel()


async def _on_signal(act: Callable[[int], None]) -> None:
    """Acts on SIGINT and SIGTERM. Only the main thread hears signals."""
    import anyio

    if threading.current_thread() is threading.main_thread():
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                act(number)


async def _lines(descriptor: int) -> AsyncIterator[str]:
    """The lines that come from a descriptor; waiting for one can be cancelled, as reading in a thread cannot."""
    import anyio

    rest = b""
    while True:
        with contextlib.suppress(PermissionError):  # a file cannot be waited for, because it can be read at any time
            await anyio.wait_readable(descriptor)
        data = os.read(descriptor, CHUNK)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines if data else [rest] if rest else []:
            yield line.decode("utf-8", "replace")
        if not data:
            return
