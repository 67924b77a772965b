"""Requests over several engines that may die and come back.

Routing: the requests of one episode go to one engine, chosen by rendezvous hashing among the healthy ones (when an
engine is lost only its own episodes move; when it is back they return); requests without an episode go to the one
with the fewest in flight.

Failure: a request whose engine fails is asked again, elsewhere or after the restart, a limited number of times with
growing pauses. It ends with one answer or one EngineError: requests change nothing in an engine, so asking twice is
harmless, and only one answer is ever returned. Errors of the request itself ("context", "request") are not retried.

Health is a state machine without clock, network or tasks in it:

    restarting ──answers with the current weights──▶ healthy
        ▲ │                                             │
        │ └───fails, or serves other weights──▶ dead ◀──┘ fails
        └─────────────next attempt────────────────┘
    dead ──longer than patience, or for good──▶ lost

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
from typing import Any, Literal

from ray.exceptions import ActorDiedError, RayError, RayTaskError, TaskCancelledError

from actors.engine import INITIAL_WEIGHTS, Completion, EngineError, Request, Sample, Sampling


@dataclass(slots=True)
class Health:
    """Whether an engine may be asked. Times are seconds of any steady clock, given by the caller."""

    state: Literal["restarting", "healthy", "dead", "lost"] = "restarting"
    reason: str = ""
    down_since: float = 0.0

    def failed(self, reason: str, now: float) -> None:
        """A request or ping failed."""
        if self.state == "lost":
            return
        if self.state == "healthy":
            self.down_since = now
        self.state, self.reason = "dead", reason

    def restart(self) -> None:
        """The next ping is under way. Only a dead engine restarts."""
        if self.state == "dead":
            self.state = "restarting"

    def answered(self, version: str, current: str, now: float) -> None:
        """A ping was answered by an engine that serves weights `version`. Counts only while restarting: an answer
        that was on its way when the engine died proves nothing."""
        if self.state != "restarting":
            return
        if version == current:
            self.state, self.reason = "healthy", ""
        else:
            self.failed(f"serves weights {version}, current is {current}", now)

    def give_up(self, now: float, patience: float) -> None:
        """A dead engine that has been down for `patience` seconds is lost; it is not asked again."""
        if self.state == "dead" and now - self.down_since >= patience:
            self.state = "lost"

    def lose(self, reason: str) -> None:
        """The engine cannot come back."""
        self.state, self.reason = "lost", reason


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
    ):
        """`retries` of a request after its first failure, with pauses of `pause` · 2ⁿ seconds (10 at most); `timeout`
        seconds for one answer; `patience` seconds for an engine to start, or to come back."""
        if not engines:
            raise ValueError("a pool needs at least one engine")
        self.engines = list(engines)
        self.weight_version = weight_version
        self.health = [Health() for _ in self.engines]
        self.in_flight = [0] * len(self.engines)
        self._retries, self._pause, self._timeout, self._patience = retries, pause, timeout, patience
        self._revivals: dict[int, asyncio.Task] = {}
        self._changed = asyncio.Condition()
        self._started = False

    async def ready(self) -> None:
        """Waits until one engine can answer. Raises EngineError when all are lost."""
        await self._pick("")

    async def complete(self, request: Request) -> Completion:
        """One assistant turn from one of the engines. Raises EngineError."""
        return await self._ask("complete", request.episode, request)

    async def generate(self, token_ids: list[int], sampling: Sampling, episode: str = "") -> Sample:
        """Token ids in, sampled token ids out. Raises EngineError."""
        return await self._ask("generate", episode, token_ids, sampling)

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
            try:
                return await asyncio.wait_for(call(self.engines[i], method, *args), self._timeout)
            except Exception as e:
                reason = _failure(e)
                if reason is None:
                    if isinstance(e, EngineError):  # as the engine raised it, without Ray's wrapping
                        raise EngineError(e.kind, e.message) from e
                    raise
                self.health[i].failed(reason, time.monotonic())
                self._revive(i)
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
