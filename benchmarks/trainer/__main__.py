"""The trainer beside TRL's SFTTrainer: tokens a second at equal loss, and memory.

    python -m benchmarks.trainer            the shipped base (9.5M) and SmolLM2 upcycled to 4 experts (373M); some 10 minutes
    python -m benchmarks.trainer --quick    the shipped base alone, fewer steps; under five minutes
    python -m benchmarks.trainer --only cost    seconds and memory of a step over length, experts and ranks (benchmarks.trainer.cost)

Both sides train the same checkpoint on the same token sequences in the same order, in fp32 with AdamW, each in a process of its own with as
many threads in all as there are cores. A step takes 8 sequences of 64 to 448 tokens. What is timed are the steps after the first ones; the
losses of all steps are compared, and figures of sides that differ by more than 0.001 would be no comparison, so that they are an error.

TRL is tried as its documentation has it for speed: padding-free (a packed sequence whose attention transformers keeps apart by its
positions) and padded batches, with the ways that transformers has of computing experts, on one rank with all threads and data-parallel on a
rank a core, without gradient checkpointing; the fastest counts. Ours is tried on one rank with all threads and on a rank a core with
experts spread over them; the fastest counts as well.

MFU is operations a token (`trainers.plan.flops`) by tokens a second, over what a matrix product of 2048 × 2048 reaches in fp32 with all threads.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Figure, finish, machine, table, versions
from benchmarks.processes import ALIKE, DidNotWork, apart, for_trl, local_ray, where
from benchmarks.trainer.cost import Point, cost, measure

BATCH, SHORTEST, LONGEST, LR = 8, 64, 448, 1e-4
MODELS = {"small": "world-9m", "smollm2_moe": "smollm2-135m-instruct, 4 experts"}
TRL_WAYS = [(True, "grouped_mm", True), (True, "eager", True), (True, "grouped_mm", False), (True, "eager", False), (False, "grouped_mm", False)]
"""Padding-free or padded, how experts are computed, and whether on a rank a core (data-parallel, `torch.distributed.run`) or one rank.
`batched_mm` is left out: it fails in the backward pass on CPU."""
AGREE = 1e-3


@dataclass(slots=True)
class Job:
    """What one side is asked to do; goes to its process as JSON."""

    side: str
    base: str
    data: str
    warm: int
    steps: int
    threads: int
    ranks: int = 1
    padding_free: bool = True
    experts: str = ""


def sequences(steps: int, vocab: int, seed: int = 0) -> list[list[int]]:
    """Token sequences of random lengths, of words that repeat: a rule that can be learned, so that the loss falls."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(SHORTEST, LONGEST + 1, size=steps * BATCH)
    return [((rng.integers(vocab) + 7 * np.arange(n)) % (vocab - 300) + 200).tolist() for n in lengths]


# --- one side, in a process of its own ---------------------------------------------------------------------------
def ours(job: Job) -> dict[str, Any]:
    """Losses, seconds and tokens of each step, by this package."""
    import trainers  # noqa: F401 - the import hook comes before anything that imports megatron
    from trainers.batches import Pack
    from trainers.launch import Local, RayGroup
    from trainers.layout import Layout
    from trainers.worker import Setup

    rows = json.loads(Path(job.data).read_text())
    if job.ranks > 1:
        local_ray(job.ranks)
    out = []
    with Local(job.threads) if job.ranks == 1 else RayGroup(job.ranks, job.threads) as group:
        group.setup(Setup(job.base, Layout(job.ranks, ep=job.ranks), context=BATCH * LONGEST))
        for s in range(job.warm + job.steps):
            share = [[] for _ in range(group.dp)]
            for n, ids in enumerate(sorted(rows[s * BATCH : (s + 1) * BATCH], key=len)):
                share[n % group.dp].append(Pack(np.array(ids, np.int32), np.ones(len(ids), np.int8), np.array([len(ids)], np.int32)))
            begun = time.perf_counter()
            metrics = group.step([[packs] for packs in share], lr=LR)
            out.append((metrics["loss"], time.perf_counter() - begun, metrics["tokens"]))
        memory = sum(group.memory_mb())
    return {"steps": out, "memory_mb": memory}


def theirs(job: Job) -> dict[str, Any] | None:
    """The same by TRL; None on ranks other than the first."""
    import resource

    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    rows = json.loads(Path(job.data).read_text())
    model = for_trl(job.base, job.threads, experts_implementation=job.experts)
    out: list[list[float]] = []
    first = int(os.environ.get("RANK", "0")) == 0

    class Watch(TrainerCallback):
        """Seconds and losses; the tokens are known."""

        def on_step_begin(self, *_: object, **__: object) -> None:
            self.begun = time.perf_counter()

        def on_step_end(self, *_: object, **__: object) -> None:
            s = len(out)
            out.append([0.0, time.perf_counter() - self.begun, sum(map(len, rows[s * BATCH : (s + 1) * BATCH]))])

        def on_log(self, *_: object, logs: dict | None = None, **__: object) -> None:
            if logs and "loss" in logs:
                out[-1][0] = logs["loss"]

    with tempfile.TemporaryDirectory() as scratch:
        config = SFTConfig(
            output_dir=scratch,
            max_steps=job.warm + job.steps,
            per_device_train_batch_size=BATCH // job.ranks,
            learning_rate=LR,
            padding_free=job.padding_free,
            max_length=None,
            train_sampling_strategy="sequential",
            **ALIKE,
        )
        trainer = SFTTrainer(
            model=model,
            args=config,
            train_dataset=Dataset.from_dict({"input_ids": rows}),
            processing_class=PreTrainedTokenizerFast.from_pretrained(job.base),
            callbacks=[Watch()],
        )
        trainer.train()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"steps": out, "memory_mb": memory * job.ranks} if first else None


# --- both sides --------------------------------------------------------------------------------------------------
def side(job: Job) -> dict[str, Any] | None:
    """What a side measured, in a process of its own; None with a line of why where it cannot work like that."""
    try:
        found = apart("benchmarks.trainer", "--job", asdict(job), job.threads, job.ranks if job.side == "theirs" else 1)
    except DidNotWork as e:
        print(f"{label(job)}: does not work: {e}", flush=True)
        return None
    timed = found["steps"][job.warm :]
    found["tokens_s"] = sum(tokens for _, _, tokens in timed) / sum(seconds for _, seconds, _ in timed)
    print(f"{label(job)}: {found['tokens_s']:,.0f} tokens/s, {found['memory_mb']:,.0f} MB, last loss {found['steps'][-1][0]:.4f}", flush=True)
    return found


def label(job: Job) -> str:
    on = where(job.ranks, job.threads)
    return f"ours, {on}" if job.side == "ours" else f"TRL, {on}, {'padding-free' if job.padding_free else 'padded'}, {job.experts}"


def matmul_flops(threads: int, n: int = 2048) -> float:
    """Operations a second of a square matrix product in fp32, the best of ten."""
    import torch

    torch.set_num_threads(threads)
    a, b = torch.randn(n, n), torch.randn(n, n)
    best = float("inf")
    for _ in range(10):
        begun = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - begun)
    return 2 * n**3 / best


def compare(name: str, base: Path, warm: int, steps: int, cores: int, peak: float, ways: list[tuple[bool, str, bool]]) -> dict[str, Figure]:
    """Runs every way of both sides; the figures of the fastest."""
    from trainers import plan
    from trainers.spec import ModelSpec

    spec = ModelSpec.from_hf(base)
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data.json"
        data.write_text(json.dumps(rows := sequences(warm + steps, spec.vocab)))
        common = {"base": str(base), "data": str(data), "warm": warm, "steps": steps}
        jobs = [Job("ours", threads=cores, **common), *([Job("ours", threads=1, ranks=cores, **common)] if cores > 1 and spec.experts % cores == 0 else [])]
        for free, experts, spread in ways:
            if not spread or cores > 1:
                threads, ranks = (1, cores) if spread else (cores, 1)
                jobs.append(Job("theirs", threads=threads, ranks=ranks, padding_free=free, experts=experts, **common))
        found = [(job, result) for job in jobs if (result := side(job))]
    best = {s: max((f for f in found if f[0].side == s), key=lambda f: f[1]["tokens_s"]) for s in ("ours", "theirs")}
    losses = {s: np.array([loss for loss, _, _ in r["steps"]]) for s, (_, r) in best.items()}
    apart = float(np.abs(losses["ours"] - losses["theirs"]).max())
    table(
        f"{MODELS[name]}: tokens a second, {cores} cores",
        ("way", "tokens/s", "peak MB", "last loss"),
        [(label(j), r["tokens_s"], r["memory_mb"], f"{r['steps'][-1][0]:.4f}") for j, r in found],
    )
    if apart > AGREE:
        raise SystemExit(f"{name}: the losses differ by {apart:.4f}, so that this is no comparison: {losses['ours'].round(4)} and {losses['theirs'].round(4)}")
    per_token = plan.flops(spec, int(np.mean([len(r) for r in rows])))
    rate, other = best["ours"][1], best["theirs"][1]
    return {
        f"sft_over_trl_{name}": Figure(rate["tokens_s"] / other["tokens_s"], 1.3, "×", at_least=True),
        f"mfu_{name}": Figure(rate["tokens_s"] * per_token / peak, 0.6, "of a matrix product", at_least=True),
        f"mfu_trl_{name}": Figure(other["tokens_s"] * per_token / peak, None, "of a matrix product"),
        f"tokens_s_{name}": Figure(rate["tokens_s"], None, "tokens/s"),
        f"rss_mb_{name}": Figure(rate["memory_mb"], None, "MB, all ranks"),
        f"rss_mb_trl_{name}": Figure(other["memory_mb"], None, "MB"),
        f"loss_apart_{name}": Figure(apart, AGREE, "largest difference of a step's loss"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the small model alone, under five minutes")
    parser.add_argument("--only", choices=["trl", "cost"], default="trl", help="the comparison with TRL, or what a step costs")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--point", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.point:
        print(json.dumps(measure(Point(**json.loads(asked.point)))))
        return
    if asked.job:
        job = Job(**json.loads(asked.job))
        if (found := (ours if job.side == "ours" else theirs)(job)) is not None:
            print(json.dumps(found))
        return
    if asked.only == "cost":
        cost(asked.quick)
        return
    from prstack.stages.models import SMOLLM2, WORLD_9M, resolve_model
    from trainers.upcycle import upcycle

    described = machine()
    cores = described["cores"]
    peak = matmul_flops(cores)
    figures = compare("small", resolve_model(WORLD_9M), 3, 5 if asked.quick else 20, cores, peak, TRL_WAYS)
    if not asked.quick:
        with tempfile.TemporaryDirectory() as scratch:
            upcycle(resolve_model(SMOLLM2), Path(scratch) / "moe", experts=4, topk=2)
            ways = [(True, "grouped_mm", False), (True, "eager", False), (True, "grouped_mm", True)]
            figures |= compare("smollm2_moe", Path(scratch) / "moe", 2, 3, cores, peak, ways)
    figures["matmul_gflops"] = Figure(peak / 1e9, None, "GFLOP/s, fp32")
    finish("trainer", figures, asked.quick, described, versions("prstack", "torch", "megatron-core", "transformers", "trl"))


if __name__ == "__main__":
    main()
