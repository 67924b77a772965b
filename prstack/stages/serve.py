"""`prstack world serve [RUN]`: the tools over a run's world, for any agent that speaks MCP."""

from __future__ import annotations

import contextlib
import sys

from prstack.errors import UserError
from prstack.report.tables import shown_path
from prstack.settings import Config
from prstack.store.rundir import RunDir
from prstack.tools import own
from prstack.tools.live import LiveWeb
from prstack.tools.mcp_server import LOOPBACK, serve_http, serve_stdio
from prstack.tools.toolbox import Toolbox


def serve(config: Config, targets: list[str]) -> int:
    """Serves until the client, Ctrl-C or SIGTERM ends it; returns 0. What it has to say goes to standard error.

    A run is `targets[0]`, run_dir or the latest one; the folder of a world will do as well. Raises UserError for one without a
    world, for a wrong tool of `tools.extra`, for a missing package and for an address that cannot be bound.
    """
    place = RunDir.find(targets[0] if targets else None, config.run_dir, config.runs)
    if place is None:
        raise UserError(f"there is no run under {config.runs}/ yet; `prstack world` makes one to serve, or name a run: prstack world serve RUN")
    world = place if (place / "world.json").exists() else place / "world"
    with contextlib.redirect_stdout(sys.stderr):  # the user's own modules may print when they are imported
        toolbox = Toolbox(world, own=own.load(config.tools.extra), web=LiveWeb.from_config(config.web))
    names = ", ".join(s["function"]["name"] for s in toolbox.schemas)
    _say(f"serving {names} over {shown_path(world)} ({toolbox.world.kind}{', with the live web' if toolbox.web else ''})")
    if config.serve.transport == "stdio":
        _say(f"on standard input and output; a client starts `prstack world serve {place.resolve()}` itself, with the same settings")
        serve_stdio(toolbox)
    else:
        if config.serve.host not in LOOPBACK:
            _say(f"{config.serve.host} is open to others: whoever reaches it can call the tools, there is no password")
        serve_http(toolbox, config.serve.host, config.serve.port, lambda url: _say(f"at {url} (streamable HTTP); Ctrl-C ends"))
    return 0


def _say(text: str) -> None:
    print(f"prstack: {text}", file=sys.stderr, flush=True)
