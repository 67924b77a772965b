"""What the stages of a command want of a cluster, and whether it has that.

1. A stage wants units: a rank, an engine, a worker of distillation. Each lies on one node, whole.
2. Stages follow each other, so each has the cluster to itself; within one (rl: ranks and engines) all units are there at once.
3. Units are placed one by one, those with the most GPUs first, each where it leaves the least. What finds no place is missing.

On GPUs a rank takes one GPU and its threads' CPUs, a vLLM engine `tensor_parallel_size` GPUs. Without GPUs engines take none of
Ray's CPUs: they share the cores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from prstack.config import for_stage
from prstack.evaluation.controls import CONTROLS
from prstack.settings import Config

TRAINS, SERVES = ("sft", "control", "pretrain", "rl"), ("evaluate", "rl")


@dataclass(frozen=True, slots=True)
class Node:
    """What one node has."""

    name: str
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Want:
    """`count` units of one kind; each needs `cpus` and `gpus` on one node."""

    stage: str
    what: str
    count: int
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Placed:
    """A want, how many of its units found a place, and on how many nodes."""

    want: Want
    placed: int
    nodes: int

    @property
    def fits(self) -> bool:
        return self.placed == self.want.count


def wants(config: Config, stages: Iterable[str], gpu: bool, trains_on_gpu: bool | None = None) -> list[Want]:
    """What the stages want. `gpu`: whether the cluster has GPUs; `trains_on_gpu`: whether ranks compute there, where it differs."""
    on_gpu = gpu if trains_on_gpu is None else trains_on_gpu
    out = []
    for stage in stages:
        own = for_stage(config, stage)
        settings, engine = own.trainer, own.engine
        each = int(engine.vllm_args.get("tensor_parallel_size", 1)) if gpu else 0
        roles = {engine.of(role) for role in ("user", "research", "supervisor")}
        models = [name for name in own.evaluation.subjects if name not in (*CONTROLS, "expert")]
        writes = stage == "distill" and own.distill.internalise == "llm" and engine.name == "vllm"
        if writes or (stage == "synthesize" and "vllm" in roles) or (stage in SERVES and (stage == "rl" or models)):
            out.append(Want(stage, "vLLM engines", engine.replicas, 0, each))
        if stage == "distill":
            out.append(Want(stage, "workers", 1, 1, 0))
        if stage in TRAINS:
            out.append(Want(stage, "ranks", ranks(own), settings.threads, int(on_gpu)))
    return out


def ranks(config: Config) -> int:
    """Ranks of a training: as given, or as few as the layout holds."""
    t = config.trainer
    return t.ranks or t.pp * math.lcm(t.tp * t.cp, t.ep)


def place(wanted: Sequence[Want], nodes: Sequence[Node]) -> list[Placed]:
    """Every want with what of it finds a place, in the order given."""
    result: dict[Want, Placed] = {}
    for stage in dict.fromkeys(w.stage for w in wanted):
        free = {n.name: [n.gpus, n.cpus] for n in nodes}
        for want in sorted((w for w in wanted if w.stage == stage), key=lambda w: (-w.gpus, -w.cpus)):
            used: set[str] = set()
            placed = 0
            for _ in range(want.count):
                fitting = [name for name, (gpus, cpus) in free.items() if gpus >= want.gpus and cpus >= want.cpus]
                if not fitting:
                    break
                best = min(fitting, key=lambda name: free[name])
                free[best] = [free[best][0] - want.gpus, free[best][1] - want.cpus]
                used.add(best)
                placed += 1
            result[want] = Placed(want, placed, len(used))
    return [result[w] for w in wanted]


def table(placed: Sequence[Placed], nodes: Sequence[Node], title: str) -> Table:
    """Wanted and present."""
    out = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("stage", "wanted", "each", "in all", "present", ""):
        out.add_column(column)
    whole = _amount(sum(n.cpus for n in nodes), sum(n.gpus for n in nodes))
    for p in placed:
        w = p.want
        said = f"on {p.nodes} node{'s' * (p.nodes != 1)}" if p.fits else f"{w.count - p.placed} find no place"
        out.add_row(w.stage, f"{w.count} {w.what}", _amount(w.cpus, w.gpus), _amount(w.count * w.cpus, w.count * w.gpus), f"{whole} on {len(nodes)} nodes", said)
    return out


def missing(placed: Sequence[Placed]) -> str:
    """What finds no place, in one line; empty when all does."""
    return "; ".join(
        f"{p.want.stage}: {p.want.count - p.placed} of {p.want.count} {p.want.what} with {_amount(p.want.cpus, p.want.gpus)} each on one node"
        for p in placed
        if not p.fits
    )


def _amount(cpus: float, gpus: float) -> str:
    parts = [f"{n:g} {name}{'s' * (n != 1)}" for n, name in ((gpus, "GPU"), (cpus, "CPU")) if n]
    return ", ".join(parts) or "no share"
