"""Many engines that only wait: at how many calls a second the loop cannot keep them busy any more.

Each of n engines takes `SLOTS` calls at once, and each call takes `SECONDS` on average (drawn evenly between half and one and a half
times that, so that episodes do not march in step) and no CPU. All of them live in one Ray actor; routing sees n engines. As many episodes are in
flight as there are slots, so engines that always had their calls would answer n · SLOTS / SECONDS a second. Teams, driver and this
actor share the machine.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import ray

from actors.engine import INITIAL_WEIGHTS, Completion, EngineError, Request
from actors.supervisor import Episode
from actors.synthesis import IN_FLIGHT, Cast, play_all
from benchmarks.synthesis.nothing import Remembering, redirect

SLOTS, SECONDS = 8, 2.0


class Waiting(Remembering):
    """n engines in one actor, with the time that their slots were taken."""

    def __init__(self, n: int):
        super().__init__()
        self.free = [asyncio.Semaphore(SLOTS) for _ in range(n)]
        self.rng = random.Random(n)
        self.answered = self.taken = self.inside = 0
        self.busy, self.since = 0.0, time.monotonic()
        self.closed = False

    async def complete_at(self, engine: int, request: Request) -> Completion:
        self.inside += 1
        try:
            async with self.free[engine]:
                if not self.closed:
                    self._take(1)
                    await asyncio.sleep(SECONDS * (0.5 + self.rng.random()))
                    self._take(-1)
            if self.closed:
                raise EngineError("request", "the benchmark is over")
            self.answered += 1
            return await self.complete(request)
        finally:
            self.inside -= 1

    async def close(self) -> None:
        """Refuses all calls from now on, so that every episode ends; returns when none has come for a second."""
        self.closed, quiet = True, 0
        while quiet < 10:
            quiet = 0 if self.inside else quiet + 1
            await asyncio.sleep(0.1)

    def _take(self, change: int) -> None:
        now = time.monotonic()
        self.busy += self.taken * (now - self.since)
        self.taken, self.since = self.taken + change, now

    async def so_far(self) -> tuple[int, float, float]:
        """Answers, slot seconds taken, and the time."""
        self._take(0)
        return self.answered, self.busy, self.since


class Seat:
    """One of the engines, as a pool sees it."""

    def __init__(self, actor: Any, engine: int):
        self.actor, self.engine = actor, engine

    async def ready(self) -> str:
        return INITIAL_WEIGHTS

    async def complete(self, request: Request) -> Completion:
        return await self.actor.complete_at.remote(self.engine, request)


@dataclass(slots=True)
class Saturation:
    """Calls a second that were answered, that the engines could have answered, and the share of their time that they were busy."""

    calls_per_s: float
    capacity: float
    busy: float


def simulate(casts: Sequence[Cast], episode: Episode, engines: int, warm: float, seconds: float) -> Saturation:
    """Keeps the engines' slots asked for, `warm` seconds before and `seconds` while it counts."""
    actor = ray.remote(Waiting).options(num_cpus=0, max_concurrency=2 * IN_FLIGHT).remote(engines)
    try:
        ray.get(actor.ready.remote())
        for cast in casts:
            redirect(cast, [Seat(actor, i) for i in range(engines)])
        return asyncio.run(_simulate(casts, actor, episode, engines, warm, seconds))
    finally:
        ray.kill(actor)


async def _simulate(casts: Sequence[Cast], actor: Any, episode: Episode, engines: int, warm: float, seconds: float) -> Saturation:
    async def play_on(cast: Cast, n: int) -> None:
        without_end = (replace(episode, id=f"waiting{n}-{engines}-{i}") for i in count())
        async for t in play_all(cast, without_end, engines * SLOTS // len(casts), 0):
            if t.termination != "approved":
                raise RuntimeError(f"episode {t.id}: {t.termination} {t.detail}")

    playing = [asyncio.create_task(play_on(cast, n)) for n, cast in enumerate(casts)]
    try:
        await asyncio.wait(playing, timeout=warm, return_when=asyncio.FIRST_EXCEPTION)
        answered, busy, start = await actor.so_far.remote()
        await asyncio.wait(playing, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        answered_then, busy_then, end = await actor.so_far.remote()
        for stopped in (p for p in playing if p.done()):
            stopped.result()
    finally:
        for task in playing:
            task.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
        await actor.close.remote()
    slots, took = engines * SLOTS, end - start
    return Saturation((answered_then - answered) / took, slots / SECONDS, (busy_then - busy) / (slots * took))
