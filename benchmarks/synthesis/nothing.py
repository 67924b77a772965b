"""Orchestration alone: episodes over an engine and tools that do nothing but remember.

1. The expert plays some episodes; one of middling length that was approved is the one that counts.
2. Copies of it are played, under ids of their own, by the cast that `prstack synthesize` starts. The engine, a Ray actor as any other,
   knows every answer; so do the tools. What is left is what the loop costs: agents, prompts, the gate, scoring, Ray.
3. CPU time is that of all processes of this benchmark, Ray's own among them. Steps are the trajectory's: a plan, call, report or verdict.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from actors.engine import Completion, Request
from actors.expert import ExpertEngine
from actors.router import EnginePool
from actors.supervisor import Episode
from actors.synthesis import Cast, cast_actors, play_all
from benchmarks.common import cpu_between, cpu_times
from prstack.settings import Config
from prstack.stages.episodes import plan_episodes
from prstack.types import ToolCall, ToolResult, Trajectory
from prstack.world.world import World

TRIED = 12
"""Episodes of which one is chosen."""
REST = "engine, Ray"
"""Whoever used a processor and is neither the driver nor a team."""


class Remembering(ExpertEngine):
    """The expert, asked once for each answer. Only for episodes of one user: a request is known by its task and seed."""

    def __init__(self, mistakes: dict | None = None):
        super().__init__(mistakes)
        self.known: dict[tuple[str, int], Completion] = {}

    async def complete(self, request: Request) -> Completion:
        key = (request.task, request.seed)
        if key not in self.known:
            self.known[key] = await super().complete(request)
        return self.known[key]


class RememberingTools:
    """A toolbox that is asked once for each call."""

    waits = False

    def __init__(self, toolbox: Any):
        self.toolbox, self.schemas = toolbox, toolbox.schemas
        self.known: dict[tuple[str, str], ToolResult] = {}

    def call(self, call: ToolCall) -> ToolResult:
        key = (call.name, call.arguments)
        if key not in self.known:
            self.known[key] = self.toolbox.call(call)
        return replace(self.known[key], call_id=call.id)


def ask_of(team: Any, engines: Sequence[Any]) -> None:
    """Lets all roles ask these engines. Runs in the team's process."""
    team.user.pool = team.research.pool = team.supervisor.pool = EnginePool(engines)


def remember_tools(team: Any) -> None:
    """Runs in the team's process."""
    team.research.toolbox = RememberingTools(team.research.toolbox)


def pid(actor: Any) -> int:
    """Runs in an actor's process."""
    return os.getpid()


def redirect(cast: Cast, engines: Sequence[Any]) -> None:
    """Lets all teams of a cast ask these engines."""
    ray.get([team.__ray_call__.remote(ask_of, list(engines)) for team in cast.teams])


@dataclass(slots=True)
class Cost:
    """What copies of one episode took: seconds of the clock, and of the processors by who used them; `steps` and `calls` of engines of one copy."""

    copies: int
    steps: int
    calls: int
    seconds: float
    used: dict[str, float]

    @property
    def cpu_ms_per_step(self) -> float:
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, float]:
        """CPU-ms of a step, by who used them."""
        return {name: 1000 * seconds / (self.copies * self.steps) for name, seconds in self.used.items()}

    @property
    def steps_per_s(self) -> float:
        return self.copies * self.steps / self.seconds


@contextmanager
def shards(n: int, config: Config, world: Path) -> Iterator[list[Cast]]:
    """Casts side by side, each with a team and an engine of its own; tools and engines remember."""
    with ExitStack() as stack:
        casts = [stack.enter_context(cast_actors(config, world, {})) for _ in range(n)]
        for cast in casts:
            engine = ray.remote(Remembering).options(num_cpus=0, max_concurrency=4096).remote()
            stack.callback(ray.kill, engine)
            ray.get(engine.ready.remote())
            redirect(cast, [engine])
            ray.get([team.__ray_call__.remote(remember_tools) for team in cast.teams])
        yield casts


def choose(cast: Cast, config: Config, world: Path) -> tuple[Episode, Trajectory]:
    """An approved episode with a middling number of steps, and how it goes. Raises RuntimeError when the expert gets none approved."""
    config = replace(config, synthesis=replace(config.synthesis, episodes=TRIED))
    episodes = list(plan_episodes(World.open(world), config, "benchmark"))
    played = sorted((t for t in asyncio.run(_all([cast], [episodes], 1)) if t.termination == "approved"), key=lambda t: (len(t.steps), t.id))
    if not played:
        raise RuntimeError(f"none of {TRIED} episodes of the expert was approved")
    chosen = played[len(played) // 2]
    return next(e for e in episodes if e.id == chosen.id), chosen


def copies(episode: Episode, n: int, name: str) -> list[Episode]:
    """The episode under other ids."""
    return [replace(episode, id=f"{name}-{i}") for i in range(n)]


def measure(casts: Sequence[Cast], episode: Episode, expected: Trajectory, each: int, concurrency: int) -> Cost:
    """Plays `each` copies in every cast, after a tenth as many that do not count. Raises RuntimeError when a copy differs from the original."""
    asyncio.run(_all(casts, [copies(episode, max(concurrency, each // 10), f"warm{i}") for i in range(len(casts))], concurrency))
    owners = {os.getpid(): "driver"} | {ray.get(team.__ray_call__.remote(pid)): "team" for cast in casts for team in cast.teams}
    plans = [copies(episode, each, f"copy{i}") for i in range(len(casts))]
    start, before = time.perf_counter(), cpu_times()
    played = asyncio.run(_all(casts, plans, concurrency))
    seconds, after = time.perf_counter() - start, cpu_times()
    if wrong := next((t for t in played if (t.termination, t.reports) != (expected.termination, expected.reports)), None):
        raise RuntimeError(f"episode {wrong.id} is no copy: {wrong.termination} {wrong.detail}")
    used = {name: cpu_between(before, {p: s for p, s in after.items() if owners.get(p, REST) == name}) for name in {*owners.values(), REST}}
    return Cost(len(played), len(expected.steps), sum(u.calls for u in expected.usage), seconds, used)


async def _all(casts: Sequence[Cast], plans: Sequence[list[Episode]], concurrency: int) -> list[Trajectory]:
    async def of(cast: Cast, episodes: list[Episode]) -> list[Trajectory]:
        return [t async for t in play_all(cast, episodes, concurrency, 0)]

    return [t for ts in await asyncio.gather(*map(of, casts, plans)) for t in ts]
