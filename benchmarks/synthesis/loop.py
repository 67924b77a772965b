"""The whole loop, as `prstack synthesize` plays it, with a model in all roles: what it generates in a second.

1. `synthesis.concurrency` episodes are kept in flight, in `STREAMS` streams of the driver's that begin one after another over `warm` seconds: were all
   to begin at once, all would ask for a persona at once, and it would take minutes until their turns are mixed.
2. The stretch that counts begins then and takes `seconds`, on a slow machine until `ENOUGH` calls have come in it; then the loop is cut off.
3. Every call lies in the engine's journal; `replay` gives them to an engine alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from time import monotonic

import ray

from actors.supervisor import Episode
from actors.synthesis import Cast, cast_actors, play_all
from benchmarks.common import cpu_between, cpu_times
from benchmarks.synthesis import journal
from benchmarks.synthesis.journal import Stretch
from prstack.errors import UserError
from prstack.settings import Config
from prstack.stages.episodes import plan_episodes
from prstack.types import Trajectory
from prstack.world.world import World

STREAMS = 16
EVENTS = 4
"""Of a history: long ones make the beginning longer, in which a small machine reads prompts for minutes."""
ENOUGH, PATIENCE = 64, 240.0
"""Calls that a stretch needs, and seconds more that a slow machine gets for them."""


def play(config: Config, world: Path, model: Path, warm: float, seconds: float) -> tuple[Stretch, Counter[str]]:
    """Plays the loop; the stretch, and how episodes ended until its end. Raises RuntimeError when the episodes run out, UserError when the
    machine is too slow."""
    with cast_actors(config, world, {"vllm": str(model)}) as cast:
        (engine,) = cast.engines["vllm"]
        ray.get(engine.__ray_call__.remote(journal.attach))
        episodes = map(shortened, plan_episodes(World.open(world), config, "benchmark"))
        stretch, ended = asyncio.run(_play(cast, episodes, config, warm, seconds))
    return stretch, Counter(t.termination for t in ended)


def shortened(episode: Episode) -> Episode:
    """The episode over the last `EVENTS` events of its history."""
    return replace(episode, history=replace(episode.history, events=episode.history.events[-EVENTS:]))


async def _play(cast: Cast, episodes: Iterable[Episode], config: Config, warm: float, seconds: float) -> tuple[Stretch, list[Trajectory]]:
    (engine,), ended, waiting = cast.engines["vllm"], [], iter(episodes)

    concurrency = config.synthesis.concurrency
    streams = min(STREAMS, concurrency)

    async def stream(n: int) -> None:
        await asyncio.sleep(warm * n / streams)
        async for t in play_all(cast, waiting, concurrency // streams + (n < concurrency % streams), config.synthesis.max_retries):
            ended.append(t)
        raise RuntimeError(f"all {len(ended)} episodes have ended before the time was up; the last one: {ended[-1].termination} {ended[-1].detail[:300]}")

    async def until(deadline: float) -> None:
        done, _ = await asyncio.wait(playing, timeout=deadline - monotonic(), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def arrived(since: float) -> int:
        return sum(arrival >= since for arrival in await engine.__ray_call__.remote(journal.arrivals))

    playing = [asyncio.create_task(stream(n)) for n in range(streams)]
    try:
        await until(monotonic() + warm)
        (start, tokens), before = await engine.__ray_call__.remote(journal.mark), cpu_times()
        await until(start + seconds)
        while await arrived(start) < ENOUGH:
            if monotonic() > start + seconds + PATIENCE:
                raise UserError(f"the machine is too slow or too busy: fewer than {ENOUGH} calls in {seconds + PATIENCE:g} seconds")
            await until(monotonic() + 1.0)
        (end, tokens_then), after = await engine.__ray_call__.remote(journal.mark), cpu_times()
        calls = [c for c in await engine.__ray_call__.remote(journal.read) if c.arrival <= end]
    finally:
        for task in playing:
            task.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
    return Stretch(calls, start, end, tokens_then - tokens, cpu_between(before, after)), ended
