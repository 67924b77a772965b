"""`prstack synthesize`: behaviour histories → trajectories, played by three agents over an engine pool."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator

from tqdm import tqdm

from actors.agent import short_hash
from actors.openai_engine import api_key
from actors.supervisor import Episode
from actors.synthesis import Cast, cast_actors, play_all
from prstack.config import fingerprint, to_dict
from prstack.errors import UserError
from prstack.prompts import Prompts
from prstack.report.tracking import Tracker
from prstack.settings import Config, EndpointConfig
from prstack.stages import world as world_stage
from prstack.stages.cluster import ray_session
from prstack.stages.models import resolve_model
from prstack.store.parts import Parts
from prstack.store.records import canonical_json
from prstack.store.rundir import Manifest, RunDir
from prstack.tools import live, own
from prstack.types import History, Trajectory
from prstack.world.world import World


def run(config: Config, run: RunDir, tracker: Tracker) -> Manifest:
    """Plays what is missing of `synthesis.episodes` and commits it part by part."""
    world = world_stage.run(config, run, tracker, announce=False)
    prompts = Prompts(config.agents.prompts)
    inputs = {
        "world": world.content_hash,
        "seed": config.seed,
        "engine": fingerprint(config.engine, "replicas", "kv_cache_mb", "endpoint"),
        "agents": fingerprint(config.agents),
        "prompts": prompts.version,
        **own.fingerprint(config.tools.extra),
        **live.fingerprint(config.web),
    }
    stage = run.stage("synthesis", inputs, to_dict(config.synthesis))
    trajectories = Parts(stage.folder / "trajectories", Trajectory, flush_every=config.synthesis.part_episodes)
    wanted = list(plan_episodes(World.open(run.path / "world"), config, short_hash(canonical_json(inputs))))
    missing = [e for e in wanted if e.id not in trajectories]
    if stage.done and not missing:
        print(f"synthesis: {len(trajectories)} trajectories made already, {stage.folder}", flush=True)
        return stage.manifest
    if stage.done:
        stage.reopen()
    if len(missing) < len(wanted):
        print(f"synthesis: taking up again, {len(wanted) - len(missing)} of {len(wanted)} trajectories are there", flush=True)

    live.LiveWeb.from_config(config.web)  # what is wrong is said here, not by an actor
    engines = {config.engine.of(role) for role in ("user", "research", "supervisor")}
    models = {n: str(resolve_model(config.engine.model)) for n in engines if n == "vllm"}
    if "openai" in engines:
        api_key(config.engine.endpoint)
    reasons: Counter[str] = Counter()
    tokens = calls = 0
    with ray_session(config.ray), cast_actors(config, run.path / "world", models) as cast, trajectories, _bar(wanted, missing) as bar:
        for n, t in enumerate(_played(cast, missing, config), 1):
            trajectories.add(t)
            reasons[t.termination] += 1
            tokens += sum(u.completion_tokens for u in t.usage)
            calls += sum(u.calls for u in t.usage)
            rate = tokens / max(bar.format_dict["elapsed"], 1e-9)
            bar.set_postfix({"approved": f"{reasons['approved'] / n:.0%}", "tok/s": f"{rate:.0f}"}, refresh=False)
            bar.update()
            if n % 20 == 0 or n == len(missing):
                tracker.log(
                    {
                        "synthesis/episodes": n,
                        "synthesis/approved_share": reasons["approved"] / n,
                        "synthesis/completion_tokens": tokens,
                        "synthesis/engine_calls": calls,
                        "synthesis/score_last": t.scores[-1] if t.scores else None,
                    }
                )
    counts, summary = summarise(trajectories, config.engine.endpoint)
    return stage.finish(counts, trajectories.content_hash, summary)


def plan_episodes(world: World, config: Config, key: str) -> Iterator[Episode]:
    """`synthesis.episodes` episodes over the world's users, in a seeded order, users repeating when there are fewer.

    The id of an episode depends on its user, its seed and `key` (everything that decides what it turns out to be).
    """
    histories: list[History] = sorted(world.histories(), key=lambda h: h.user_id)
    if not histories:
        raise UserError("the world has no behaviour histories; check world.histories or the world's quarantine.jsonl")
    random.Random(config.seed).shuffle(histories)
    for n in range(config.synthesis.episodes):
        history = histories[n % len(histories)]
        seed = config.seed * 1_000_003 + n
        yield Episode(short_hash(history.user_id, seed, key), history, seed)


def _played(cast: Cast, episodes: list[Episode], config: Config) -> Iterator[Trajectory]:
    """Finished trajectories as they come, from the asynchronous driver."""
    loop = asyncio.new_event_loop()
    stream = play_all(cast, episodes, config.synthesis.concurrency, config.synthesis.max_retries)
    following: asyncio.Task | None = None
    try:
        while True:
            following = loop.create_task(anext(stream, None))
            t = loop.run_until_complete(following)
            if t is None:
                return
            yield t
    finally:
        if following is not None and not following.done():  # stopped by a signal in the middle of waiting
            following.cancel()
            loop.run_until_complete(asyncio.wait([following]))
        loop.run_until_complete(stream.aclose())
        loop.close()


def _bar(wanted: list, missing: list) -> tqdm:
    return tqdm(total=len(wanted), initial=len(wanted) - len(missing), desc="synthesis", unit=" episodes", mininterval=1.0)


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
