"""`prstack world serve [RUN]`: the tools over a run's world, for any agent that speaks MCP."""

from __future__ import annotations

import contextlib
import sys

from prstack.report.tables import shown_path
from prstack.settings import Config
from prstack.stages.browse import open_world
from prstack.tools import own
from prstack.tools.live import LiveWeb
from prstack.tools.mcp_server import LOOPBACK, serve_http, serve_stdio
from prstack.tools.toolbox import Toolbox


def serve(config: Config, targets: list[str]) -> int:
    """Serves until the client, Ctrl-C or SIGTERM ends it; returns 0. What it has to say goes to standard error.

    A run is `targets[0]`, run_dir or the latest one; the folder of a world will do as well. Raises UserError for one without a
    world, for a wrong tool of `tools.extra`, for a missing package and for an address that cannot be bound.
    """
    world = open_world(config, targets[0] if targets else None)
    with contextlib.redirect_stdout(sys.stderr):  # the user's own modules may print when they are imported
        toolbox = Toolbox(world, own=own.load(config.tools.extra), web=LiveWeb.from_config(config.web))
    names = ", ".join(s["function"]["name"] for s in toolbox.schemas)
    _say(f"serving {names} over {shown_path(world)} ({toolbox.world.kind}{', with the live web' if toolbox.web else ''})")
    if config.serve.transport == "stdio":
        _say(f"on standard input and output; a client starts `prstack world serve {world.resolve()}` itself, with the same settings")
        serve_stdio(toolbox)
    else:
        if config.serve.host not in LOOPBACK:
            _say(f"{config.serve.host} is open to others: whoever reaches it can call the tools, there is no password")
        serve_http(toolbox, config.serve.host, config.serve.port, lambda url: _say(f"at {url} (streamable HTTP); Ctrl-C ends"))
    return 0


def _say(text: str) -> None:
    print(f"prstack: {text}", file=sys.stderr, flush=True)
