"""The engines of the supervision benchmarks: what is under test, and supervisors that are known for what they do.

`Roles` is a pool in which each role has an engine of its own, so that an episode is played without Ray; `Brief` shortens turns. `Approving` takes everything: an
episode before it is one without a supervisor, in the same form. `Silent` sends back what another engine sends back, and does not say why.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from actors.engine import Completion, Request
from actors.expert import ExpertEngine
from prstack.plugins import import_callable
from prstack.prompts.replies import read_json
from prstack.settings import Config, EngineConfig

NAMED = ("expert", "vllm", "openai")


class Roles:
    """A pool: the engine of the request's role answers, `default` for roles that have none."""

    def __init__(self, default: Any, **of: Any):
        self.default, self.of = default, of

    async def complete(self, request: Request) -> Completion:
        return await self.of.get(request.role, self.default).complete(request)


class Brief:
    """An engine whose turns are at most `tokens` long."""

    def __init__(self, engine: Any, tokens: int):
        self.engine, self.tokens = engine, tokens

    async def complete(self, request: Request) -> Completion:
        return await self.engine.complete(replace(request, max_tokens=min(request.max_tokens or self.tokens, self.tokens)))


class Approving:
    """A supervisor that approves everything."""

    async def complete(self, request: Request) -> Completion:
        text = json.dumps({"items": [], "reason": "", "score": 1.0, "decision": "approve"})
        return Completion(text, "stop", 0, 0, "approving", 0.0)


class Silent:
    """A supervisor that decides as `engine` does, without findings and reason."""

    def __init__(self, engine: Any):
        self.engine = engine

    async def complete(self, request: Request) -> Completion:
        done = await self.engine.complete(request)
        said = read_json(done.text) or {}
        return replace(done, text=json.dumps(said | {"items": [], "reason": ""}))


@asynccontextmanager
async def opened(name: str, settings: EngineConfig) -> AsyncIterator[Any]:
    """The engine that `--engine` names, ready, for the length of the block.

    `expert`; `vllm`: `settings.model` in this process; `openai`: `settings.model` at `settings.endpoint`; else the import path of a function that
    makes an engine. Raises prstack.errors.UserError for a model or path that is not there, and for a missing key; EngineError where it does not start.
    """
    engine = await _made(name, settings)
    ready, shutdown = (getattr(engine, method, None) for method in ("ready", "shutdown"))
    try:
        if inspect.iscoroutinefunction(ready):
            await ready()
        yield engine
    finally:
        if inspect.iscoroutinefunction(shutdown):
            await shutdown()


async def _made(name: str, settings: EngineConfig) -> Any:
    if name == "expert":
        return ExpertEngine()
    if name == "vllm":
        from prstack.stages.chat import serve_here

        return await serve_here(Config(engine=settings), settings.model)
    if name == "openai":
        from actors.openai_engine import OpenAIEngine

        return OpenAIEngine(settings)
    return import_callable(name, "--engine")()


def label(name: str, model: str) -> str:
    """How results call an engine: without the folders of a model that is one."""
    if name not in ("vllm", "openai"):
        return name.replace(":", "-")
    return f"{name}-{Path(model).name if Path(model).is_dir() else model.replace('/', '-')}"
