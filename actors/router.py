"""Requests over several engines that may die and come back.

Routing: the requests of one episode go to one engine, chosen by rendezvous hashing among the healthy ones (when an
engine is lost only its own episodes move; when it is back they return); requests without an episode go to the one
with the fewest in flight.

Failure: a request whose engine fails is asked again, elsewhere or after the restart, a limited number of times with
growing pauses. It ends with one answer or one EngineError: requests change nothing in an engine, so asking twice is
harmless, and only one answer is ever returned. Errors of the request itself ("context", "request") are not retried.

Health (`actors.health`) is a state machine: an engine is asked while it is healthy, and looked after until it is again, or lost.

Weights: `update_weights` brings new ones to all engines while requests go on; an engine answers what it has begun first. An engine
that comes back with others than the current ones is given them before it serves again; an answer that shows that it has come back
unnoticed, made by the weights of its start, is thrown away and asked for again. Every pool over the same engines is to be
told of every update, in the same order; an engine that has the version already does nothing.

Who restarts an engine: Ray restarts an actor whose process died (give it `max_restarts`), and `ready()` revives what died
inside a living actor. The pool only asks `ready()` until it answers. Every pool keeps its own view; pools need not
know of each other.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.exceptions import ActorDiedError, RayError, RayTaskError, TaskCancelledError

from actors.engine import INITIAL_WEIGHTS, Completion, EngineError, Request, Sample, Sampling
from actors.health import Health


@dataclass(slots=True, frozen=True)
class Weights:
    """What the engines should serve. Without a `folder` they have it from their start."""

    version: str
    folder: str | None = None
    checksum: str = ""
    """With which they were published; empty where they are not to be verified."""


def place(episode: str, engines: Sequence[int]) -> int:
    """The engine of an episode: the highest hash of (episode, engine) wins."""
    return max(engines, key=lambda i: hashlib.sha256(f"{episode}|{i}".encode()).digest())


async def call(engine: Any, method: str, *args: Any) -> Any:
    """Awaits a method of an engine, a Ray actor handle or a plain object."""
    bound = getattr(engine, method)
    return await (bound.remote(*args) if hasattr(bound, "remote") else bound(*args))


class EnginePool:
    """Several engines as one: `complete` and `generate` like a single engine's."""

    def __init__(
        self,
        engines: Sequence[Any],
        weight_version: str = INITIAL_WEIGHTS,
        retries: int = 6,
        pause: float = 0.5,
        timeout: float = 900.0,
        patience: float = 600.0,
        folder: str | None = None,
    ):
        """`retries` of a request after its first failure, with pauses of `pause` · 2ⁿ seconds (10 at most); `timeout`
        seconds for one answer; `patience` seconds for an engine to start, to come back, or to take new weights. `folder` holds the
        weights `weight_version`, unless the engines have those from their start."""
        if not engines:
            raise ValueError("a pool needs at least one engine")
        self.engines = list(engines)
        self._weights = Weights(weight_version, folder)
        self._given = [False] * len(self.engines)  # engines that have others than those of their start
        self.health = [Health() for _ in self.engines]
        self.in_flight = [0] * len(self.engines)
        self._retries, self._pause, self._timeout, self._patience = retries, pause, timeout, patience
        self._revivals: dict[int, asyncio.Task] = {}
        self._changed = asyncio.Condition()
        self._updating = asyncio.Lock()
        self._started = False

    @property
    def weight_version(self) -> str:
        """The version that healthy engines serve, or are about to."""
        return self._weights.version

    async def ready(self) -> None:
        """Waits until one engine can answer. Raises EngineError when all are lost."""
        await self._pick("")

    async def complete(self, request: Request) -> Completion:
        """One assistant turn from one of the engines. Raises EngineError."""
        return await self._ask("complete", request.episode, request)

    async def generate(self, token_ids: list[int], sampling: Sampling, episode: str = "") -> Sample:
        """Token ids in, sampled token ids out. Raises EngineError."""
        return await self._ask("generate", episode, token_ids, sampling)

    async def update_weights(self, folder: str | Path, version: str, checksum: str = "") -> None:
        """All engines serve the weights in `folder` from their next request on. Returns when every healthy engine does; those that are down
        are given them before they come back, so the folder must stay until the next update. An engine that finds other bytes than were
        published with `checksum` is dead until it has the right ones.

        An engine that has died unnoticed since its last request is waited for and asked again, once. Raises EngineError when no engine takes them, and
        the pool stays with the weights that it had: "request" for a folder that is not this model's, "unavailable" otherwise. Where some take them, an
        engine that does not counts as dead.
        """
        async with self._updating:
            for attempt in range(2):
                await self._pick("")
                before, self._weights = self._weights, Weights(version, str(folder), checksum)
                asked = [i for i, h in enumerate(self.health) if h.state == "healthy"]
                refusals = dict(zip(asked, await asyncio.gather(*(self._give_weights(i) for i in asked)), strict=True))
                refused = {i: e for i, e in refusals.items() if e is not None}
                # Whoever is healthy and has not refused serves the new weights: asked just now, or come back since.
                if any(h.state == "healthy" and i not in refused for i, h in enumerate(self.health)):
                    for i, e in refused.items():
                        self._down(i, e.message)
                    return
                self._weights = before
                if refused:
                    raise next(iter(refused.values()))
                if attempt:
                    raise EngineError("unavailable", "; ".join(f"engine {i}: {h.reason}" for i, h in enumerate(self.health)))

    async def close(self) -> None:
        """Stops looking after engines; the engines themselves live on."""
        for task in self._revivals.values():
            task.cancel()
        await asyncio.gather(*self._revivals.values(), return_exceptions=True)

    async def _ask(self, method: str, episode: str, *args: Any) -> Any:
        failures = 0
        while True:
            i = await self._pick(episode)
            self.in_flight[i] += 1
            given = self._given[i]
            try:
                answer = await asyncio.wait_for(call(self.engines[i], method, *args), self._timeout)
                if given and getattr(answer, "weight_version", "") == INITIAL_WEIGHTS:
                    raise EngineError("engine", "started again, and has the weights of its start")
                return answer
            except Exception as e:
                reason = _failure(e)
                if reason is None:
                    if isinstance(e, EngineError):  # as the engine raised it, without Ray's wrapping
                        raise EngineError(e.kind, e.message) from e
                    raise
                self._down(i, reason)
                failures += 1
                if failures > self._retries:
                    raise EngineError("unavailable", f"{failures} attempts failed, the last on engine {i}: {reason}") from e
            finally:
                self.in_flight[i] -= 1
            await asyncio.sleep(_pause(self._pause, failures - 1))

    async def _pick(self, episode: str) -> int:
        """A healthy engine, waited for if there is none."""
        if not self._started:
            self._started = True
            now = time.monotonic()
            for i, health in enumerate(self.health):
                health.down_since = now
                self._revive(i)
        async with self._changed:
            while True:
                healthy = [i for i, h in enumerate(self.health) if h.state == "healthy"]
                if healthy:
                    return place(episode, healthy) if episode else min(healthy, key=lambda i: self.in_flight[i])
                if all(h.state == "lost" for h in self.health):
                    reasons = "; ".join(f"engine {i}: {h.reason}" for i, h in enumerate(self.health))
                    raise EngineError("unavailable", f"all engines are lost ({reasons})")
                await self._changed.wait()

    async def _give_weights(self, i: int) -> EngineError | None:
        """Updates a healthy engine to the current weights; its refusal, if it refuses them. An engine that fails is down."""
        engine, w = self.engines[i], self._weights
        if not hasattr(engine, "update_weights"):
            return EngineError("request", f"engine {i} has no weights that could be updated")
        try:
            await asyncio.wait_for(call(engine, "update_weights", w.folder, w.version, w.checksum), self._patience)
        except Exception as e:
            reason = _failure(e)
            if reason is not None:
                self._down(i, reason)
            elif isinstance(e, EngineError):
                return EngineError(e.kind, e.message)
            else:
                raise
        else:
            self._given[i] = True
        return None

    def _down(self, i: int, reason: str) -> None:
        self.health[i].failed(reason, time.monotonic())
        self._revive(i)

    def _revive(self, i: int) -> None:
        """Starts looking after an engine that is not healthy, unless that is under way."""
        task = self._revivals.get(i)
        if task is None or task.done():
            self._revivals[i] = asyncio.get_running_loop().create_task(self._until_ready(i))

    async def _until_ready(self, i: int) -> None:
        health, attempt = self.health[i], 0
        while health.state in ("dead", "restarting"):
            health.restart()
            try:
                version = await asyncio.wait_for(call(self.engines[i], "ready"), self._patience)
                w = self._weights
                if w.folder is not None and version != w.version:
                    if refusal := await self._give_weights(i):
                        raise EngineError("engine", f"does not take weights {w.version}: {refusal.message}")
                    version = w.version
                self._given[i] = w.folder is not None
                health.answered(version, self.weight_version, time.monotonic())
            except Exception as e:
                reason = _failure(e)
                if reason is None or isinstance(e, ActorDiedError):  # a fault in its code, or dead for good
                    health.lose(reason or repr(e))
                else:
                    health.failed(reason, time.monotonic())
            health.give_up(time.monotonic(), self._patience)
            async with self._changed:
                self._changed.notify_all()
            if health.state == "dead":
                await asyncio.sleep(_pause(self._pause, attempt))
                attempt += 1


def _failure(e: Exception) -> str | None:
    """Why an engine failed to answer, or None when the error is not the engine's."""
    if isinstance(e, EngineError):
        return e.message if e.kind in ("engine", "unavailable") else None
    if isinstance(e, TimeoutError):
        return "no answer in time"
    if isinstance(e, RayError) and not isinstance(e, RayTaskError | TaskCancelledError):
        text = " ".join(str(e).split())
        return text if len(text) <= 400 else f"{text[:200]} … {text[-200:]}"
    return None


def _pause(base: float, attempt: int) -> float:
    return min(10.0, base * 2**attempt)
