"""The cast of synthesis on Ray: which actors there are, and how many episodes they play at once.

    driver ──episodes──► teams (user, research and supervisor agent each) ──► engine actors

A team is one asynchronous actor that plays many episodes, each to its end. The driver keeps `concurrency` episodes in flight and no
more, however many are planned, and gives each to the team with the fewest. An episode whose team dies starts again under the same id and
seed. Asked to stop, the driver begins none, and gives those in flight some time to end.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayActorError, RayError

from actors.engine_metrics import counted
from actors.expert import ExpertEngine
from actors.openai_engine import OpenAIEngine
from actors.router import EnginePool
from actors.supervisor import Episode
from actors.team import ROLES, Team
from actors.vllm_engine import VLLMEngine, runtime_env
from prstack.settings import Config, EngineConfig
from prstack.types import Persona, Trajectory

IN_FLIGHT = 4096
"""Concurrent calls that one actor takes."""
_SHARED: dict[str, Any] = {"num_cpus": 0, "max_concurrency": IN_FLIGHT, "max_restarts": -1}
"""Ray options of actors that many episodes share."""
PATIENCE, PAUSE = 600.0, 0.5
"""Seconds that an actor may take to come back, and between two looks at it. While it restarts, Ray refuses every call at once."""


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
    """The actors of a synthesis, and how many episodes each team has in flight."""

    engines: dict[str, list[Any]]
    teams: list[Any]
    playing: Counter[int] = field(default_factory=Counter)


@contextmanager
def cast_actors(config: Config, world_folder: Path, models: dict[str, str]) -> Iterator[Cast]:
    """Starts engines and teams, waits until all are ready, and ends them with the block.

    `models`: engine name → checkpoint folder, for the engines that serve one.
    """
    roles = {role: config.engine.of(role) for role in ROLES}
    labels = {role: name if name == "expert" else f"{name}:{config.engine.model}" for role, name in roles.items()}
    tag = f"prstack-{uuid.uuid4().hex[:8]}"
    names = {name: [f"{tag}-engine-{name}-{i}" for i in range(config.engine.replicas)] for name in sorted(set(roles.values()))}
    engines = {name: [_start_engine(name, actor_name, config, models) for actor_name in actor_names] for name, actor_names in names.items()}
    # Over all nodes, as one team alone takes a core; they hold none, since they mostly wait for engines.
    spread = {**_SHARED, "scheduling_strategy": "SPREAD"} if config.synthesis.teams > 1 else _SHARED
    given = (names, roles, labels, str(world_folder), config.world.kind, config.agents, list(config.tools.extra), config.web)
    teams = [ray.remote(Team).options(name=f"{tag}-team-{i}", **spread).remote(*given) for i in range(config.synthesis.teams)]
    with _until_the_end([h for hs in engines.values() for h in hs], teams):
        yield Cast(engines, teams)


@contextmanager
def serve(config: EngineConfig, model: Path) -> Iterator[EnginePool]:
    """`config.replicas` engines that serve one checkpoint, without roles: what evaluation asks. They end with the block.

    The context is no longer than the checkpoint's.
    """
    settings = replace(config, model=str(model), max_model_len=_context(config, model))
    tag = f"prstack-{uuid.uuid4().hex[:8]}-engine-vllm"
    with _until_the_end([_start_vllm(f"{tag}-{i}", settings, str(model)) for i in range(config.replicas)]) as handles:
        yield EnginePool(handles)


@contextmanager
def named_engines(config: Config, model: Path | None) -> Iterator[list[str]]:
    """`engine.replicas` engines of `engine.name`, for actors that find them by these names: what distillation asks. They end with the block.

    `model`: the checkpoint of a vLLM engine.
    """
    tag = f"prstack-{uuid.uuid4().hex[:8]}-engine-{config.engine.name}"
    names = [f"{tag}-{i}" for i in range(config.engine.replicas)]
    engine = replace(config.engine, model=str(model), max_model_len=_context(config.engine, model)) if model else config.engine
    models = {config.engine.name: str(model)} if model else {}
    with _until_the_end([_start_engine(config.engine.name, n, replace(config, engine=engine), models) for n in names]):
        yield names


@contextmanager
def _until_the_end(engines: list[Any], teams: Sequence[Any] = ()) -> Iterator[list[Any]]:
    """The actors, once all are ready; they end with the block, engines with their processes."""
    try:
        ray.get([h.ready.remote() for h in (*engines, *teams)])
        yield engines
    finally:
        for engine in engines:
            with suppress(Exception):
                ray.get(engine.shutdown.remote(), timeout=10)
        for handle in (*engines, *teams):
            ray.kill(handle)


def _context(config: EngineConfig, model: Path) -> int:
    """`engine.max_model_len`, or what the checkpoint holds if that is less."""
    longest = json.loads((model / "config.json").read_text(encoding="utf-8")).get("max_position_embeddings")
    return min(config.max_model_len, longest or config.max_model_len)


def _start_engine(name: str, actor_name: str, config: Config, models: dict[str, str]) -> Any:
    if name == "expert":
        return ray.remote(counted(ExpertEngine)).options(name=actor_name, **_SHARED).remote(asdict(config.agents.mistakes))
    if name == "openai":
        return ray.remote(counted(OpenAIEngine)).options(name=actor_name, **_SHARED).remote(config.engine)
    return _start_vllm(actor_name, config.engine, models[name])


def _start_vllm(actor_name: str, settings: EngineConfig, model: str) -> Any:
    threads = max(1, (os.cpu_count() or 1) // settings.replicas)
    gpus = settings.vllm_args.get("tensor_parallel_size", 1) if ray.cluster_resources().get("GPU") else 0
    return ray.remote(counted(VLLMEngine)).options(name=actor_name, runtime_env=runtime_env(threads), num_gpus=gpus, **_SHARED).remote(asdict(settings), model)


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
    """One episode, started again when its team's actor died; after that it ends with `error`.

    None for one that broke off while all comes to its end: a signal to the whole process group ends Ray's processes as well, and
    says nothing about the episode.
    """
    n = min(range(len(cast.teams)), key=lambda i: cast.playing[i])
    team = cast.teams[n]
    cast.playing[n] += 1
    try:
        for deaths in range(1, max_retries + 2):
            try:
                played = await team.run.remote(episode)
                lost = played.termination == "error" and played.detail.startswith("unavailable:")
                return None if lost and stop.is_set() else played
            except RayError as e:
                if stop.is_set():
                    return None
                if not isinstance(e, RayActorError):
                    raise
                reason = str(e)
                if deaths > max_retries or (reason := await until_back(team)):
                    return _failed(episode, f"the team's actor died {deaths} times: {reason}")
    finally:
        cast.playing[n] -= 1


def _failed(episode: Episode, detail: str) -> Trajectory:
    nobody = Persona("", "", [])
    return Trajectory(episode.id, episode.history.user_id, episode.seed, nobody, "", [], [], [], [], "error", detail)
