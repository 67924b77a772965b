"""One side of the comparison, in a process of its own that is pinned to so many cores, with all that it starts.

    pipeline    prstack's own, on Ray Data
    loop        the same functions in a loop, in one process
    map         the same functions in Hugging Face datasets' `map`, over as many processes as cores

All read the same files, and select, commit, pack and describe with the same code; their content hashes have to be equal.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prstack.config import load
from prstack.distill import pipeline
from prstack.distill.committed import Store
from prstack.distill.distiller import AFTER_FILTERS, Frame
from prstack.distill.filters import chain
from prstack.distill.pipeline import OUTPUT, Tally
from prstack.prompts import Prompts
from prstack.report.tracking import Tracker
from prstack.settings import Config, DistillConfig
from prstack.stages.cluster import ray_session
from prstack.stages.distill import finish
from prstack.stages.models import resolve_tokenizer
from prstack.store.records import data_files
from prstack.store.rundir import RunDir
from prstack.tools.schemas import SCHEMAS

CONTEXT = 8192
MARK = 100
"""Records between two marks of progress."""


@dataclass(slots=True)
class Job:
    side: str
    files: str
    """Folder of trajectories."""
    run: str
    """Folder of the run."""
    cores: int


@dataclass(slots=True)
class Made:
    """What a side made, and when, in seconds since the epoch. `marks`: (time, records that were taken)."""

    counts: dict[str, Any]
    content_hash: str
    begun: float
    ready: float
    """Ray has started; the same as `begun` for the others."""
    streamed: float
    """All records are committed; packs, layouts and the card follow."""
    ended: float
    marks: list[tuple[float, int]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Trajectories a second, without the start of Ray."""
        return self.counts["read"] / (self.ended - self.ready)


def configured(files: str, cores: int) -> Config:
    """A worker a core. Ray is told of two cores at least, since a worker and two readers ask for 1.25; what runs is bounded by the pinning."""
    own = [f"distill.input={files}", f"distill.workers={cores}", f"distill.context={CONTEXT}", f"ray.num_cpus={max(2, cores)}"]
    return load([*own, "ray.dashboard=false", "tracking.wandb=disabled"])


def framed(config: Config) -> Frame:
    return Frame(Prompts(config.agents.prompts).render("research_system"), SCHEMAS)


def run(job: Job) -> Made:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.cores])
    begun, marks, config = time.time(), [], configured(job.files, job.cores)
    settings, files, frame = config.distill, data_files(job.files, "files"), framed(config)
    tokenizer = resolve_tokenizer(settings.tokenizer)
    place = RunDir(Path(job.run), {})
    stage = place.stage("distill", {}, {})
    store, ready = Store.open(stage.folder), begun

    def progress(tally: Tally) -> None:
        if tally.read % MARK == 0 or tally.read == 1:
            marks.append((time.time(), tally.read))

    if job.side == "pipeline":
        with ray_session(config.ray):
            ready = time.time()
            tally = pipeline.distil(settings, files, store, tokenizer, frame, progress)
            streamed = time.time()
    else:
        rows = in_a_loop(settings, files, tokenizer, frame) if job.side == "loop" else in_map(settings, files, tokenizer, frame, job)
        tally = pipeline.take_all(settings, store, rows, progress)
        streamed = time.time()
    with Tracker(place.path, config.tracking, "benchmark", {}) as tracker:
        manifest = finish(config, place, stage, store, tally, [*chain(settings.filters), *AFTER_FILTERS], tracker)
    place.close()
    return Made(manifest.counts, manifest.content_hash, begun, ready, streamed, time.time(), marks)


def in_a_loop(settings: DistillConfig, files: list[Path], tokenizer: Path, frame: Frame) -> Iterator[dict]:
    """Rows of `pipeline.OUTPUT`, one after another."""
    worker = pipeline._Worker(settings, str(tokenizer), frame)
    for row in records(files):
        yield dict.fromkeys(OUTPUT.names) | worker._row(dict(row))


def in_map(settings: DistillConfig, files: list[Path], tokenizer: Path, frame: Frame, job: Job) -> Iterator[dict]:
    """The same rows by `datasets`, whose cache lies in the folder of the run. It knows no maps (`Trajectory.engines`), so that the files are
    read by our own reader, in as many processes."""
    import datasets

    kept, processes = str(Path(job.run) / "cache"), min(job.cores, len(files))
    known = datasets.Features.from_arrow_schema(pipeline._INPUT)
    read = datasets.Dataset.from_generator(records, features=known, cache_dir=kept, gen_kwargs={"files": files}, num_proc=processes)
    return iter(read.map(mapped(settings, str(tokenizer), frame), num_proc=job.cores, features=datasets.Features.from_arrow_schema(OUTPUT)))


def records(files: list[Path]) -> Iterator[dict]:
    for file in files:
        yield from pipeline._records(file, frozenset())


_workers: dict[int, pipeline._Worker] = {}
"""That of a process of `map`."""


def mapped(settings: DistillConfig, tokenizer: str, frame: Frame) -> Callable[[dict], dict]:
    def one(row: dict) -> dict:
        worker = _workers.get(os.getpid()) or _workers.setdefault(os.getpid(), pipeline._Worker(settings, tokenizer, frame))
        return dict.fromkeys(OUTPUT.names) | worker._row(dict(row))

    return one


def first(files: str, n: int) -> Iterator[dict]:
    """The first records of a folder, as the pipeline reads them."""
    return itertools.islice(records(data_files(files, "files")), n)


if __name__ == "__main__":
    from benchmarks.distill import job as this

    # `map` finds the worker of a process under the module's own name
    print(json.dumps(asdict(this.run(this.Job(**json.loads(sys.argv[1]))))), flush=True)
