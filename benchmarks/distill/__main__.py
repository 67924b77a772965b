"""Distillation's speed, memory and scaling: read, filter, internalise, check, render with mask, pack, write.

    python -m benchmarks.distill              10,000 trajectories on all sides, then 200,000
    python -m benchmarks.distill --quick      2,000 on all sides
    python -m benchmarks.distill --compared 2000 --many 50000

1. Input (`inputs.py`): 300 real episodes of the scripted expert, multiplied; one in ten is a near-duplicate of another.
2. Sides (`job.py`), each in a process of its own, pinned to its cores with all that it starts: the pipeline on 1 and on 2 cores, the same
   functions in a plain loop, and in `datasets.map(num_proc=2)`. All have to make the same data set, by content hash.
   Rates are over everything but the start of Ray, which is a figure of its own.
3. Memory (`watch.py`): PSS of the whole process tree, by time; its slope, and that of the driver alone, over the larger input. What the driver
   has to hold of each record (index of near-duplicates, ids) is measured by itself.
4. Profile (`steps.py`): processor time a record, by step.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import psutil

from benchmarks.common import MIB, Clock, Figure, finish, machine, table, versions
from benchmarks.distill import inputs, steps
from benchmarks.distill.job import Job, Made
from benchmarks.distill.watch import Watch, slope
from benchmarks.filters.__main__ import clean_trajectories
from prstack.distill.filters.near import PERMUTATIONS, NearDuplicates

REAL, REAL_QUICK = 300, 100
COMPARED, QUICK, MANY = 10_000, 2_000, 200_000
PROFILED = 300
HELD = 50_000
"""Records over which the index of near-duplicates and sets of ids are measured."""
SIDES = {"pipeline, 2 cores": ("pipeline", 2), "pipeline, 1 core": ("pipeline", 1), "plain loop": ("loop", 1), "datasets.map": ("map", 2)}


def play(side: str, cores: int, files: Path, scratch: Path) -> tuple[Made, Watch]:
    """Runs a side and watches it. What it made is removed afterwards."""
    run = Path(tempfile.mkdtemp(dir=scratch))
    command = [sys.executable, "-m", "benchmarks.distill.job", json.dumps(asdict(Job(side, str(files), str(run), cores)))]
    log = run / "log"
    with open(log, "w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        with Watch(process.pid, every=1.0) as watch:
            out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{side} on {cores} cores ended with code {process.returncode}:\n{log.read_text()[-3000:]}")
    shutil.rmtree(run)
    made = Made(**json.loads(out.strip().splitlines()[-1]))
    kept = f"{made.counts['kept']:,} of {made.counts['read']:,} kept"
    print(f"{side}, {cores} cores: {made.rate:.1f} trajectories/s, {kept}, content {made.content_hash[:16]}, peak {watch.peak / 1e6:,.0f} MB", flush=True)
    return made, watch


def held() -> dict[str, float]:
    """Megabytes in 10,000 records of what the driver has to hold of each: its signature, and its id in five sets."""
    numbers, process = np.random.default_rng(0).integers(0, 1 << 32, (HELD, PERMUTATIONS), np.uint32), psutil.Process()
    near, before = NearDuplicates(), process.memory_info().rss
    for n, row in enumerate(numbers):
        near.add(f"copy-{n:07d}", row)
    between = process.memory_info().rss
    sets = [{f"copy-{n:07d}" for n in range(HELD)} for _ in range(5)]
    after = process.memory_info().rss
    assert len(near) == HELD and all(len(s) == HELD for s in sets)
    return {"near-duplicates": (between - before) / 1e6 / HELD * 1e4, "ids": (after - between) / 1e6 / HELD * 1e4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} trajectories on all sides, no more; under five minutes")
    parser.add_argument("--compared", type=int, help="trajectories on all sides")
    parser.add_argument("--many", type=int, help="trajectories of the larger input, for 2 cores alone; 0 for none")
    asked = parser.parse_args()
    compared = asked.compared or (QUICK if asked.quick else COMPARED)
    many = (0 if asked.quick else MANY) if asked.many is None else asked.many
    described, clock = machine(), Clock()
    if described["cores"] < 2:
        raise SystemExit("benchmarks.distill needs two cores")
    scratch = Path(tempfile.mkdtemp(prefix="prstack-benchmark-"))
    try:
        real = clean_trajectories(REAL_QUICK if asked.quick else REAL, scratch / "world", mistakes={})
        moulds = [inputs.Mould(t) for t in real]
        inputs.write(moulds, compared, scratch / "compared", 2)
        print(f"{compared:,} trajectories from {len(real)} real ones after {clock.seconds:.0f} s", flush=True)
        by_step, kept_by = steps.profile(str(scratch / "compared"), scratch / "profiled", PROFILED), held()
        played = {name: play(side, cores, scratch / "compared", scratch) for name, (side, cores) in SIDES.items()}
        larger = played["pipeline, 2 cores"]
        if many:
            inputs.write(moulds, many, scratch / "many", 2)
            print(f"{many:,} trajectories after {clock.seconds:.0f} s", flush=True)
            larger = play("pipeline", 2, scratch / "many", scratch)
    finally:
        shutil.rmtree(scratch)
    made = {name: m for name, (m, _) in played.items()}
    if len({m.content_hash for m in made.values()}) > 1:
        raise SystemExit(f"the sides made different data sets, so that this is no comparison: { {n: m.content_hash for n, m in made.items()} }")
    report(asked.quick or compared != COMPARED or many != MANY, described, made, played, larger, by_step, kept_by)


def report(
    quick: bool, described: dict, made: dict[str, Made], played: dict[str, tuple[Made, Watch]], larger: tuple[Made, Watch], by_step: dict[str, float], kept_by: dict[str, float]
) -> None:
    two, one, (big, watch) = made["pipeline, 2 cores"], made["pipeline, 1 core"], larger
    n = two.counts["read"]
    shown = [(name, m.rate, m.ready - m.begun, m.streamed - m.ready, m.ended - m.streamed, w.peak / MIB) for name, (m, w) in played.items()]
    table(f"{n:,} trajectories", ("side", "trajectories/s", "start of Ray, s", "stream, s", "packs and card, s", "peak MiB"), shown)
    cpu = {name: {kind: 1000 * s / m.counts["read"] for kind, s in w.cpu.items()} for name, (m, w) in played.items()}
    table("Processor time, ms a record, by process", ("side", "process", "ms"), [(name, kind, ms) for name, of in cpu.items() for kind, ms in of.items()])
    table("Processor time of one process, ms a record, under a profiler", ("step", "ms"), list(by_step.items()))
    bound = steps.largest(cpu["pipeline, 2 cores"])
    kinds = sorted({kind for s in watch.samples for kind in s.memory})
    slopes = {kind: slope(watch.samples, big.marks, big.counts["read"], kind) for kind in kinds}
    first = two.marks[0][0] - two.ready
    figures = {
        "trajectories_per_s": Figure(big.rate, None, f"{big.counts['read']:,} trajectories, 2 cores"),
        "trajectories_per_s_compared": Figure(two.rate, None, f"{n:,} trajectories, 2 cores"),
        "trajectories_per_s_1_core": Figure(one.rate),
        "scaling_2_cores": Figure(two.rate / one.rate, 1.5, "×", at_least=True),
        "over_plain_loop": Figure(two.rate / made["plain loop"].rate, None, "×, 2 cores over the loop's one"),
        "over_plain_loop_1_core": Figure(one.rate / made["plain loop"].rate, None, "×, one core each"),
        "over_datasets_map": Figure(two.rate / made["datasets.map"].rate, None, "×, 2 cores each"),
        "ray_start_s": Figure(two.ready - two.begun, None, "s, until Ray is there"),
        "first_record_s": Figure(first, None, "s more, until the first record is taken"),
        "pss_slope_mb_per_10k": Figure(slope(watch.samples, big.marks, big.counts["read"]), 20, "MB, whole process tree"),
        "driver_slope_mb_per_10k": Figure(slopes.get("driver", float("nan")), None, "MB"),
        "near_index_mb_per_10k": Figure(kept_by["near-duplicates"], None, "MB, held by the driver"),
        "ids_mb_per_10k": Figure(kept_by["ids"], None, "MB, held by the driver"),
        "peak_pss_mb": Figure(watch.peak / 1e6, None, "MB, whole process tree"),
        "kept_share": Figure(big.counts["kept"] / big.counts["read"]),
        "cpu_ms_per_trajectory": Figure(sum(cpu["pipeline, 2 cores"].values()), None, "ms, all processes"),
        "cpu_ms_per_trajectory_loop": Figure(sum(cpu["plain loop"].values()), None, "ms"),
    }
    notes = [
        f"Bounding: {bound} ({cpu['pipeline, 2 cores'][bound]:.1f} ms a record); its largest step: {steps.largest(by_step, ('read', 'select', 'commit', 'pack', 'layouts'))}",
        f"counts: {big.counts}",
    ]
    details = {
        "memory": [[round(s.at - big.begun, 1), {k: round(v / 1e6, 1) for k, v in s.memory.items()}] for s in watch.samples],
        "marks": [[round(at - big.begun, 1), taken] for at, taken in big.marks[:: max(1, len(big.marks) // 200)]],
        "slopes_mb_per_10k": slopes,
        "cpu_ms": cpu,
        "steps_ms": by_step,
        "content_hash": two.content_hash,
        "content_hash_larger": big.content_hash,
    }
    finish("distill", figures, quick, described, versions("prstack", "ray", "datasets", "pyarrow", "tokenizers", "rensa"), notes, details)


if __name__ == "__main__":
    main()
