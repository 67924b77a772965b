"""The cast of synthesis on Ray: which actors there are, and how many episodes they play at once.

    driver ──episodes──► SupervisorAgent ──► UserAgent, ResearchAgent ──► EnginePool ──► engine actors

Every role is one asynchronous actor that serves many episodes. User and research actors hold no state of an episode, so a
call that dies with its actor is made again; a supervisor holds the trajectory, so its episode starts again under the same
id and seed. The driver keeps `concurrency` episodes in flight and no more, however many are planned. Asked to stop, it begins
none, and gives those in flight some time to end.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayActorError, RayError, RayTaskError

from actors.engine import EngineError
from actors.expert import ExpertEngine
from actors.openai_engine import OpenAIEngine
from actors.research import ResearchAgent
from actors.router import EnginePool
from actors.supervisor import Episode, SupervisorAgent
from actors.user import UserAgent
from actors.vllm_engine import VLLMEngine, runtime_env
from prstack.settings import Config, EngineConfig
from prstack.types import Persona, Trajectory

IN_FLIGHT = 4096
"""Concurrent calls that one actor takes."""
_SHARED: dict[str, Any] = {"num_cpus": 0, "max_concurrency": IN_FLIGHT, "max_restarts": -1}
"""Ray options of actors that many episodes share."""
PATIENCE, PAUSE = 600.0, 0.5
"""Seconds that an actor may take to come back, and between two looks at it. While it restarts, Ray refuses every call at once."""


class Remote:
    """An actor handle with the methods of the class behind it: `await remote.act(…)`.

    A call that dies with its actor is made again when Ray has restarted it, `retries` times. What fails meanwhile, because the
    actor is not back yet, does not count.
    """

    def __init__(self, handle: Any, name: str, retries: int = 5):
        self._handle, self._name, self._retries = handle, name, retries

    def __getattr__(self, method: str):
        if method.startswith("_"):
            raise AttributeError(method)

        async def call(*args, **kwargs):
            for deaths in range(1, self._retries + 2):
                try:
                    return await getattr(self._handle, method).remote(*args, **kwargs)
                except RayActorError as e:
                    reason = str(e)
                    if deaths > self._retries or (reason := await until_back(self._handle)):
                        raise EngineError("unavailable", f"the {self._name} actor died {deaths} times in {method}: {reason}") from e
                except RayTaskError as e:
                    if isinstance(e.cause, EngineError):
                        raise e.cause from None
                    raise

        return call


async def until_back(actor: Any) -> str:
    """Waits until an actor whose process died answers again. Returns why it does not, if it is dead for good or takes longer than `PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while True:
        await asyncio.sleep(PAUSE)
        try:
            await actor.ready.remote()
            return ""
        except RayActorError as e:
            if isinstance(e, ActorDiedError) or time.monotonic() > deadline:
                return str(e) or type(e).__name__


@dataclass(slots=True)
class Cast:
    """The supervisor (front of the cast) and every actor handle, engines first."""

    supervisor: Any
    engines: dict[str, list[Any]] = field(default_factory=dict)
    agents: dict[str, Any] = field(default_factory=dict)

    @property
    def handles(self) -> list[Any]:
        return [*self.agents.values(), *(h for hs in self.engines.values() for h in hs)]


@contextmanager
def cast_actors(config: Config, world_folder: Path, models: dict[str, str]) -> Iterator[Cast]:
    """Starts engines and roles, waits until all are ready, and ends them with the block.

    `models`: engine name → checkpoint folder, for the engines that serve one.
    """
    roles = {role: config.engine.of(role) for role in ("user", "research", "supervisor")}
    cast = Cast(supervisor=None)
    tag = f"prstack-{uuid.uuid4().hex[:8]}"
    try:
        for name in sorted(set(roles.values())):
            cast.engines[name] = [_start_engine(name, f"{tag}-engine-{name}-{i}", config, models) for i in range(config.engine.replicas)]
        names = {n: [f"{tag}-engine-{n}-{i}" for i in range(len(hs))] for n, hs in cast.engines.items()}
        label = {role: name if name == "expert" else f"{name}:{config.engine.model}" for role, name in roles.items()}

        def start(cls: type, role: str, others: tuple[str, ...], *args: object) -> Any:
            return ray.remote(_hosted(cls)).options(name=f"{tag}-{role}", **_SHARED).remote(names[roles[role]], [f"{tag}-{o}" for o in others], *args)

        agents, a = cast.agents, config.agents
        agents["user"] = start(UserAgent, "user", (), str(world_folder), a.user_attempts, a.prompts)
        agents["research"] = start(ResearchAgent, "research", (), str(world_folder), a.prompts, list(config.tools.extra), config.web)
        agents["supervisor"] = start(SupervisorAgent, "supervisor", ("user", "research"), a, label, config.world.kind)
        cast.supervisor = agents["supervisor"]
        ray.get([h.ready.remote() for h in cast.handles])
        yield cast
    finally:
        for engine in (h for hs in cast.engines.values() for h in hs):
            with suppress(Exception):
                ray.get(engine.shutdown.remote(), timeout=10)
        for handle in cast.handles:
            ray.kill(handle)


@contextmanager
def serve(config: EngineConfig, model: Path) -> Iterator[EnginePool]:
    """`config.replicas` engines that serve one checkpoint, without roles: what evaluation asks. They end with the block.

    The context is no longer than the checkpoint's.
    """
    longest = json.loads((model / "config.json").read_text(encoding="utf-8")).get("max_position_embeddings")
    settings = replace(config, model=str(model), max_model_len=min(config.max_model_len, longest or config.max_model_len))
    tag = f"prstack-{uuid.uuid4().hex[:8]}-engine-vllm"
    handles = [_start_vllm(f"{tag}-{i}", settings, str(model)) for i in range(config.replicas)]
    try:
        ray.get([h.ready.remote() for h in handles])
        yield EnginePool(handles)
    finally:
        for handle in handles:
            with suppress(Exception):
                ray.get(handle.shutdown.remote(), timeout=10)
            ray.kill(handle)


def _hosted(cls: type) -> type:
    """A role as an actor: its engines, and the roles it talks to, come by name.

    Handles among the arguments would keep Ray from restarting the actor once they are gone from the object store.
    """

    class Hosted(cls):
        def __init__(self, engines: list[str], others: list[str], *args: object):
            pool = EnginePool([ray.get_actor(n) for n in engines])
            super().__init__(pool, *(Remote(ray.get_actor(n), n) for n in others), *args)

    Hosted.__name__ = Hosted.__qualname__ = cls.__name__
    return Hosted


def _start_engine(name: str, actor_name: str, config: Config, models: dict[str, str]) -> Any:
    if name == "expert":
        return ray.remote(ExpertEngine).options(name=actor_name, **_SHARED).remote(asdict(config.agents.mistakes))
    if name == "openai":
        return ray.remote(OpenAIEngine).options(name=actor_name, **_SHARED).remote(config.engine)
    return _start_vllm(actor_name, config.engine, models[name])


def _start_vllm(actor_name: str, settings: EngineConfig, model: str) -> Any:
    threads = max(1, (os.cpu_count() or 1) // settings.replicas)
    gpus = settings.vllm_args.get("tensor_parallel_size", 1) if ray.cluster_resources().get("GPU") else 0
    return ray.remote(VLLMEngine).options(name=actor_name, runtime_env=runtime_env(threads), num_gpus=gpus, **_SHARED).remote(asdict(settings), model)


async def play_all(
    cast: Cast,
    episodes: Iterable[Episode],
    concurrency: int,
    max_retries: int,
    stop: asyncio.Event | None = None,
    grace: float = 0.0,
) -> AsyncIterator[Trajectory]:
    """Trajectories in the order in which they end; every episode exactly once. Takes an episode from `episodes` when there is room for it.

    Once `stop` is set no episode begins, and those in flight have `grace` seconds to end; what has not ended by then is given up.
    """
    stop, waiting = stop or asyncio.Event(), iter(episodes)
    running: set[asyncio.Task] = set()
    ended: asyncio.Queue[asyncio.Task | None] = asyncio.Queue()  # None: the grace is over
    clock = asyncio.create_task(_grace(stop, grace, ended))
    try:
        while True:
            while not stop.is_set() and len(running) < concurrency and (episode := next(waiting, None)) is not None:
                task = asyncio.create_task(_play(cast, episode, max_retries, stop))
                task.add_done_callback(ended.put_nowait)
                running.add(task)
            if not running or (task := await ended.get()) is None:
                return
            running.remove(task)
            if (trajectory := task.result()) is not None:
                yield trajectory
    finally:
        for task in (clock, *running):
            task.cancel()
        await asyncio.gather(clock, *running, return_exceptions=True)


async def _grace(stop: asyncio.Event, seconds: float, over: asyncio.Queue) -> None:
    await stop.wait()
    await asyncio.sleep(seconds)
    over.put_nowait(None)


async def _play(cast: Cast, episode: Episode, max_retries: int, stop: asyncio.Event) -> Trajectory | None:
    """One episode, started again when the supervisor's actor died; after that it ends with `error`.

    None for one that broke off while all comes to its end: a signal to the whole process group ends Ray's processes as well, and
    says nothing about the episode.
    """
    for deaths in range(1, max_retries + 2):
        try:
            played = await cast.supervisor.run.remote(episode)
            lost = played.termination == "error" and played.detail.startswith("unavailable:")
            return None if lost and stop.is_set() else played
        except RayError as e:
            if stop.is_set():
                return None
            if not isinstance(e, RayActorError):
                raise
            reason = str(e)
            if deaths > max_retries or (reason := await until_back(cast.supervisor)):
                return _failed(episode, f"the supervisor actor died {deaths} times: {reason}")


def _failed(episode: Episode, detail: str) -> Trajectory:
    nobody = Persona("", "", [])
    return Trajectory(episode.id, episode.history.user_id, episode.seed, nobody, "", [], [], [], [], "error", detail)
