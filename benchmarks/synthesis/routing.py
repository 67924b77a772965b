"""What sticky routing is worth to the prefix cache: the hit rate over two engines, with it and without.

The base that comes with prstack does the research, the expert plays the other roles. Both arms play the same episodes in one cast, each with empty
prefix caches; without stickiness a request goes to an engine drawn by lot. Hits are those that vLLM reports for each request.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import ray

from actors.router import EnginePool
from actors.synthesis import cast_actors, play_all
from benchmarks.synthesis import journal
from prstack.settings import Config
from prstack.stages.episodes import plan_episodes
from prstack.world.world import World


class Lottery(EnginePool):
    """A pool without stickiness: every request goes to an engine drawn by lot."""

    async def _pick(self, episode: str) -> int:
        await super()._pick(episode)
        return random.choice([i for i, h in enumerate(self.health) if h.state == "healthy"])


def draw_lots(team: Any) -> None:
    """Runs in a team's process."""
    team.research.pool = Lottery(team.research.pool.engines)


def forget(engine: Any) -> None:
    """Begins a new journal and empties the prefix cache. Runs in the engine's process, in a thread beside its event loop."""
    journal.attach(engine)
    if asyncio.run_coroutine_threadsafe(engine._llm.reset_prefix_cache(), engine._llm.output_handler.get_loop()).result(30) is False:
        raise RuntimeError("the engine did not empty its prefix cache")


def hit_rates(config: Config, world: Path, model: Path) -> tuple[float, float]:
    """Hit rate of the research agent's prompts with sticky and with random routing, for `synthesis.episodes` episodes."""
    episodes = list(plan_episodes(World.open(world), config, "benchmark"))
    with cast_actors(config, world, {"vllm": str(model)}) as cast:
        engines = cast.engines["vllm"]

        async def play() -> float:
            await asyncio.gather(*(e.__ray_call__.remote(forget) for e in engines))
            async for _ in play_all(cast, episodes, config.synthesis.concurrency, 0):
                pass
            return journal.hit_rate([c for e in engines for c in await e.__ray_call__.remote(journal.read)])

        sticky = asyncio.run(play())
        ray.get([team.__ray_call__.remote(draw_lots) for team in cast.teams])
        return sticky, asyncio.run(play())
