"""What an engine actor tells Ray of itself: `ray_prstack_engine_*` at the metrics endpoint of its node, with the actor's name as the label `engine`.

`counted` makes the class that Ray hosts out of an engine's. A request only counts up plain numbers; once a second they are told.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.util import metrics

from actors.engine import INITIAL_WEIGHTS, Completion, EngineError, Request, Sample, Sampling
from prstack.report.tracking import PREFIX

SECONDS = 1.0
"""Between two times that the numbers are told."""
COUNTERS = {
    "prompt_tokens": "Tokens of prompts that were answered",
    "completion_tokens": "Tokens of answers",
    "request_seconds": "Seconds that requests were in the engine, waiting included",
}
GAUGES = {
    "in_flight": "Requests in the engine",
    "weights": "Number in the version of the weights that are served, 0 for those that the engine started with",
    "weight_update_seconds": "Seconds that the last update of weights took",
}


class Meter:
    """The numbers of one engine. `ends`: requests by how they ended, `done`, `cancelled` or the kind of EngineError."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter(dict.fromkeys(COUNTERS, 0))
        self.ends: Counter[str] = Counter()
        self.gauges = {"in_flight": 0.0, "weights": 0.0}
        self._task: asyncio.Task | None = None

    def start(self) -> None:
        """Begins to tell Ray, in this process's loop and for as long as that lives."""
        self._task = self._task or asyncio.get_running_loop().create_task(self._tell())

    @contextmanager
    def request(self) -> Iterator[None]:
        start, end = time.perf_counter(), "cancelled"
        self.gauges["in_flight"] += 1
        try:
            yield
            end = "done"
        except Exception as e:
            end = e.kind if isinstance(e, EngineError) else "engine"
            raise
        finally:
            self.gauges["in_flight"] -= 1
            self.ends[end] += 1
            self.totals["request_seconds"] += time.perf_counter() - start

    def answered(self, prompt: int, completion: int) -> None:
        """Tokens of a request that was answered."""
        self.totals["prompt_tokens"] += prompt
        self.totals["completion_tokens"] += completion

    async def _tell(self) -> None:
        name = ray.get_runtime_context().get_actor_name() or ""
        counters = {n: metrics.Counter(f"{PREFIX}engine_{n}", about, ("engine",)) for n, about in COUNTERS.items()}
        requests = metrics.Counter(f"{PREFIX}engine_requests", "Requests, by how they ended", ("engine", "end"))
        gauges = {n: metrics.Gauge(f"{PREFIX}engine_{n}", about, ("engine",)) for n, about in GAUGES.items()}
        totals, ends = Counter(), Counter()
        while True:
            for n, more in (self.totals - totals).items():
                counters[n].inc(more, {"engine": name})
            for end, more in (self.ends - ends).items():
                requests.inc(more, {"engine": name, "end": end})
            totals, ends = self.totals.copy(), self.ends.copy()
            for n, value in self.gauges.items():
                gauges[n].set(value, {"engine": name})
            await asyncio.sleep(SECONDS)


class Counted:
    """Stands before an engine's class and counts what is asked of it."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._meter = Meter()

    async def ready(self) -> str:
        self._meter.start()
        version = await super().ready()
        self._meter.gauges["weights"] = number_of(version)
        return version

    async def complete(self, request: Request) -> Completion:
        with self._meter.request():
            done = await super().complete(request)
            self._meter.answered(done.prompt_tokens, done.completion_tokens)
        return done

    async def generate(self, token_ids: list[int], sampling: Sampling) -> Sample:
        with self._meter.request():
            sample = await super().generate(token_ids, sampling)
            self._meter.answered(len(token_ids), len(sample.token_ids))
        return sample


class CountedWeights(Counted):
    """Before the class of an engine that holds a model."""

    async def update_weights(self, folder: str | Path, version: str, checksum: str = "") -> None:
        start = time.perf_counter()
        await super().update_weights(folder, version, checksum)
        self._meter.gauges |= {"weights": number_of(version), "weight_update_seconds": time.perf_counter() - start}


def counted(engine: type) -> type:
    """An engine's class, of the same name, for Ray to host."""
    return type(engine.__name__, (CountedWeights if hasattr(engine, "update_weights") else Counted, engine), {"__doc__": engine.__doc__})


def number_of(version: str) -> float:
    """The number of an update in the version of its weights: 3 of `update-3-restart-1`, 0 of those at the start."""
    found = re.search(r"\d+", version) if version != INITIAL_WEIGHTS else None
    return float(found[0]) if found else 0.0
