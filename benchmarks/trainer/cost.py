"""What a step costs: seconds, tokens a second and peak memory, over the length of a sequence, the number of experts and ranks.

Models have random weights and the size of the shipped base (`world-9m`: 6 layers of 256, 8 experts of which a token takes 2, fp32). Each
point is a process of its own, because peak memory is that of a process's life; its first step is not counted, the median of the others is.

- length: one conversation of 256 to 8192 tokens a step, on one rank with all threads, with activations kept and recomputed.
- experts: 4 to 32 of them, of which a token takes 2: the same operations a token. 8 conversations of 256 tokens a step, one rank.
- ranks: the same step on ranks of one thread each, up to one a core: experts spread over them (EP), or whole on each (DP). One rank is
  measured for both lines, which shows how much two measurements of one thing differ.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.common import Figure, finish, machine, table, versions
from benchmarks.processes import DidNotWork, apart, local_ray

SHAPE = {
    "vocab_size": 7168,
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "moe_intermediate_size": 192,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
EXPERTS, STEP = 8, (256,) * 8
LENGTHS, SOME_EXPERTS = (256, 512, 1024, 2048, 4096, 8192), (4, 8, 16, 32)


@dataclass(slots=True)
class Point:
    """One measurement; goes to its process as JSON."""

    axis: str
    line: str
    x: int
    base: str
    lengths: list[int]
    """Tokens of each conversation of a step."""
    threads: int
    ranks: int = 1
    ep: int = 1
    recompute: bool = False
    steps: int = 5
    found: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.axis}_{self.x}_{self.line}".replace(" ", "_")


def points(folder: Path, cores: int, quick: bool) -> Iterator[Point]:
    """What is measured, in order. The model of n experts lies in `folder`/n."""
    steps, whole = (2 if quick else 5), str(folder / str(EXPERTS))
    for n in LENGTHS[:3:2] if quick else LENGTHS:
        for line, recompute in (("kept", False), ("recomputed", True)):
            yield Point("length", line, n, whole, [n], cores, recompute=recompute, steps=steps)
    for n in SOME_EXPERTS[:2] if quick else SOME_EXPERTS:
        yield Point("experts", "top 2", n, str(folder / str(n)), list(STEP), cores, steps=steps)
    for n in [2**k for k in range(cores.bit_length()) if 2**k <= min(cores, EXPERTS)]:
        for line, ep in (("EP", n), ("DP", 1)):
            yield Point("ranks", line, n, whole, list(STEP), 1, n, ep, steps=steps)


def measure(point: Point) -> dict[str, float]:
    """Seconds a step, tokens a second, and the peak memory of all ranks in MB."""
    import trainers  # noqa: F401 - the import hook comes before anything that imports megatron
    from trainers.batches import Pack
    from trainers.launch import Local, RayGroup
    from trainers.layout import Layout
    from trainers.worker import Setup

    if point.ranks > 1:
        local_ray(point.ranks)
    rng, seconds = np.random.default_rng(0), []
    with Local(point.threads) if point.ranks == 1 else RayGroup(point.ranks, point.threads) as group:
        group.setup(Setup(point.base, Layout(point.ranks, ep=point.ep), context=sum(point.lengths), recompute=point.recompute))
        packs = [Pack(rng.integers(SHAPE["vocab_size"], size=n).astype(np.int32), np.ones(n, np.int8), np.array([n], np.int32)) for n in point.lengths]
        for _ in range(1 + point.steps):
            begun = time.perf_counter()
            group.step([[packs[d :: group.dp]] for d in range(group.dp)], lr=1e-4)
            seconds.append(time.perf_counter() - begun)
        memory = sum(group.memory_mb())
    step = float(np.median(seconds[1:]))
    return {"seconds": step, "tokens_s": sum(point.lengths) / step, "memory_mb": memory}


def measured(point: Point) -> dict[str, float]:
    """`measure` in a process of its own. Raises SystemExit with its error."""
    try:
        found = apart("benchmarks.trainer", "--point", asdict(point), point.threads)
    except DidNotWork as e:
        raise SystemExit(f"{point.name}: {e}") from e
    print(f"{point.name}: {found['seconds']:.2f} s a step, {found['tokens_s']:,.0f} tokens/s, {found['memory_mb']:,.0f} MB", flush=True)
    return found


def cost(quick: bool) -> None:
    """Measures all points and writes `results/trainer-cost.json`."""
    described = machine()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        models(folder)
        all_of_them = list(points(folder, described["cores"], quick))
        for point in all_of_them:
            point.found = measured(point)
    columns = ("axis", "line", "at", "s/step", "tokens/s", "peak MB, all ranks")
    rows = [(p.axis, p.line, p.x, p.found["seconds"], p.found["tokens_s"], p.found["memory_mb"]) for p in all_of_them]
    table("a step of the trainer", columns, rows)
    figures = {f"tokens_s_{p.name}": Figure(p.found["tokens_s"], None, "tokens/s") for p in all_of_them}
    details = [{"axis": p.axis, "line": p.line, "x": p.x, "tokens": sum(p.lengths), **p.found} for p in all_of_them]
    notes = ["`python docs/images/draw.py cost` draws the full run's."]
    finish("trainer-cost", figures, quick, described, versions("prstack", "torch", "megatron-core", "transformers"), notes, details)


def models(folder: Path) -> None:
    """A random checkpoint for each number of experts."""
    import trainers  # noqa: F401 - the import hook comes before anything that imports megatron
    from trainers.tiny import make

    for n in SOME_EXPERTS:
        make("qwen3_moe", folder / str(n), num_experts=n, **SHAPE)
