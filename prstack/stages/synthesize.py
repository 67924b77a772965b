"""`prstack synthesize`: behaviour histories → trajectories, played by three agents over an engine pool."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from actors.agent import short_hash
from actors.openai_engine import api_key
from actors.progress import PREFIX, RayMetrics, endpoint
from actors.supervisor import Episode
from actors.synthesis import Cast, cast_actors, play_all
from prstack.config import fingerprint, to_dict
from prstack.errors import Terminated
from prstack.prompts import Prompts
from prstack.report.live import Display, Progress, metrics
from prstack.report.tracking import Tracker
from prstack.settings import AgentsConfig, Config, EndpointConfig, EngineConfig, TokensConfig
from prstack.stages import world as world_stage
from prstack.stages.cluster import ray_session
from prstack.stages.episodes import in_order, plan, plan_episodes
from prstack.stages.models import resolve_model
from prstack.stages.stopping import first_signal_asks
from prstack.store.parts import Parts
from prstack.store.records import canonical_json
from prstack.store.rundir import Manifest, RunDir
from prstack.tools import live, own
from prstack.types import Trajectory
from prstack.world.world import World

SHOW_SECONDS = 1.0
"""Between two looks at the numbers, in the terminal and in Ray's metrics."""
LOG_EPISODES = 20
"""Between two lines of metrics."""


BEFORE_ENGINE = {"chat_template": "prstack", "parallel_calls": False}
BEFORE_AGENTS = {"best_of": 1, "tokens": TokensConfig()}
"""What was before there were such keys. Those that leave it so do not go into the ids of episodes."""


def _as_ever(section: EngineConfig | AgentsConfig, before: dict[str, Any]) -> list[str]:
    return [key for key, value in before.items() if getattr(section, key) == value]


def run(config: Config, run: RunDir, tracker: Tracker) -> Manifest:
    """Plays what is missing of `synthesis.episodes` and commits it part by part."""
    world = world_stage.run(config, run, tracker, announce=False)
    prompts = Prompts(config.agents.prompts)
    inputs = {
        "world": world.content_hash,
        "seed": config.seed,
        "engine": fingerprint(config.engine, "replicas", "kv_cache_mb", "endpoint", *_as_ever(config.engine, BEFORE_ENGINE)),
        "agents": fingerprint(config.agents, *_as_ever(config.agents, BEFORE_AGENTS)),
        "prompts": prompts.version,
        **own.fingerprint(config.tools.extra),
        **live.fingerprint(config.web),
    }
    stage = run.stage("synthesis", inputs, to_dict(config.synthesis))
    trajectories = Parts(stage.folder / "trajectories", Trajectory, flush_every=config.synthesis.part_episodes)
    key = short_hash(canonical_json(inputs))
    users = in_order(World.open(run.path / "world"), config.seed)
    missing = sum(p.id not in trajectories for p in plan(users, config, key))
    if stage.done and not missing:
        print(f"synthesis: {len(trajectories)} trajectories made already, {stage.folder}", flush=True)
        return stage.manifest
    if stage.done:
        stage.reopen()
    if missing < config.synthesis.episodes:
        print(f"synthesis: taking up again, {config.synthesis.episodes - missing} of {config.synthesis.episodes} trajectories are there", flush=True)

    live.LiveWeb.from_config(config.web)  # what is wrong is said here, not by an actor
    engines = {config.engine.of(role) for role in ("user", "research", "supervisor")}
    models = {n: str(resolve_model(config.engine.model)) for n in engines if n == "vllm"}
    if "openai" in engines:
        api_key(config.engine.endpoint)
    with ray_session(config.ray), cast_actors(config, run.path / "world", models) as cast, trajectories:
        if url := endpoint():
            print(f"Ray metrics: {url} (ray_{PREFIX}…)", flush=True)
        asked = asyncio.run(_play_missing(cast, config, run, trajectories, key, missing, tracker))
    left = sum(p.id not in trajectories for p in plan(users, config, key))
    if not left or not asked:
        stage.finish(*_results(trajectories, config))
    if asked:
        said = f"{config.synthesis.episodes - left} of {config.synthesis.episodes} episodes of synthesis are committed"
        raise Terminated(said) if asked == signal.SIGTERM else KeyboardInterrupt(said)
    return stage.manifest


async def _play_missing(
    cast: Cast, config: Config, run: RunDir, trajectories: Parts, key: str, missing: int, tracker: Tracker
) -> signal.Signals | None:
    """Plays every episode that is not there and shows how it goes; returns the signal that asked to stop, if one did."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    asked: list[signal.Signals] = []
    start, totals = time.monotonic(), Counter[str]()
    progress = Progress(config.synthesis.episodes, config.synthesis.episodes - missing, start)

    def episodes() -> Iterator[Episode]:
        for episode in plan_episodes(World.open(run.path / "world"), config, key, trajectories):
            progress.begin()
            yield episode

    def ask(number: signal.Signals) -> None:
        asked.append(number)
        loop.call_soon_threadsafe(stop.set)
        loop.call_soon_threadsafe(_say_stopping, number, progress, config.synthesis.grace)

    with Display("synthesis", start) as display, first_signal_asks(ask):
        gauges = RayMetrics(run.path.name)

        def show(last: bool = False) -> None:
            now = time.monotonic()
            snapshot = progress.snapshot(now)
            display.show(snapshot, now, last)
            gauges.show(snapshot)

        showing = asyncio.create_task(_every(SHOW_SECONDS, show))
        async for t in play_all(cast, episodes(), config.synthesis.concurrency, config.synthesis.max_retries, stop, config.synthesis.grace):
            trajectories.add(t)
            progress.end(t, time.monotonic())
            totals.update(completion_tokens=sum(u.completion_tokens for u in t.usage), engine_calls=sum(u.calls for u in t.usage))
            if progress.ended % LOG_EPISODES == 0 or progress.done == progress.total:
                _log(tracker, progress, totals, t)
        showing.cancel()
        show(last=True)
    return asked[0] if asked else None


async def _every(seconds: float, act: Callable[[], None]) -> None:
    while True:
        act()
        await asyncio.sleep(seconds)


def _log(tracker: Tracker, progress: Progress, totals: Counter[str], t: Trajectory) -> None:
    """One line of metrics, with the last score of the episode that has just ended."""
    numbers = {"episodes": progress.ended, **totals, "score_last": t.scores[-1] if t.scores else None, **metrics(progress.snapshot(time.monotonic()))}
    tracker.log({f"synthesis/{name}": value for name, value in numbers.items()})


def _say_stopping(number: signal.Signals, progress: Progress, grace: float) -> None:
    flying = f"the {progress.begun - progress.ended} in flight have {grace:g} s to end"
    print(f"\nsynthesis: {number.name}, no episode begins; {flying} (another signal ends it at once)", file=sys.stderr, flush=True)


def _results(trajectories: Parts, config: Config) -> tuple[dict, str, dict]:
    """Counts, content hash and summary, as `Stage.finish` takes them."""
    counts, summary = summarise(trajectories, config.engine.endpoint)
    return counts, trajectories.content_hash, summary


def summarise(trajectories: Parts, endpoint: EndpointConfig) -> tuple[dict, dict]:
    """Counts and means over all committed trajectories; what they cost, where the endpoint has prices."""
    reasons: Counter[str] = Counter()
    steps = tool_calls = corrections = tokens = rejected = 0
    cost = 0.0
    scores, first = [], []
    for row in trajectories.rows(columns=["termination", "detail", "steps", "scores", "usage", "engines"]):
        reasons[row["termination"]] += 1
        rejected += row["termination"] == "error" and row["detail"].startswith("gate:")
        steps += len(row["steps"])
        tool_calls += sum(s["tool_call"] is not None for s in row["steps"])
        corrections += sum(s["verdict"] is not None and s["verdict"]["decision"] == "revise" for s in row["steps"])
        tokens += sum(u["completion_tokens"] for u in row["usage"])
        played = dict(row["engines"])
        asked = [u for u in row["usage"] if played.get(u["role"], "").startswith("openai:")]
        cost += sum(u["prompt_tokens"] * endpoint.prompt_price + u["completion_tokens"] * endpoint.completion_price for u in asked) / 1e6
        if row["scores"]:
            scores.append(row["scores"][-1])
            first.append(row["scores"][0])
    n = max(len(trajectories), 1)
    counts = {"trajectories": len(trajectories), "terminations": dict(reasons), "rejected_by_gate": rejected}
    mean = lambda xs: round(sum(xs) / len(xs), 4) if xs else None  # noqa: E731
    return counts, {
        "tool_calls_per_episode": round(tool_calls / n, 2),
        "corrections_per_episode": round(corrections / n, 2),
        "steps_per_episode": round(steps / n, 2),
        "completion_tokens": tokens,
        "score_first_report": mean(first),
        "score_last_report": mean(scores),
        **({"cost_usd": round(cost, 4)} if cost else {}),
    }
